"""The warm server and its two clients: which requests it serves, and the death of either side."""

import array
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni_plugin.admin import standalone
from cni_plugin.server.protocol import answer_message, taken_message
from tests.support.cni.runner import PYTHON_CLIENT, REFERENCE, ROOT, Node, Pod
from tests.support.parts import program
from tests.support.space import Space

Spaces = Callable[[str], Space]
C_CLIENT = ROOT / "build/podwire-cni"


@pytest.fixture(scope="module")
def node(spaces: Spaces, tmp_path_factory: pytest.TempPathFactory) -> Node:
    return Node(spaces("node"), tmp_path_factory.mktemp("node"))


@pytest.fixture(params=["c", "python", "installed python", "python of another version"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The programs that a runtime may execute."""
    match request.param:
        case "c":
            return C_CLIENT
        case "python":
            return PYTHON_CLIENT
    program = tmp_path / "podwire-cni"
    standalone.put_python_client(program)
    library = tmp_path / standalone.HOME / "lib"
    (ours,) = library.iterdir()
    if "another" in request.param:
        ours.rename(library / "python3.99")
    else:  # the client in the home runs, not the script
        program.write_text(program.read_text().replace("import posix", "not to be read"))
    return program


@pytest.fixture(autouse=True)
def clean(node: Node) -> Iterator[None]:
    yield
    everything = node.conf() | {"cni.dev/valid-attachments": []}
    node.execute(everything, command="GC").ok()
    assert node.reservations() == {}
    node.plugin = PYTHON_CLIENT


def test_a_client_without_a_server_does_the_work(node, pod, client):
    node.plugin = client
    one = pod()
    node.add(one)
    assert one.reaches("10.1.0.1")
    node.delete(one)


@pytest.mark.parametrize("served", [True, False])
def test_the_programs_name_says_what_it_does(node, pod, client, served, tmp_path):
    """As with the reference plugins, which do not read ``type``."""
    links = tmp_path / "links"
    links.mkdir()
    for name in ("host-local", "loopback", "ptp", "podwire-cni", "macvlan"):
        (links / name).symlink_to(client)
    one = pod()
    who = {"containerid": one.container_id, "netns": str(one.space.path), "ifname": "eth0"}
    untyped = node.conf(cniVersion="1.0.0", type=None, name="untyped")
    with node.served() if served else nullcontext():
        found = node.execute(untyped, links / "host-local", command="ADD", **who).ok().document
        assert "interfaces" not in found
        (address,) = node.reservations("untyped")
        assert found["ips"][0]["address"] == f"{address}/24"
        node.execute(untyped, links / "host-local", command="DEL", **who).ok()
        assert node.reservations("untyped") == {}
        refused = node.execute(untyped | {"ipam": {}}, links / "host-local", command="ADD", **who)
        assert refused.document["code"] == 7
        refused = node.execute(untyped, links / "macvlan", command="ADD", **who)
        assert refused.document["code"] == 7
        assert "cannot do the work of the plugin 'macvlan'" in refused.document["msg"]
        for kind in ("loopback", "ptp"):
            conf = untyped | ({"ipam": {}} if kind == "loopback" else {})
            found = node.execute(conf, links / kind, command="ADD", **who).ok().document
            assert found["interfaces"][-1]["name"] == ("lo" if kind == "loopback" else "eth0")
            assert "pw0" not in [item["name"] for item in found["interfaces"]]
            node.execute(conf, links / kind, command="DEL", **who).ok()
        # the IPAM of the reference's bridge: the type in the configuration is the bridge's
        conf = untyped | {"type": "bridge", "bridge": "br9"}
        conf["ipam"] = conf["ipam"] | {"type": "host-local"}
        bridge = REFERENCE / "bridge"
        node.execute(conf, bridge, command="ADD", path=str(links), **who).ok()
        assert list(node.reservations("untyped").values()) == [f"{one.container_id}\r\neth0"]
        node.execute(conf, bridge, command="DEL", path=str(links), **who).ok()
        assert node.reservations("untyped") == {}
    node.space.ip("link", "del", "br9")


@pytest.mark.parametrize("served", [True, False])
def test_a_full_standard_output_is_an_error_in_one_line(node, pod, client, served):
    """The runtime gets no document, so it calls DEL."""
    node.plugin = client
    one = pod()
    with (
        node.served() if served else contextlib.nullcontext(),
        Path("/dev/full").open("wb") as full,
    ):
        done = subprocess.run(
            one.space.argv(str(client)),
            input=b'{"cniVersion": "1.0.0"}',
            env={"CNI_COMMAND": "VERSION", "PODWIRE_CNI_SOCKET": str(node.socket)},
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("podwire-cni: standard ")
    assert line.endswith("No space left on device")


def test_add_and_del_may_use_the_server_or_not(node, pod, client):
    node.plugin = client
    one, other = pod(), pod()
    node.add(one)
    with node.served():
        node.add(other)
        node.delete(one)
    node.delete(other)
    assert set(node.links()) == {"pw0"}


def test_clients_work_after_the_server_is_killed(node, pod, client):
    """With its stale socket, and with the next server."""
    node.plugin = client
    with node.served() as server:
        one = pod()
        node.add(one)
        server.kill()
    assert node.socket.exists()  # stale
    node.delete(one)
    with node.served():  # it replaces the stale socket
        node.add(one)
        node.delete(one)


def test_clients_of_a_killed_server_print_whole_answers(node, pod, client):
    """An ADD prints one document, a DEL succeeds, and DEL removes what a broken ADD left."""
    node.plugin = client
    pods = [pod() for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        for delay in (0.02,):
            with node.served() as server:
                threading.Timer(delay, server.kill).start()
                answers = list(pool.map(lambda each: node.call("ADD", each), pods))
            for answer in answers:
                document = answer.document
                assert answer.code == 0 or document["code"] == 11, document
            with node.served() as server:
                threading.Timer(delay, server.kill).start()
                for answer in pool.map(lambda each: node.call("DEL", each), pods):
                    assert answer.ok().stdout == b""
            assert set(node.links()) == {"pw0"}
            assert node.reservations() == {}


def test_sigterm_lets_running_requests_finish(node, pod):
    pods = [pod() for _ in range(8)]
    with ThreadPoolExecutor(8) as pool, node.served() as server:
        under_way = [pool.submit(node.call, "ADD", each) for each in pods]
        time.sleep(0.05)
        server.send_signal(signal.SIGTERM)
        for each in under_way:
            each.result().ok()
        assert server.wait(60) == 0
    assert not node.socket.exists()
    for each in pods:
        node.delete(each)


def test_a_second_server_is_refused(node):
    with node.served():
        argv = [*program("cni"), "serve"]
        second = subprocess.run(
            [*argv, "--socket", str(node.socket)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert second.returncode == 1
        assert second.stderr.count("\n") == 1
        assert "another server" in second.stderr


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"ipam": "exhausted"}, 102),
        ({"mtu": 50}, 100),  # the kernel makes no veth pair of this MTU
        ({"ingressRate": 8000}, 7),
        ({"ingressPolicy": "same-bridge", "backend": "nftables", "sysctl": {"net.x": "1"}}, 100),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_failed_add_leaves_nothing(node, pod, options, code):
    if options.get("ipam") == "exhausted":
        only = {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.9"}
        options = {"ipam": node.ipam() | {"ranges": [[only]]}}
    one, other = pod(), pod()
    with node.served():
        node.add(one, node.conf(**(options if "ipam" in options else {})))
        before = set(node.links()), node.reservations()
        answer = node.call("ADD", other, node.conf(**options))
        assert (answer.code, answer.document["code"]) == (1, code), answer
        assert (set(node.links()), node.reservations()) == before
        assert [item["ifname"] for item in json.loads(other.space.ip("-j", "link"))] == ["lo"]
        node.delete(one)
        node.add(other)
        node.delete(other)


def test_a_client_in_another_mount_namespace_has_its_own_files(node, pod, client, tmp_path):
    """The reservations of a runtime with another /var are in that runtime's /var."""
    hidden = tmp_path / "elsewhere"
    hidden.mkdir()
    conf = node.conf(ipam=node.ipam("10.1.0.0/24", dataDir=str(hidden)), name="mounted")
    one = pod()
    script = f"mount -t tmpfs tmpfs {hidden} && {client} && ls {hidden}/mounted"
    environment = {
        "PATH": os.environ["PATH"],
        "PODWIRE_CNI_SOCKET": str(node.socket),
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": one.container_id,
        "CNI_NETNS": str(one.space.path),
        "CNI_IFNAME": "eth0",
    }
    with node.served():
        done = subprocess.run(
            node.space.argv("unshare", "--mount", "sh", "-c", script),
            input=json.dumps(conf),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done
        assert f"ADD {one.container_id} eth0: ok" in (node.files / "server.log").read_text()
    assert "10.1.0.2\n" in done.stdout
    assert list(hidden.iterdir()) == []
    node.delete(one, conf)


def test_a_client_in_another_network_namespace_does_the_work_itself(node, pod, client, spaces):
    """It is on another host, although it finds the server's socket."""
    stranger = Node(spaces("stranger"), node.files)
    stranger.plugin = client
    one = pod()
    with node.served():
        stranger.add(one)
    assert "pw0" in stranger.links()
    stranger.delete(one)


def test_only_root_is_served(node, client):
    """The server also asks the kernel for the client's user."""
    with node.served():
        node.socket.chmod(0o666)
        node.files.chmod(0o755)
        for parent in node.files.parents:
            if parent.stat().st_mode & 0o001 == 0:
                parent.chmod(0o755)
        code = (
            "import socket, sys\n"
            "s = socket.socket(socket.AF_UNIX); s.settimeout(60); s.connect(sys.argv[1])\n"
            "print(s.recv(1))"
        )
        argv = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-c", code]
        out = node.space.run(*argv, str(node.socket))
        assert out == "b''\n"


def test_an_immediate_answer_is_received(tmp_path, client):
    """The server may answer and close while the client is still sending."""
    path = tmp_path / "quick.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        quick = threading.Thread(target=answer_at_once, args=(listener, 5))
        quick.start()
        for _ in range(5):
            done = subprocess.run(
                [client],
                input=b"{}",
                env={"PODWIRE_CNI_SOCKET": str(path)},
                capture_output=True,
                check=False,
                timeout=60,
            )
            assert done.stdout == b"quick\n"
        quick.join()


def answer_at_once(listener: socket.socket, count: int) -> None:
    for _ in range(count):
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(taken_message(b"") + answer_message(0, b"quick\n"))


def frame(environment: dict[str, str], stdin: bytes) -> bytes:
    names = b"\0".join(f"{name}={value}".encode() for name, value in environment.items())
    return b"PWC1" + struct.pack("!II", len(names), len(stdin)) + names + stdin


def descriptors(node: Node, pod: Pod | None = None) -> list[int]:
    paths = [str(node.space.path), "/proc/self/ns/mnt", "/"]
    return [os.open(path, os.O_RDONLY) for path in paths + ([str(pod.space.path)] if pod else [])]


def send(path: Path, data: bytes, fds: list[int], *, leave: bool) -> bytes:
    """Send raw bytes with descriptors. Returns the answer, unless ``leave`` is set."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        if data:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            connection.sendmsg([data], ancillary if fds else [])
        if leave:
            return b""
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(
            ConnectionResetError
        ):  # the server closed without reading everything
            while more := connection.recv(1 << 16):
                answer += more
        return answer


def test_a_client_may_die_at_any_byte(node, pod):
    one = pod()
    environment = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": one.container_id,
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": str(one.space.path),
    }
    whole = frame(environment, json.dumps(node.conf()).encode())
    fds = descriptors(node, one)
    with node.served() as server:
        for length in range(0, len(whole), 7):
            send(node.socket, whole[:length], fds, leave=length % 2 == 0)
        assert "eth0" not in one.space.ip("link")
        answer = send(node.socket, whole, fds, leave=False)
        assert answer.startswith(b"T")
        assert one.reaches("10.1.0.1")
        node.delete(one)
        # the client leaves before the answer: the server finishes ADD, and DEL cleans up
        send(node.socket, whole, fds, leave=True)
        node.delete(one)
        assert open_files(server.pid) < 40
    for each in fds:
        os.close(each)


def open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@given(
    data=st.binary(max_size=200)
    | st.binary(max_size=60).map(lambda tail: b"PWC1" + tail)
    | st.tuples(
        st.dictionaries(
            st.sampled_from(["CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_ARGS", "X"]),
            st.sampled_from(["ADD", "DEL", "GC", "VERSION", "../x", "\x7f", "eth0", "a=b;c"]),
        ),
        st.binary(max_size=40) | st.just(b'{"name": "net", "cniVersion": "1.1.0"}'),
    ).map(lambda pair: frame(*pair)),
    count=st.integers(0, 3),
)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_invalid_bytes_get_one_document_or_no_answer(
    talkative: Node, data: bytes, count: int
) -> None:
    fds = descriptors(talkative)[:count]
    answer = send(talkative.socket, data, fds, leave=False)
    for each in fds:
        os.close(each)
    if answer:
        assert count == 3
        (fallback,) = struct.unpack_from("!I", answer, 1)
        code, length = struct.unpack_from("!BI", answer, 5 + fallback)
        stdout = answer[10 + fallback :]
        assert len(stdout) == length
        assert code == 0 or 1 <= json.loads(stdout)["code"] < 200


@pytest.fixture(scope="module")
def talkative(node: Node) -> Iterator[Node]:
    with node.served() as server:
        yield node
        assert server.poll() is None
        assert "Traceback" not in (node.files / "server.log").read_text()
