"""The server that a call leaves behind: what it holds, whom it serves, how it ends."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cni_plugin.admin.standalone import HOME, IMAGE, PROGRAM
from cni_plugin.server.cgroups import _cgroups, _folder
from cni_plugin.server.leave import SUFFIX, lock_of
from cni_plugin.server.lingering import dismiss
from tests.support.cni.runner import C_CLIENT, PYTHON_CLIENT, ROOT, Answer, Node, Pod
from tests.support.space import Space

Spaces = Callable[[str], Space]
# The first process of a machine; it takes orphans in and buries them.
_FIRST = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); print(flush=True)\n"
_FIRST += "while True: signal.pause()"
# The mounts of namespaces that are made later arrive here too.
_UNSHARE = ("unshare", "--mount", "--propagation=slave", "--pid", "--fork", "--kill-child",
            "--mount-proc")  # fmt: skip
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_PATIENCE = 60.0  # seconds, for what other processes do


@dataclass
class Machine:
    """A network namespace with a process namespace, mounts and a first process of its own."""

    space: Space
    first: int

    def argv(self, *argv: str) -> list[str]:
        """The command line that runs ``argv`` on the machine."""
        return ["nsenter", f"--target={self.first}", "--mount", "--net", "--pid", *argv]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.space, name)


@contextmanager
def machine(spaces: Spaces) -> Iterator[Machine]:
    space = spaces("node")
    argv = space.argv(*_UNSHARE, sys.executable, "-c", _FIRST)
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        yield Machine(space, int(children[0]))
        parent.kill()


@pytest.fixture
def node(spaces: Spaces, tmp_path: Path) -> Iterator[Node]:
    with machine(spaces) as made:
        yield Node(made, tmp_path, C_CLIENT)  # type: ignore[arg-type]  # as far as a Node asks


@dataclass(frozen=True)
class Server:
    """A server that was left behind, by its process number as we see it."""

    pid: int

    def read(self, file: str) -> str:
        return Path(f"/proc/{self.pid}/{file}").read_text()

    def files(self) -> dict[int, str]:
        folder = Path(f"/proc/{self.pid}/fd")
        found = {}
        for each in folder.iterdir():
            with suppress(FileNotFoundError):  # it has closed the connection that was our probe
                found[int(each.name)] = str(each.readlink())
        return found

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def is_gone(self) -> bool:
        return not Path(f"/proc/{self.pid}").exists()


def place(node: Node) -> Path:
    return node.socket.with_name(node.socket.name + SUFFIX)


def servers(node: Node) -> list[Server]:
    """The servers on the node, those that start too."""
    mine = str(place(node))
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                argv = (folder / "cmdline").read_text().split("\0")
            except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
                continue
            if mine in argv and any(part.endswith("lingering.py") for part in argv):
                found.append(Server(int(folder.name)))
    return found


def server(node: Node) -> Server:
    """The one server, when it answers."""
    wait_for(lambda: answers(node))
    (found,) = servers(node)
    return found


def answers(node: Node) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(place(node))) == 0


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.01)


def call(node: Node, verb: str, pod: Pod, conf: Any = None, **environment: str) -> Answer:
    """A call that may leave a server behind."""
    environment = {"PODWIRE_CNI_LINGER": "60"} | environment
    return node.call(verb, pod, conf, environment=environment)


@contextmanager
def only_served(node: Node) -> Iterator[None]:
    """Let the node's client be one that cannot do the work itself."""
    usual, node.plugin = node.plugin, node.files / "helpless" / PROGRAM
    node.plugin.parent.mkdir(exist_ok=True)
    shutil.copy(ROOT / "build/client" / PROGRAM, node.plugin)
    yield
    node.plugin = usual


# -- what it is for


@pytest.mark.parametrize("client", [C_CLIENT, PYTHON_CLIENT])
def test_a_call_leaves_a_server_that_does_the_next(client, node, pod):
    node.plugin = client
    one, other = pod(), pod()
    call(node, "ADD", one).ok()
    server(node)
    with only_served(node):
        call(node, "ADD", other).ok()
        call(node, "DEL", other).ok()
        call(node, "DEL", other).ok()
        call(node, "DEL", one).ok()
    assert node.reservations() == {}
    assert len(servers(node)) == 1


