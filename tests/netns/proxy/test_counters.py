"""Counters with real packets: they count exactly what was sent, with every backend."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count as numbers

import pytest

from proxy.counters.counting import ServiceCounters
from proxy.counters.totals import PortLabel, TrafficCount
from proxy.desired.desired import Desired
from proxy.model.settings import CounterDetail
from tests.support.groups import group
from tests.support.parts import program
from tests.support.proxy.backends import BACKENDS, apply, grouped_lab, remove
from tests.support.proxy.fate import Row
from tests.support.proxy.lab import ProxyLab
from tests.support.proxy.prober import TCP, UDP, Probe, ask
from tests.support.proxy.process import PATIENCE, RunningProxy, service, slices
from tests.support.proxy.world import DEFAULT, FIRST_NODE_PORT, NODE_ADDRESSES, Case, desired
from tests.support.space import Space

ROW = Row("default", frozenset(), ("A", "B", "C"), "cluster", {})
_SOURCES = ("pod", "self", "node", "outside")
# The node hears no neighbor's answer.
_DEAF = "table bridge deaf { chain in { type filter hook prerouting priority -300; "
_DEAF += "icmpv6 type nd-neighbor-advert drop; }; }"
_numbers = numbers()  # of Services, so that no test meets the flows of another
_kept: list[ServiceCounters] = []  # in the node's worker
_sent: list[socket.socket] = []  # in a client's worker


def count(want: Desired, detail: CounterDetail) -> None:
    """In the node: count from now on, or continue counting."""
    if not _kept or _kept[0].detail is not detail:
        _kept[:] = [ServiceCounters(DEFAULT, detail)]
    _kept[0].apply(want)


def totals() -> Mapping[PortLabel, TrafficCount]:
    """In the node: return the totals."""
    return _kept[0].totals()


def stop() -> None:
    """In the node: stop counting."""
    _kept[:] = [ServiceCounters(DEFAULT, CounterDetail.OFF)]
    _kept[0].apply(Desired())
    _kept.clear()
    remove()


@pytest.fixture(scope="module")
def lab(spaces: Callable[[str], Space]) -> Iterator[ProxyLab]:
    with grouped_lab(spaces, "counters", {}) as made:
        yield made


def send(address: str, port: int, times: int) -> int:
    """Exchange one datagram on each of ``times`` new sockets; return the bytes of all answers.

    The sockets stay open, so that no port is used again, which would be the same flow.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    socks = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(times)]
    _sent.extend(socks)
    for number, one in enumerate(socks):
        one.settimeout(60)
        if number % 2:
            one.connect((address, port))
        one.sendto(b"?", (address, port))
    return sum(len(one.recv(100)) for one in socks)


def repeated_syns(space: Space) -> int:
    """Return how many SYNs a namespace has sent again. Source: the kernel's snmp_counter.rst."""
    lines = space.run("cat", "/proc/net/netstat").splitlines()
    names, values = (line.split() for line in lines if line.startswith("TcpExt:"))
    return int(dict(zip(names, values, strict=True))["TCPSynRetrans"])


class Counted:
    """The node, whose backend serves one Service, and the Service's counts."""

    def __init__(self, lab: ProxyLab, backend: str, version: int, detail: CounterDetail) -> None:
        self.lab, self.node = lab, lab.workers["node"]
        self.case, self.version, self.detail = Case(ROW, next(_numbers), version), version, detail
        self.octets = 0  # of datagrams, without headers
        # SYNs that clients of a slow machine sent again. They count again if the first one waits on
        # the bridge for its neighbor's answer: the kernel confirms it only then.
        self.repeated = 0
        mode, options = BACKENDS[backend]
        self.backend = mode, {**options, "service-counters": detail.value}
        self.serve(self.case)

    def serve(self, *cases: Case) -> None:
        want = desired(list(cases))
        self.node.call(apply, *self.backend, DEFAULT, want)
        self.node.call(count, want, self.detail)

    def ask(self, source: str, protocol: str, times: int, node_port: bool = False) -> None:
        address, port = self.case.destination()
        if node_port:
            address = NODE_ADDRESSES[0 if self.version == 4 else 1]
            port = FIRST_NODE_PORT + self.case.number
        client = self.lab.client(source)
        if protocol == UDP:
            self.octets += times + client.call(send, str(address), port, times)
            return
        before = repeated_syns(self.lab.space(source))
        (answers,) = client.call(ask, [Probe(str(address), port, TCP, tries=times)])
        assert all(answer.peer for answer in answers)
        self.repeated += repeated_syns(self.lab.space(source)) - before

    def of(self, protocol: str) -> TrafficCount:
        key = PortLabel(*self.case.key, 80, protocol)
        return self.node.call(totals).get(key, TrafficCount())


