"""By what a trace hears packets: eBPF programs, or packet sockets; and where it makes rules."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from debug.cluster import ClusterState, Names
from debug.places import Place, entered, inside
from debug.trace.commands import Asked, observe_all, told
from debug.trace.ends import Target
from debug.trace.listen import live_packets
from debug.trace.live import Match, live_tables
from debug.trace.model import Trace
from debug.trace.packet import Flow
from debug.trace.probe import Probe
from debug.trace.run import listening
from debug.trace.sought import Sought, of_match, of_probe
from debug.trace.watch import spaces as watching
from debug.trace.watch.links import LinkListener
from debug.trace.watch.spaces import Watch
from debug.trace.watch.stamps import await_stamps
from proxy.model.errors import KernelRefusedError
from tests.support.e2e.harness import eventually
from tests.support.space import Space

SERVER = "10.3.0.2"
MINE = f"podwire-trace-{os.getpid()}"
PROBE = Probe(Flow("tcp", "10.3.0.1", SERVER, 4000, 80), 0x20000000)


@dataclass(frozen=True)
class Pair:
    """Two namespaces on a cable, with addresses on links of a VLAN if the kernel has VLANs."""

    client: Place
    server: Place
    space: Space
    link: str

    @property
    def places(self) -> tuple[Place, Place]:
        return self.client, self.server

    def ping(self, **more: int) -> Trace:
        asked = Asked(
            self.client, Target(SERVER, (SERVER,)), "icmp", self.places, Names(ClusterState())
        )
        options = {"count": 1, "size": 0, "fragment": False, "ttl": 64, "wait": 2.0}
        options |= {"handshake": False, "source_port": None} | more
        return told(asked, observe_all(asked, options), 0.0)


@pytest.fixture(scope="module")
def pair(spaces: Callable[[str], Space]) -> Iterator[Pair]:
    client, server = spaces("client"), spaces("server")
    client.veth("eth0", server, "eth0")
    link = "eth0.5" if has_vlans(client) and has_vlans(server) else "eth0"
    client.ip("addr", "add", "10.3.0.1/24", "dev", link)
    server.ip("addr", "add", "10.3.0.2/24", "dev", link)
    server.run("nft", "add table ip others")
    places = (
        Place(name, os.getpid(), str(one.path))
        for name, one in (("client", client), ("server", server))
    )
    yield Pair(*places, client, link)


def has_vlans(space: Space) -> bool:
    """Make a link of a VLAN, where the kernel can."""
    space.run(
        "ip",
        "link",
        "add",
        "link",
        "eth0",
        "name",
        "eth0.5",
        "type",
        "vlan",
        "id",
        "5",
        check=False,
    )
    space.run("ip", "link", "set", "eth0.5", "up", check=False)
    return "eth0.5" in space.ip("-br", "link")


def without_programs(_: Sought) -> LinkListener:
    raise KernelRefusedError("ebpf: no clang was there")


def way(trace: Trace) -> list[tuple[str, str, str]]:
    return [
        (hop.node, step.kind, step.link)
        for hop in trace.packets[0].hops
        for step in hop.steps
        if step.kind in ("in", "out")
    ]


@pytest.mark.parametrize("programs", [True, False])
def test_a_packet_is_heard_on_every_link(
    pair: Pair, programs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not programs:
        monkeypatch.setattr(watching, "LinkListener", without_programs)
    trace = pair.ping()
    assert [one.outcome for one in trace.packets] == ["arrived", "arrived"], trace
    assert trace.unseen == ()
    assert ("server", "in", pair.link) in way(trace)
    assert way(trace)[0] == ("client", "out", pair.link)


def test_the_first_packets_have_an_order_though_packet_sockets_hear_them(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine's last socket that wants time stamps is closed before each of them."""
    monkeypatch.setattr(watching, "LinkListener", without_programs)
    for _ in range(10):
        first = pair.ping().packets[0]
        times = [step.time for hop in first.hops for step in hop.steps if step.time is not None]
        assert [hop.node for hop in first.hops] == ["client", "server"]
        assert times == sorted(times)


def test_no_stamps_come_where_the_loopback_device_is_down(pair: Pair) -> None:
    pair.space.ip("link", "set", "lo", "down")
    try:
        with pytest.raises(OSError, match="is down"):
            inside(pair.client, await_stamps)
    finally:
        pair.space.ip("link", "set", "lo", "up")


def tables(place: Place) -> set[str]:
    argv = ("nsenter", f"--net={place.netns}", "nft", "list", "tables")
    found = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return {line.removeprefix("table ") for line in found.splitlines() if MINE in line}