def test_what_a_server_cannot_help_with_leaves_none(node, pod):
    one = pod()
    call(node, "VERSION", one).ok()
    call(node, "ADD", one, b"rubbish")
    static = {"type": "static", "addresses": [{"address": "10.1.0.7/24"}]}
    conf = node.conf(cniVersion="1.0.0", ipam=static)
    call(node, "ADD", one, conf).ok()
    call(node, "DEL", one, conf).ok()
    call(node, "ADD", one, PODWIRE_CNI_LINGER="0").ok()
    answer = call(node, "DEL", one, PODWIRE_CNI_LINGER="soon").ok()
    assert b"is 'soon', no number of seconds" in answer.stderr
    assert servers(node) == []
    assert list(node.files.glob("cni.sock*")) == []


def test_first_calls_at_once_leave_one_server(node, pod):
    pods = [pod() for _ in range(6)]
    with ThreadPoolExecutor(len(pods)) as pool:
        for answer in pool.map(lambda each: call(node, "ADD", each), pods):
            answer.ok()
    server(node)
    for each in pods:
        call(node, "DEL", each).ok()
    assert len(servers(node)) == 1


def test_a_server_that_somebody_starts_comes_first(node, pod):
    one = pod()
    call(node, "ADD", one).ok()
    left = server(node)
    with Node(node.space.space, node.files).served():
        call(node, "DEL", one).ok()
        assert f"DEL {one.container_id} eth0: ok" in (node.files / "server.log").read_text()
        left.kill()
        call(node, "ADD", one).ok()
        call(node, "DEL", one).ok()
    assert servers(node) == []


# -- what it holds


def test_it_holds_nothing_of_its_caller(node, pod, tmp_path):
    one = pod()
    leaked = os.open(tmp_path, os.O_RDONLY)
    done = subprocess.run(
        node.space.argv(str(node.plugin)),
        input=str(node.conf()).replace("'", '"').replace("True", "true").encode(),
        env={
            "PATH": os.environ["PATH"],
            "PODWIRE_CNI_SOCKET": str(node.socket),
            "CNI_COMMAND": "ADD",
            "CNI_CONTAINERID": one.container_id,
            "CNI_NETNS": str(one.space.path),
            "CNI_IFNAME": "eth0",
            "SECRET": "of the runtime",
        },
        capture_output=True,  # both read to their ends
        pass_fds=[leaked],
        cwd=tmp_path,
        check=False,
    )
    os.close(leaked)
    assert done.returncode == 0, done
    left = server(node)
    assert left.read("environ") == f"PATH={os.environ['PATH']}\0"
    assert Path(f"/proc/{left.pid}/cwd").readlink() == Path("/")
    status = dict(line.split(":\t", 1) for line in left.read("status").splitlines())
    assert status["NSsid"].split()[-1] == status["NSpid"].split()[-1]
    pythons_own = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert int(status["SigIgn"], 16) & 0x7FFFFFFF == pythons_own
    files = left.files()
    assert [files.pop(number) for number in range(3)] == ["/dev/null"] * 3
    assert files.pop(3) == str(lock_of(place(node)))
    assert all(file.startswith("socket:") for file in files.values()), files


def test_it_lives_in_no_container(node, pod):
    one = pod()
    call(node, "ADD", one).ok()
    left = server(node)
    with only_served(node):
        call(node, "DEL", one).ok()
        call(node, "ADD", one).ok()
    for name in _NAMESPACES:
        theirs = Path(f"/proc/{node.space.first}/ns/{name}").readlink()
        for task in Path(f"/proc/{left.pid}/task").iterdir():
            assert (task / "ns" / name).readlink() == theirs
    call(node, "DEL", one).ok()
    wait_for(lambda: not any(file.startswith(("net:", "/run")) for file in left.files().values()))


@pytest.mark.parametrize("kind", ["mount", "net", "ipc", "uts", "pid", "cgroup"])
def test_a_caller_in_a_namespace_of_its_own_leaves_none(kind, node, pod, tmp_path):
    """The server would keep the namespace, which ends with its container or service else."""
    one = pod()
    own = ["unshare", f"--{kind}", *(["--fork"] if kind == "pid" else [])]
    script = node.files / "isolated"
    script.write_text(f"#!/bin/sh\nexec {' '.join(own)} {C_CLIENT}\n")
    script.chmod(0o755)
    node.plugin = script
    call(node, "ADD", one).ok()
    assert servers(node) == []
    assert list(node.files.glob("cni.sock*")) == []