@pytest.fixture
def counted(lab: ProxyLab) -> Iterator[Callable[..., Counted]]:
    yield lambda *args: Counted(lab, *args)
    lab.workers["node"].call(stop)
    assert "podwire" not in lab.spaces["node"].run("nft", "list", "ruleset")


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("backend", BACKENDS)
def test_connections(counted: Callable[..., Counted], backend: str, version: int) -> None:
    one = counted(backend, version, CounterDetail.CONNECTIONS)
    expected = 0
    for source in _SOURCES:
        for node_port in (False, True):
            one.ask(source, TCP, 7, node_port)
            one.ask(source, UDP, 3, node_port)
            expected += 1
    assert 0 <= one.of("TCP").connections - 7 * expected <= one.repeated
    assert one.of("UDP") == TrafficCount(3 * expected)
    assert one.of("SCTP") == TrafficCount()


@pytest.mark.parametrize("backend", [name for name in BACKENDS if not name.startswith("ebpf")])
def test_a_syn_that_waits_for_a_neighbor_counts_again_when_sent_again(
    counted: Callable[..., Counted], backend: str
) -> None:
    one = counted(backend, 6, CounterDetail.CONNECTIONS)
    one.serve(Case(Row("default", frozenset(), ("A",), "cluster", {}), one.case.number, 6))
    node, client = one.lab.spaces["node"], one.lab.space("pod")
    node.run("nft", _DEAF)
    node.ip("-6", "neigh", "flush", "dev", "podwire0")
    before = repeated_syns(client)
    asked = threading.Thread(target=one.ask, args=("pod", TCP, 1))
    asked.start()
    while repeated_syns(client) == before:
        time.sleep(0.01)
    node.run("nft", "delete table bridge deaf")
    asked.join()
    assert one.of("TCP") == TrafficCount(1 + one.repeated)


@pytest.mark.parametrize("backend", BACKENDS)
def test_refusals_are_connections_too(counted: Callable[..., Counted], backend: str) -> None:
    one = counted(backend, 4, CounterDetail.CONNECTIONS)
    one.serve(Case(Row("default", frozenset(), (), "cluster", {}), one.case.number, 4))
    address, port = one.case.destination()
    for source in ("pod", "node", "outside"):
        probe = Probe(str(address), port, TCP, tries=5)
        (answers,) = one.lab.client(source).call(ask, [probe])
        assert {answer.name for answer in answers} == {"refused"}
    assert one.of("TCP") == TrafficCount(15)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("backend", BACKENDS)
def test_packets_and_bytes(counted: Callable[..., Counted], backend: str, version: int) -> None:
    """A datagram and its answer, from each source, by each kind of address."""
    one = counted(backend, version, CounterDetail.PACKETS)
    for source in _SOURCES:
        for node_port in (False, True):
            one.ask(source, UDP, 10, node_port)
    packets = len(_SOURCES) * 2 * 10 * 2
    headers = 28 if version == 4 else 48
    assert one.of("UDP")[1:] == (packets, packets * headers + one.octets)
    assert one.of("TCP") == TrafficCount()
    one.ask("outside", TCP, 1)
    assert one.of("TCP").packets >= 7  # a handshake, an answer, and the end
    one.ask("pod", TCP, 1)
    assert one.of("TCP").packets >= 14


