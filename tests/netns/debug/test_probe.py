"""What the kernel is heard to do, by each means that this machine has: names, times, counts."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from debug.cluster import ClusterState
from debug.output import with_port
from debug.places import Ground, Place, inside
from debug.probe.bcc import lacking
from debug.probe.events import CONNECTS, DROPS, RETRANSMITS, SOCKETS
from debug.probe.means import MEANS
from debug.probe.measure import (
    ConnectMeasure,
    DropMeasure,
    Measure,
    RetransmitMeasure,
    SocketMeasure,
)
from debug.probe.naming import Scene
from proxy.policy.wire import Pod
from tests.support.e2e.harness import CHECKOUT, eventually
from tests.support.space import Space
from tests.support.views import STATE

pytestmark = pytest.mark.netns
REQUEST = b"some bytes"
CLIENT, SERVER, VIP = "10.244.2.2", "10.244.1.2", "10.96.0.10"
NOBODY = "10.244.9.9"
NODE_RULES = f"""table ip services {{ chain in {{ type nat hook prerouting priority -100;
  ip daddr {VIP} tcp dport 80 dnat to {SERVER}:8080
}}
chain over {{ type filter hook forward priority 0; ip daddr {NOBODY} drop; }}
}}"""
# Of four SYNs, the first; of four answers of port 8081, the first. A new table counts anew.
LOSS = """table inet loss
delete table inet loss
table inet loss { chain in { type filter hook input priority 0;
  tcp dport 8080 tcp flags & (syn | ack) == syn numgen inc mod 4 0 drop
  tcp sport 8081 tcp flags & (syn | ack) == syn | ack numgen inc mod 4 0 drop
}
}"""
# Who sends again, to whom, and what.
SLOW, DIRECT, ANSWER = AGAIN = (
    ("Pod ns/client", f"{VIP}:80", "SYN"),
    ("Pod ns/client", f"{SERVER}:8081", "SYN"),
    ("Pod ns/a", CLIENT, "SYN-ACK"),
)


def pod(name: str, address: str) -> Pod:
    return Pod.read(
        {
            "metadata": {"namespace": "ns", "name": name},
            "status": {"phase": "Running", "podIPs": [{"ip": address}]},
        }
    )


CLUSTER = ClusterState(
    services=STATE.services[:1],
    slices=STATE.slices[:1],
    nodes=STATE.nodes,
    pods=(pod("a", SERVER), pod("client", CLIENT)),
)


@pytest.fixture(scope="module")
def places(spaces: Callable[[str], Space]) -> Iterator[tuple[Place, Place, Place]]:
    """A node n1, which forwards, and two Pods of it: a client, and one with two ports open."""
    node, client, server = spaces("node"), spaces("client"), spaces("server")
    for number, one in ((2, client), (1, server)):
        node.veth(f"pod{number}", one, "eth0")
        node.ip("addr", "add", f"10.244.{number}.1/24", "dev", f"pod{number}")
        one.ip_batch(
            f"addr add 10.244.{number}.2/24 dev eth0", f"route add default via 10.244.{number}.1"
        )
    node.ip("route", "add", NOBODY, "dev", "pod1")
    node.run("nft", "-f", "-", stdin=NODE_RULES)
    node.sysctl("net.ipv4.ip_forward", 1)
    host = Place("n1", os.getpid(), str(node.path))
    pods = (
        Place("n1", os.getpid(), str(one.path), ("ns", name))
        for name, one in (("client", client), ("a", server))
    )
    yield (host, *pods)


def call(client: Place, address: str, port: int) -> None:
    def connect() -> None:
        try:
            with socket.create_connection((address, port), timeout=60) as one:
                one.sendall(REQUEST)
        except ConnectionRefusedError:
            return

    inside(client, connect)


def call_all(client: Place, ends: list[tuple[str, int]]) -> None:
    """Call ends, one after the other."""
    for address, port in ends:
        call(client, address, port)


def serve(listener: socket.socket, calls: int) -> None:
    """Accept calls, one after the other, and read each until its end."""
    for _ in range(calls):
        with listener.accept()[0] as one:
            while one.recv(1000):
                pass


def knock(address: str, port: int) -> socket.socket:
    """Begin a connect, and wait for nothing."""
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((address, port))
    return one


@pytest.fixture(
    scope="module",
    params=[
        "core",
        pytest.param("bcc", marks=pytest.mark.skipif(bool([*lacking()]), reason="bcc cannot")),
    ],
)
def heard(
    request: pytest.FixtureRequest, places: tuple[Place, Place, Place]
) -> Iterator[SimpleNamespace]:
    """What the three measures found of: four calls, one of them slow; one refused; two in vain."""
    with ExitStack() as undo:
        scene = Scene(lambda: (Ground(places), CLUSTER), "")
        means = []
        for probe in (CONNECTS, SOCKETS, RETRANSMITS, DROPS):
            means.append(MEANS[request.param](probe))
            undo.callback(means[-1].close)
        connects = ConnectMeasure(means[0], scene)
        sockets = SocketMeasure(means[1], scene)
        retransmits = RetransmitMeasure(means[2], scene)
        drops = DropMeasure(means[3], scene)
        every: list[Measure] = [connects, sockets, retransmits, drops]
        undo.enter_context(traffic(*places[1:]))

        def is_all_told() -> bool:
            """Read all in turns: the rest of the machine fills the rings as well."""
            for one in every:
                one.read()
            counts = connects.count, sockets.count
            again = {(one.sender, one.peer, one.what) for one in retransmits.rows()}
            lost = [one.lost() for one in means]
            assert counts >= (6, 8) and again >= {*AGAIN}, f"{counts} {again}, lost {lost}"
            return True

        eventually(is_all_told)
        assert (connects.count, sockets.count) == (6, 8), "the sockets of both ends of four"
        for one in every:
            one.read()
            one.finish()
        yield SimpleNamespace(
            connects=connects.rows(),
            by_service=connects.by_service(),
            sockets=sockets.rows(),
            trips=sockets.by_service(),
            retransmits=retransmits.rows(),
            drops=drops.rows(),
        )


@contextmanager
def traffic(client: Place, server: Place) -> Iterator[None]:
    """Six connects that end, and one that waits for its answer as long as the block runs."""
    lose = partial(subprocess.run, ["nft", "-f", "-"], input=LOSS, text=True, check=True)
    with ExitStack() as undo:
        for one in (client, server):
            inside(one, lose)
        for port, calls in ((8080, 3), (8081, 1)):
            listen = partial(socket.create_server, (SERVER, port))
            listener = undo.enter_context(inside(server, listen))
            serving = Thread(target=serve, args=(listener, calls))
            serving.start()
            undo.callback(serving.join)
        inside(client, lambda: knock(NOBODY, 80)).close()
        undo.enter_context(inside(client, lambda: knock(NOBODY, 81)))
        for ends in ([(SERVER, 8081)], [(VIP, 80)] * 3 + [(SERVER, 9)]):
            calling = Thread(target=call_all, args=(client, ends))
            calling.start()
            undo.callback(calling.join)
        yield


def test_connects_of_a_service_name_both_ends_and_take_their_time(heard: SimpleNamespace) -> None:
    (row,) = (one for one in heard.connects if one.called == f"{VIP}:80")
    assert (row.node, row.client, row.service) == ("n1", "Pod ns/client", "ns/web:http")
    assert (row.server, row.server_owner) == (f"{SERVER}:8080", "Pod ns/a")
    assert (row.outcome, row.latency.count) == ("connected", 3)
    assert row.latency.most_ms >= 1000, "the first SYN was lost, and sent again after a second"
    assert row.latency.least_ms < 1000
    assert heard.by_service["ns/web:http"] == row.latency


def test_connects_that_fail_say_how(heard: SimpleNamespace) -> None:
    outcomes = {(one.called, one.outcome): one for one in heard.connects}
    assert outcomes[f"{SERVER}:9", "refused"].owner == "Pod ns/a"
    assert (f"{NOBODY}:80", "given up") in outcomes
    waiting = outcomes[f"{NOBODY}:81", "waiting"]
    assert (waiting.client, waiting.latency.count) == ("Pod ns/client", 1)
    assert waiting.latency.most_ms >= 1000, "it has waited for as long as the slow call took"
    assert set(heard.by_service) == {"ns/web:http", f"{SERVER}:8081"}, "only those that succeeded"


def test_connections_that_ended_have_round_trips_on_both_ends(heard: SimpleNamespace) -> None:
    found = {(one.place, one.role, one.end): one for one in heard.sockets}
    client = found["Pod ns/client", "client", f"{VIP}:80"]
    assert (client.service, client.server, client.server_owner) == (
        *("ns/web:http", f"{SERVER}:8080"),
        "Pod ns/a",
    )
    assert (client.count, client.trip.count, client.open.count) == (3, 3, 3)
    assert 0 < client.trip.most_ms < 1000, "what is sent again measures no trip"
    assert heard.trips["ns/web:http"] == client.trip
    server = found["Pod ns/a", "server", f"{SERVER}:8080"]
    assert (server.service, server.owner, server.count) == ("ns/web:http", "Pod ns/a", 3)
    assert server.received >= 3 * len(REQUEST)
    assert client.sent >= 3 * len(REQUEST)


def test_what_is_sent_again_names_sender_and_service(heard: SimpleNamespace) -> None:
    found = {(one.sender, one.peer, one.what): one for one in heard.retransmits}
    slow = found[SLOW]
    assert (slow.node, slow.service, slow.packets) == ("n1", "ns/web:http", 1)
    assert found[DIRECT].owner == "Pod ns/a"
    assert found[ANSWER].owner == "Pod ns/client"


def test_drops_name_function_reason_and_whom_packets_were_for(heard: SimpleNamespace) -> None:
    found = {
        (one.place, one.destination): one for one in heard.drops if one.reason == "NETFILTER_DROP"
    }
    first = found["Pod ns/a", f"{SERVER}:8080"]
    assert (first.packets, first.protocol) == (1, "TCP")
    assert first.function in ("nf_hook_slow", "nft_do_chain"), "the latter since Linux 6.6"
    assert (first.service, first.owner, first.node) == ("ns/web:http", "Pod ns/a", "n1")
    assert first.bytes == 60, "a SYN with its options"
    assert found["Node n1", f"{NOBODY}:81"].packets >= 1
    answer = next(one for (place, _), one in found.items() if place == "Pod ns/client")
    assert answer.owner == "Pod ns/client"


def programs(pid: int) -> set[str]:
    """The numbers of the eBPF programs that a process holds."""
    found = set()
    for path in Path(f"/proc/{pid}/fdinfo").iterdir():
        for line in path.read_text().splitlines():
            if line.startswith("prog_id:"):
                found.add(line.split()[1])
    return found


def family(pid: int) -> list[int]:
    """A process, and its children, as that of bcc."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *map(int, children)]