@pytest.fixture
def group(node: Node) -> Iterator[list[Path]]:
    """A cgroup for a runtime in some hierarchies, below that of the machine's first process."""
    name = f"runtime-{uuid4().hex}"  # sealed, another run's process has the same number
    folders = [
        _folder(controllers, path) / name
        for controllers, path in _cgroups(str(node.space.first)).items()
        if controllers in {"", "pids", "freezer", "name=systemd"}
    ]
    made = []
    for folder in folders:
        folder.mkdir()
        made.append(folder)
    yield made
    for folder in made:
        wait_for(lambda folder=folder: not (folder / "cgroup.procs").read_text())
        folder.rmdir()


def in_group(node: Node, group: list[Path], then: str = "") -> Path:
    """A program that executes the plugin in the runtime's cgroup, as a runtime does."""
    script = node.files / "grouped"
    joins = "".join(f"echo $$ > {folder}/cgroup.procs\n" for folder in group)
    script.write_text(f"#!/bin/sh\n{joins}{then}\nexec {C_CLIENT}\n")
    script.chmod(0o755)
    return script


def test_it_leaves_the_callers_cgroup(node, pod, group):
    one = pod()
    node.plugin = in_group(node, group)
    call(node, "ADD", one).ok()
    left = server(node)
    assert _cgroups(str(left.pid)) == _cgroups(str(node.space.first))
    assert [folder for folder in group if (folder / "cgroup.procs").read_text()] == []


def test_it_ends_where_it_cannot_leave_the_callers_cgroup(node, pod, group):
    """A runtime's stop may wait for its cgroup to be empty."""
    one = pod()
    mounts = {next(folder for folder in each.parents if folder.is_mount()) for each in group}
    lock = "".join(f"mount -o remount,bind,ro {folder}\n" for folder in mounts)
    node.plugin = in_group(node, group, lock)
    call(node, "ADD", one).ok()
    assert lock_of(place(node)).exists()
    wait_for(lambda: servers(node) == [])
    assert not place(node).exists()


# -- how it ends


def test_it_ends_when_nobody_calls_and_leaves_nothing(node, pod):
    one = pod()
    call(node, "ADD", one, PODWIRE_CNI_LINGER="1").ok()
    left = server(node)
    wait_for(left.is_gone)
    assert list(node.files.glob("cni.sock*")) == []
    call(node, "DEL", one).ok()
    assert node.reservations() == {}


def test_it_can_be_dismissed(node, pod):
    assert not dismiss(place(node))
    one = pod()
    call(node, "ADD", one).ok()
    left = server(node)
    assert dismiss(place(node))
    wait_for(left.is_gone)
    assert list(node.files.glob("cni.sock*")) == []