@pytest.mark.parametrize("backend", ["iptables-nft", "nftables"])
def test_a_change_of_endpoints_loses_no_count(counted: Callable[..., Counted], backend) -> None:
    one = counted(backend, 4, CounterDetail.PACKETS)
    one.ask("outside", UDP, 5)
    for endpoints in (("A",), ("A", "B"), ("C",)):
        row = Row("default", frozenset(), endpoints, "cluster", {})
        one.serve(Case(row, one.case.number, 4))
        one.ask("outside", UDP, 5)
    assert one.of("UDP")[:2] == (20, 40)
    one.serve()
    assert one.of("UDP") == TrafficCount()


def test_other_packets_count_for_no_service(counted: Callable[..., Counted], lab: ProxyLab) -> None:
    """Packets straight to an endpoint, and packets that another program redirects, count for no
    Service.
    """
    one = counted("nftables", 4, CounterDetail.PACKETS)
    node = lab.spaces["node"]
    node.run("nft", "add table ip other")
    node.run("nft", "add chain ip other pre { type nat hook prerouting priority -105; }")
    port = FIRST_NODE_PORT + one.case.number
    rule = f"ip daddr 198.51.100.177 udp dport {port} dnat to 10.244.1.2:8080"
    node.run("nft", f"add rule ip other pre {rule}")
    one.ask("outside", UDP, 1, node_port=True)
    outside = lab.client("outside")
    lab.spaces["outside"].ip("route", "add", "10.244.1.2", "via", "192.168.0.1")
    for address in (("198.51.100.177", port), ("10.244.1.2", 8080)):
        outside.call(send, *address, 1)
    lab.spaces["outside"].ip("route", "del", "10.244.1.2")
    node.run("nft", "delete table ip other")
    assert one.of("UDP")[:2] == (1, 2)


class Process(RunningProxy):
    """A running proxy that counts."""

    flags: tuple[str, ...] = ("--service-counters", "packets")

    def command(self, *args: str) -> list[str]:
        return super().command(*self.flags, *args)

    def top(self, *args: str) -> str:
        command = (*program("proxy"), "top", "--interval", "0.1", *args)
        return self.lab.spaces["node"].run(*command, check=False)

    def connections(self) -> int:
        rows = json.loads(self.top("-o", "json"))
        (web,) = [row["connections"] for row in rows if row["port"] == 80] or [0]
        return int(web)

    def tables(self) -> int:
        return self.lab.spaces["node"].run("nft", "list", "tables").count("podwire-counters")

    def wait(self, what: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline


@pytest.fixture
def process(spaces: Callable[[str], Space], tmp_path) -> Iterator[Process]:
    with group("counting") as root:
        made = Process(spaces, tmp_path, "nftables", root)
        made.put(service(), *slices("a", "b", "c"))
        yield made
        made.close()


def test_a_proxy_counts_and_shows_its_counts(process: Process) -> None:
    process.run()
    process.until({"A", "B", "C"})
    before = process.connections()
    assert before >= 12
    process.answers(tries=20)
    assert process.connections() == before + 20
    lines = process.top().splitlines()
    assert lines[0].split() == ["SERVICE", "PORT", "CONNECTIONS", "NEW/S", "PACKETS/S", "KB/S"]
    assert lines[1].split()[:3] == ["ns/web", "80/TCP", str(before + 20)]
    process.settle()
    process.lab.spaces["node"].run("nft", "delete", "table", "ip", "podwire-counters")
    process.wait(lambda: process.tables() == 2)  # written anew, and nothing that was seen is lost
    process.answers(tries=5)
    assert process.connections() == before + 25
    process.end(signal.SIGTERM)
    process.flags = ()
    process.run()
    process.wait(lambda: process.tables() == 0)
    process.wait(lambda: process.url("/metrics", 10249)[0] == 200)
    assert "podwire_service" not in process.url("/metrics", 10249)[1]