@pytest.mark.parametrize("probe", ["connects", "sockets", "retransmits", "drops"])
def test_nothing_is_left_after_a_kill(probe: str) -> None:
    command = [CHECKOUT / "bin/podwire", "probe", probe, "--here", "-f"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        lines = iter(running.stderr.readline, "")
        assert any(line.startswith("listening ") for line in lines)
        held = {one for pid in family(running.pid) for one in programs(pid)}
        assert held
        running.send_signal(signal.SIGKILL)

    def is_gone(number: str) -> bool:
        shown = subprocess.run(["bpftool", "prog", "show", "id", number], capture_output=True)
        return shown.returncode != 0

    eventually(lambda: all(map(is_gone, held)))


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_the_command_tells_what_it_heard_when_it_is_interrupted(
    family: socket.AddressFamily, address: str
) -> None:
    command = [CHECKOUT / "bin/podwire", "probe", "connects", "--here", "-o", "json"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with (
        socket.create_server((address, 0), family=family) as server,
        subprocess.Popen(command, text=True, **pipes) as running,
    ):
        assert any(line.startswith("listening ") for line in iter(running.stderr.readline, ""))
        port = server.getsockname()[1]
        socket.create_connection((address, port)).close()
        running.send_signal(signal.SIGINT)
        report = json.loads(running.stdout.read())
    assert running.returncode == 0
    (row,) = (one for one in report["rows"] if one["called"] == with_port(address, port))
    assert (row["outcome"], row["latency"]["count"], report["lost"]) == ("connected", 1, 0)