def test_rules_are_where_others_have_rules_and_packets_meet_them(pair: Pair) -> None:
    with listening(PROBE, pair.client, pair.places, MINE):
        assert tables(pair.client) == set()
        assert tables(pair.server) == {f"ip {MINE}"}
    assert tables(pair.server) == set()


def test_rules_that_come_during_a_trace_are_traced(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_EVERY", 0.0)
    match = Match((SERVER,))
    watch = Watch(of_match(match))
    try:
        watch.add(pair.client, live_tables(match, MINE))
        watch.trace_new_tables()
        assert tables(pair.client) == set()
        pair.space.run("nft", "add table inet later")
        watch.trace_new_tables()
        watch.trace_new_tables()
        assert tables(pair.client) == {f"ip {MINE}"}  # nothing of IPv6 is meant
        assert watch.blind == []
    finally:
        watch.close()
        pair.space.run("nft", "delete table inet later")


def send(place: Place, source_port: int, port: int, payload: bytes) -> None:
    with entered(place), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.bind(("10.3.0.1", source_port))
        sending.sendto(payload, (SERVER, port))


@pytest.mark.parametrize(
    ("sought", "heard"),
    [
        (of_match(Match((SERVER,))), {b"one", b"two"}),
        (of_match(Match(("10.3.0.9", "fd00::1"))), set()),
        (of_probe(Probe(Flow("udp", "10.3.0.1", SERVER, 4001, 9), 0x20000000)), {b"one"}),
        (of_probe(PROBE), set()),
    ],
)
def test_programs_tell_of_what_is_meant_alone(
    pair: Pair, sought: Sought, heard: Sequence[bytes]
) -> None:
    listener = LinkListener(sought)
    try:
        send(pair.client, 4001, 77, b"before")  # no place is heard yet
        listener.add(Path(pair.client.netns).stat().st_ino)
        send(pair.client, 4001, 77, b"one")
        send(pair.client, 4002, 78, b"two")
        found = listener.read()
    finally:
        listener.close()
    sent = [one for one in found if one.out and one.data[9] == socket.IPPROTO_UDP]
    assert {one.data[28:] for one in sent} == heard
    assert {one.link for one in sent} == ({"eth0", pair.link} if heard else set())
    assert sent == sorted(sent, key=lambda one: one.time)


def flood(place: Place) -> None:
    """Send more than the ring has room for."""
    with entered(place), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.connect((SERVER, 77))
        sending.setsockopt(socket.SOL_IP, 10, 1)  # IP_MTU_DISCOVER
        for number in range(8000):
            try:
                sending.send(b"x")
            except ConnectionRefusedError:
                assert number  # the answer to the one before


def test_packets_beyond_the_rings_room_are_counted(pair: Pair) -> None:
    listener = LinkListener(of_match(Match((SERVER,))))
    try:
        listener.add(Path(pair.client.netns).stat().st_ino)
        flood(pair.client)
        assert listener.lost > 0
        assert len(listener.read()) == 1000  # the others have their turn
    finally:
        listener.close()


def test_who_looks_at_live_packets_is_told_that_some_were_lost(pair: Pair) -> None:
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        if line.startswith("listening in "):
            flood(pair.client)  # before the first reading

    def over() -> bool:
        return not notes[-1].startswith("listening in ")

    match, names = Match((SERVER,)), Names(ClusterState())
    [*live_packets(match, pair.places, names, note, over)]
    assert "unseen: this machine: events were lost" in notes


def programs(pid: int) -> set[str]:
    """The numbers of the eBPF programs that a process holds."""
    lines = (
        line
        for one in Path(f"/proc/{pid}/fdinfo").iterdir()
        for line in one.read_text().splitlines()
    )
    return {line.split()[1] for line in lines if line.startswith("prog_id:")}


def test_programs_and_rules_of_a_trace_end_with_a_kill(pair: Pair) -> None:
    script = (
        "import sys\n"
        "from debug.places import Place\n"
        "from debug.trace.listen import listening\n"
        "from debug.trace.live import Match\n"
        f"places = [Place('s', 1, sys.argv[1])]\n"
        f"with listening(Match(({SERVER!r},)), places, {MINE!r}) as watch:\n"
        "    print(watch.blind, flush=True)\n"
        "    while True:\n"
        "        watch.read(60)\n"
    )
    argv = [sys.executable, "-c", script, pair.server.netns]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "[]\n"
        held = programs(process.pid)
        assert len(held) >= 3  # what comes, what goes, what is dropped
        assert tables(pair.server) == {f"ip {MINE}"}
        process.send_signal(signal.SIGKILL)
    assert tables(pair.server) == set()

    def is_gone(number: str) -> bool:
        shown = subprocess.run(["bpftool", "prog", "show", "id", number], capture_output=True)
        return shown.returncode != 0

    eventually(lambda: all(map(is_gone, held)))