def test_uninstalling_ends_it(node, pod, tmp_path):
    call(node, "DEL", pod()).ok()
    left = server(node)
    folders = (f"--{name}-dir={tmp_path / name}" for name in ("bin", "conf", "data", "cache"))
    argv = (ROOT / "bin/podwire", "cni", "uninstall", *folders)
    done = subprocess.run(
        node.space.argv(*map(str, argv)),
        env=os.environ | {"PODWIRE_CNI_SOCKET": str(node.socket)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "ended the server that a call has left behind\n", done
    wait_for(left.is_gone)


@pytest.mark.parametrize("delay", [0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_it_may_be_killed_while_it_starts(delay, node, pod):
    one = pod()
    call(node, "ADD", one).ok()
    time.sleep(delay)
    for left in servers(node):
        left.kill()
        wait_for(left.is_gone)
    call(node, "DEL", one).ok()
    call(node, "DEL", one).ok()
    assert node.reservations() == {}
    server(node)  # another one


@pytest.mark.parametrize("delay", [0, 0.005, 0.01, 0.02])
def test_it_may_be_killed_at_work(delay, node, pod):
    """The caller gets a document, or does it again; what ADD began DEL ends, twice."""
    first, pods = pod(), [pod() for _ in range(4)]
    call(node, "ADD", first).ok()
    left = server(node)
    with ThreadPoolExecutor(len(pods)) as pool:
        under_way = [pool.submit(call, node, "ADD", each) for each in pods]
        time.sleep(delay)
        left.kill()
        for each in under_way:
            answer = each.result()
            assert answer.code == 0 or answer.document["code"] == 11, answer
    for each in [first, *pods]:
        call(node, "DEL", each).ok()
        call(node, "DEL", each).ok()
    assert set(node.links()) == {"pw0"}
    assert node.reservations() == {}


def test_another_version_replaces_it(node, pod):
    """From a copy of the plugin, which is then another version."""
    copy = node.files / "copy"
    for folder in ("cni_plugin", "build/client", "bin"):
        shutil.copytree(ROOT / folder, copy / folder)
    node.plugin = node.files / "bin" / PROGRAM
    install = "from cni_plugin.admin.standalone import put_client as put; "
    install += "import pathlib, sys; put(pathlib.Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", install, node.plugin], check=True, cwd=copy)
    assert (node.plugin.parent / HOME).exists()
    one = pod()
    call(node, "ADD", one).ok()
    old = server(node)
    source = copy / "cni_plugin/spec/request.py"
    source.write_text(source.read_text().replace("is not known", "is unheard of"))
    answer = call(node, "DANCE", one)
    assert answer.document["msg"] == "CNI_COMMAND 'DANCE' is unheard of"
    wait_for(old.is_gone)
    call(node, "DEL", one).ok()
    new = server(node)
    assert new != old
    with only_served(node):
        answer = call(node, "DANCE", one)
    assert answer.document["msg"] == "CNI_COMMAND 'DANCE' is unheard of"


def test_a_socket_folder_that_is_read_only(node, pod, tmp_path):
    """Each call is a first one."""
    folder = tmp_path / "ro"
    folder.mkdir()
    script = f"mount -t tmpfs -o ro none {folder}"
    subprocess.run(node.space.argv("sh", "-c", script), check=True)
    one = pod()
    for verb in ("ADD", "DEL"):
        answer = call(node, verb, one, PODWIRE_CNI_SOCKET=str(folder / "cni.sock")).ok()
        assert answer.stderr == b""
    assert node.reservations() == {}
    assert [line for line in ps(node) if "lingering.py" in line] == []


def ps(node: Node) -> list[str]:
    done = subprocess.run(node.space.argv("ps", "-eo", "args"), capture_output=True, check=True)
    return done.stdout.decode().splitlines()


# -- callers that are not like the first process


def wrapped(node: Node, text: str) -> Path:
    """A program of Python that does ``text``, then executes the plugin."""
    script = node.files / "wrapped"
    last = f"os.execv({str(C_CLIENT)!r}, ['podwire-cni'])"
    script.write_text(f"#!/usr/bin/python3 -IS\nimport os, resource\n{text}\n{last}\n")
    script.chmod(0o755)
    return script


@pytest.mark.parametrize("limit", ["FSIZE, 65536", "NOFILE, 64"])
def test_it_has_no_limits_of_its_caller(limit, node, pod):
    one = pod()
    lower = "resource.setrlimit(which, (most, resource.getrlimit(which)[1]))"
    node.plugin = wrapped(node, f"which, most = resource.RLIMIT_{limit}; {lower}")
    call(node, "DEL", one).ok()
    node.plugin = C_CLIENT
    left = server(node)
    assert left.read("limits") == Path(f"/proc/{node.space.first}/limits").read_text()
    with only_served(node):
        call(node, "ADD", one).ok()
        call(node, "DEL", one).ok()


def test_it_has_neither_signals_nor_processors_of_its_caller(node, pod):
    first = node.space.first
    own = (
        "import signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\n"
        "os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "os.nice(5)\n"
    )
    node.plugin = wrapped(node, own)
    call(node, "DEL", pod()).ok()
    left = server(node)
    status = dict(line.split(":\t", 1) for line in left.read("status").splitlines())
    assert not int(status["SigIgn"], 16) & 1 << signal.SIGHUP - 1
    assert int(status["SigBlk"], 16) == 0
    for asked in (os.sched_getaffinity, os.sched_getscheduler):
        assert asked(left.pid) == asked(first)
    assert os.getpriority(os.PRIO_PROCESS, left.pid) == os.getpriority(os.PRIO_PROCESS, first)


def test_a_caller_without_standard_streams_leaves_one(node, pod):
    one = pod()
    node.plugin = wrapped(node, "os.close(2)")
    call(node, "ADD", one).ok()
    assert [server(node).files()[number] for number in range(3)] == ["/dev/null"] * 3
    with only_served(node):
        call(node, "DEL", one).ok()


def test_it_holds_no_descriptor_above_the_callers_limit(node, pod):
    one = pod()
    opened = "os.dup2(os.open('/dev/zero', os.O_RDONLY), 500)\n"
    node.plugin = wrapped(node, f"{opened}resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))")
    call(node, "ADD", one).ok()
    left = server(node)
    assert "/dev/zero" not in left.files().values()


@pytest.mark.parametrize(
    "less",
    ["setpriv --bounding-set=-sys_nice", "setpriv --no-new-privs", "chroot {root}"],
)
def test_a_caller_with_less_than_the_first_process_leaves_none(less, node, pod):
    """Later callers would get the server's refusals, which they would not have had."""
    one = pod()
    call(node, "ADD", one, PODWIRE_CNI_LINGER="0").ok()
    script = node.files / "less"
    script.write_text(f"#!/bin/sh\nexec {less.format(root=other_root(node))} {C_CLIENT}\n")
    script.chmod(0o755)
    node.plugin = script
    call(node, "DEL", one).ok()
    assert servers(node) == []
    assert list(node.files.glob("cni.sock*")) == []


def other_root(node: Node) -> Path:
    """A root directory in the machine's mount namespace, with other reservations."""
    root = node.files / "root"
    root.mkdir()
    node.data.mkdir(exist_ok=True)
    script = f"""mount -t tmpfs none {root}
    for each in /*; do
        if [ -L "$each" ]; then cp -d "$each" {root}/
        elif [ -d "$each" ]; then mkdir "{root}$each"; mount --rbind "$each" "{root}$each"; fi
    done
    mount -t tmpfs none {root}{node.data}"""
    subprocess.run(node.space.argv("sh", "-ec", script), check=True)
    return root


def test_it_serves_a_caller_with_another_root(node, pod):
    one, other = pod(), pod()
    call(node, "ADD", one).ok()
    server(node)
    before = node.reservations()
    script = node.files / "elsewhere"
    script.write_text(f"#!/bin/sh\nexec chroot {other_root(node)} {C_CLIENT}\n")
    script.chmod(0o755)
    node.plugin = script
    call(node, "ADD", other, node.conf(bridge="pw1")).ok()
    assert node.reservations() == before


@pytest.mark.parametrize("path", ["relative.sock", "{files}/" + "l" * 90])
def test_a_path_that_a_server_cannot_have(path, node, pod):
    one = pod()
    place = path.format(files=node.files)
    node.plugin = wrapped(node, f"os.chdir({str(node.files)!r})")
    before = set(node.files.iterdir())
    call(node, "ADD", one, PODWIRE_CNI_SOCKET=place).ok()
    assert [line for line in ps(node) if "lingering.py" in line] == []
    assert set(node.files.iterdir()) - before <= {node.data}


@pytest.mark.parametrize("seconds", ["9" * 5000, "9" * 400, "86401"])
def test_a_time_that_no_server_can_wait(seconds, node, pod):
    answer = call(node, "ADD", pod(), PODWIRE_CNI_LINGER=seconds).ok()
    assert b"no number of seconds" in answer.stderr
    assert servers(node) == []


def test_another_interpreter_replaces_it(node, pod):
    """As an upgrade of Python does, also while calls keep coming."""
    copy, python = node.files / "copy", node.files / "venv/bin/python"
    for folder in ("cni_plugin", "build/client", "bin"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns(IMAGE))
    options = ("--copies", "--without-pip")
    subprocess.run([sys.executable, "-m", "venv", *options, node.files / "venv"], check=True)
    node.plugin = node.files / "bin" / PROGRAM
    install = "from cni_plugin.admin.standalone import put_client as put; "
    install += "import pathlib, sys; put(pathlib.Path(sys.argv[1]))"
    subprocess.run([python, "-c", install, node.plugin], check=True, cwd=copy)
    one = pod()
    call(node, "ADD", one).ok()
    old = server(node)
    assert old.read("cmdline").startswith(str(python))
    os.utime(python)
    call(node, "DEL", one).ok()
    wait_for(old.is_gone)
