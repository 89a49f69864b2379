"""The ebpf backend alone: a caller sees the called address, and state outlives the proxy."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import wait
from ipaddress import ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from msgspec.structs import replace

from proxy.backends.base import BACKENDS, open_backend
from proxy.backends.ebpf import backend, packets, sockets
from proxy.backends.ebpf.libbpf import Libbpf, pinned
from proxy.backends.ebpf.mounts import INLETS, LINKS
from proxy.backends.ebpf.room import USUAL_ROOM, MapRoom
from proxy.backends.ebpf.sockets import PROGRAMS, SocketPrograms
from proxy.desired.tracker import Tracker
from proxy.model.values import Balance, Endpoint, Family, Port, Protocol, Service, Slice, Target
from tests.support.cni.worker import Worker
from tests.support.groups import group, join
from tests.support.proxy.backends import filter_bridges
from tests.support.proxy.lab import ProxyLab
from tests.support.proxy.world import DEFAULT, NODE, PORT
from tests.support.space import Space

VIP, VIP6 = "10.96.0.10", "fd00:10:96::10"
KEY = ("ns", "web")
_HOSTS = {"a": 2, "b": 3}
_kept: list = []  # in the node's worker; in a pod's: its sockets
WEB = Service(
    KEY,
    ports=tuple(Port(proto.lower(), proto, 80, 30080) for proto in Protocol),
    cluster_ips=(ip_address(VIP), ip_address(VIP6)),
)


def apply(
    root: str,
    names: str,
    service: Service,
    anew: bool = False,
    counters: str = "off",
    states: Mapping[str, dict] = MappingProxyType({}),
) -> None:
    """In the node: serve ``service`` with the Pods ``names``; ``states`` are of some of them."""
    tracker = Tracker(NODE, tuple(Family))
    tracker.set_service(KEY, service)
    for number, prefix in enumerate(("10.244.1.", "fd00:10:244:1::")):
        endpoints = tuple(
            replace(
                Endpoint(Target.of(ip_address(f"{prefix}{_HOSTS[name]}"), PORT), local=True),
                **states.get(name, {}),
            )
            for name in names
        )
        by_port = {(proto.lower(), proto): endpoints for proto in Protocol}
        tracker.set_slice(("ns", f"web-{number}"), Slice(KEY, by_port))
    if anew or not _kept:
        _kept[:] = [
            open_backend("ebpf", DEFAULT, {"cgroup-root": root, "service-counters": counters})
        ]
    _kept[0].apply(tracker.desired(), NODE)
    filter_bridges(_kept[0], DEFAULT)


def remove() -> None:
    _kept.clear()
    for mode in BACKENDS:
        open_backend(mode, DEFAULT, {}).remove()


def call(address: str, port: int = 80, bind: str = "", family: int = 0) -> tuple[str, str, str]:
    """Return the answering Pod of a new connection, the socket's peer, and the kernel's peer."""
    family = family or (socket.AF_INET6 if ":" in address else socket.AF_INET)
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(60)
        if bind:
            sock.bind((bind, 0))
        try:
            sock.connect((address, port))
        except ConnectionRefusedError:
            return "refused", "", ""
        peer = sock.getpeername()[0]
        real = _kernels_view(sock.getsockname()[1])
        return sock.recv(100).decode().split()[0], peer, real


def _kernels_view(port: int) -> str:
    """Return the remote address in the kernel's socket table, which no hook changes."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]:
            local, remote = line.split()[1:3]
            if int(local.rpartition(":")[2], 16) == port:
                return remote.partition(":")[0]
    return ""


def ask_unconnected(address: str, port: int = 80, anew: bool = True) -> tuple[str, str]:
    """Send a datagram without connecting; return the answering Pod and the answer's source."""
    if anew or not _kept:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        _kept[:] = [socket.socket(family, socket.SOCK_DGRAM)]
    _kept[0].settimeout(60)
    _kept[0].sendto(b"?", (address, port))
    said, peer = _kept[0].recvfrom(100)
    return said.decode().split()[0], peer[0]


_held: dict[str, list[socket.socket]] = {}  # in a pod's worker: open connections, by who answered


def hold(address: str, count: int) -> dict[str, int]:
    """Open ``count`` connections; return how many this Pod has to each endpoint."""
    for _ in range(count):
        sock = socket.create_connection((address, 80), 5)
        _held.setdefault(sock.recv(100).decode().split()[0], []).append(sock)
    return {name: len(socks) for name, socks in sorted(_held.items())}


def let_go(name: str) -> None:
    """Close all connections to an endpoint."""
    for sock in _held.pop(name, []):
        sock.close()


@pytest.fixture(scope="module")
def world(spaces: Callable[[str], Space]) -> Iterator[tuple[ProxyLab, str]]:
    with group("ebpf") as root:
        lab = ProxyLab(spaces)
        join(root, (lab.workers[name] for name in ("node", "a", "b", "p")))
        yield lab, root
        lab.workers["node"].call(remove)
        lab.stop()


@pytest.mark.parametrize("source", ["pod", "node"])
@pytest.mark.parametrize("address", [VIP, VIP6, "::ffff:" + VIP])
def test_a_connection_goes_to_the_endpoint_itself(world, source: str, address: str) -> None:
    """The process sees the Service, the kernel's table the endpoint: no packet is changed."""
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", WEB)
    answers = [lab.client(source).call(call, address) for _ in range(30)]
    assert {name for name, *_ in answers} == {"A", "B"}
    assert {peer for _, peer, _ in answers} == {address}
    hosts = {real[-8:] for *_, real in answers}
    expected = {"0201F40A", "0301F40A"} if "." in address else {"02000000", "03000000"}
    assert hosts == expected


@pytest.mark.parametrize(("source", "why"), [("self", "hairpin"), ("outside", "not of this node")])
def test_other_calls_are_balanced_by_packets(world, source: str, why: str) -> None:
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", WEB)
    answers = [lab.client(source).call(call, VIP) for _ in range(20)]
    assert {name for name, *_ in answers} == {"A", "B"}, why
    assert {real for *_, real in answers} == {"0A00600A"}, why  # 10.96.0.10


def test_a_bound_socket_is_balanced_by_packets(world) -> None:
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", WEB)
    name, peer, real = lab.client("node").call(call, VIP, 80, "192.168.0.1")
    assert (name in "AB", peer, real) == (True, VIP, "0A00600A")


@pytest.mark.parametrize("address", [VIP, VIP6])
def test_unconnected_datagrams(world, address: str) -> None:
    """A socket keeps its endpoint while that serves; answers come from the Service's address."""
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", WEB)
    pod = lab.client("pod")
    answers = {pod.call(ask_unconnected, address) for _ in range(30)}
    assert answers == {("A", address), ("B", address)}
    first, _ = pod.call(ask_unconnected, address)
    assert {pod.call(ask_unconnected, address, 80, False) for _ in range(10)} == {(first, address)}
    other = "b" if first == "A" else "a"
    lab.workers["node"].call(apply, root, other, WEB)
    assert pod.call(ask_unconnected, address, 80, False) == (other.upper(), address)


def test_a_datagram_socket_keeps_an_endpoint_that_serves(world) -> None:
    """As a tracked flow does: readiness and hints choose for new flows only."""
    lab, root = world
    pod, node = lab.client("pod"), lab.workers["node"]
    node.call(apply, root, "ab", WEB)
    first, _ = pod.call(ask_unconnected, VIP)
    stays, other = (first.lower(), "b" if first == "A" else "a")
    for states in (LEAVING, HINTED):
        node.call(apply, root, "ab", WEB, False, "off", {stays: states[0], other: states[1]})
        assert {pod.call(ask_unconnected, VIP, 80, False)[0] for _ in range(10)} == {first}
        anew = {lab.client("self").call(ask_unconnected, VIP)[0] for _ in range(10)}
        assert anew == {other.upper()}
    node.call(apply, root, "ab", WEB, False, "off", {stays: GONE, other: {}})
    assert pod.call(ask_unconnected, VIP, 80, False)[0] == other.upper()


# What a terminating endpoint is, and one that hints would no longer choose, beside another one.
LEAVING = ({"ready": False, "terminating": True}, {})
HINTED = ({"nodes": frozenset({"n2"})}, {"nodes": frozenset({"n1"})})
GONE = {"ready": False, "serving": False, "terminating": True}

FEWEST = replace(WEB, balance=Balance.LEAST_CONNECTIONS)


@pytest.mark.parametrize("address", [VIP, VIP6])
def test_least_connections(world, address: str) -> None:
    """A call goes to the less loaded of two endpoints.

    All processes' connections count. Connections that end, and a restart of the proxy, change
    nothing else.
    """
    lab, root = world
    node, pod, other = lab.workers["node"], lab.client("pod"), lab.client("node")
    node.call(apply, root, "ab", FEWEST, True)
    assert pod.call(hold, address, 40) == {"A": 20, "B": 20}
    pod.call(let_go, "A")
    assert pod.call(hold, address, 10) == {"A": 10, "B": 20}
    node.call(apply, root, "ab", FEWEST, True)
    assert other.call(hold, address, 10) == {"A": 10}
    assert pod.call(hold, address, 20) == {"A": 20, "B": 30}
    for worker in (pod, other):
        for name in "AB":
            worker.call(let_go, name)
    assert pod.call(hold, address, 20) == {"A": 10, "B": 10}
    for name in "AB":
        pod.call(let_go, name)


def test_connections_of_a_killed_process_do_not_count(world) -> None:
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", FEWEST, True)
    pod = lab.client("pod")
    mortal = Worker(lab.spaces["p"])
    join(root, [mortal])
    assert mortal.call(hold, VIP, 30) == {"A": 15, "B": 15}
    assert pod.call(hold, VIP, 2) == {"A": 1, "B": 1}
    mortal.call(let_go, "A")
    mortal.stop()
    assert pod.call(hold, VIP, 20) == {"A": 11, "B": 11}
    for name in "AB":
        pod.call(let_go, name)


def test_without_endpoints_a_call_is_refused_at_once(world) -> None:
    lab, root = world
    lab.workers["node"].call(apply, root, "", WEB)
    for source in ("pod", "node", "outside"):
        assert lab.client(source).call(call, VIP)[0] == "refused"


def test_affinity(world) -> None:
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", replace(WEB, affinity=60))
    for source in ("pod", "node", "outside"):
        assert len({lab.client(source).call(call, VIP)[0] for _ in range(10)}) == 1


def test_a_restart_keeps_what_sockets_know(world) -> None:
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", WEB)
    pod = lab.client("pod")
    first = pod.call(ask_unconnected, VIP)
    before = {path.name for path in LINKS.iterdir()}
    lab.workers["node"].call(apply, root, "ab", WEB, True)
    assert pod.call(ask_unconnected, VIP, 80, False) == first
    assert {path.name for path in LINKS.iterdir()} == before
    assert len(before) == len(PROGRAMS)


def test_programs_see_sockets_packets_only_while_they_are_counted(world) -> None:
    lab, root = world
    for counters, more in (("packets", 2), ("connections", 0)):
        lab.workers["node"].call(apply, root, "ab", WEB, True, counters)
        assert len(list(LINKS.iterdir())) == len(PROGRAMS) + more
        assert lab.client("pod").call(call, VIP)[0] in "AB"


def detach(folder: Path) -> None:
    """In the node: do as ``bpftool link detach``."""
    library = Libbpf()
    for path in folder.iterdir():
        link = pinned(library, path)
        library.check(library.bpf.bpf_link_detach(link), "detaching")
        os.close(link)


def test_a_restart_attaches_a_detached_program(world) -> None:
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", WEB)
    lab.workers["node"].call(detach, LINKS)
    pod = lab.client("pod")
    assert pod.call(call, VIP)[2] == "0A00600A"  # by packets: nothing is lost
    lab.workers["node"].call(apply, root, "ab", WEB, True)
    assert pod.call(call, VIP)[2] in ("0201F40A", "0301F40A")


def serve_early(root: str) -> bool:
    """In the node: serve by a new run; return whether links had its program before its contents."""
    seen, set_node = [], SocketPrograms.set_node

    def noted(self: SocketPrograms, *args: Any) -> None:
        seen.append(bool(_kept[0]._packets._links))
        set_node(self, *args)

    SocketPrograms.set_node = noted
    try:
        apply(root, "ab", WEB, anew=True)
    finally:
        SocketPrograms.set_node = set_node
    return seen == [True]


def test_a_program_without_contents_takes_no_older_ones_place(world) -> None:
    lab, root = world
    lab.workers["node"].call(remove)
    assert lab.workers["node"].call(serve_early, root)
    assert not lab.workers["node"].call(serve_early, root)
    assert served_links(lab.spaces["node"])


def look() -> str:
    """In the node: check as the proxy does twice a second."""
    return _kept[0].disturbed([])


def served_links(space: Space) -> set[int]:
    """Return the links with a program: by TCX, or before Linux 6.6 by a tc filter."""
    pinned_here = {int(path.name) for path in INLETS.glob("*")}
    links = json.loads(space.ip("-json", "link", "show"))
    filters = {
        one["ifindex"]
        for one in links
        if "balance_ingress" in space.run("tc", "filter", "show", "dev", one["ifname"], "ingress")
    }
    return pinned_here | filters


def test_links_are_followed(world) -> None:
    lab, root = world
    node, space = lab.workers["node"], lab.spaces["node"]
    node.call(apply, root, "ab", WEB, True)
    before = served_links(space)
    assert len(before) == 5  # eth0, podwire0, and a veth for each pod
    space.ip("link", "add", "late", "type", "veth", "peer", "name", "late-far")
    assert node.call(look) == ""
    assert len(served_links(space) - before) == 2
    space.ip("link", "del", "late")
    assert node.call(look) == ""
    assert served_links(space) == before


def test_a_detached_program_is_noticed(world) -> None:
    lab, root = world
    node, space = lab.workers["node"], lab.spaces["node"]
    node.call(apply, root, "ab", WEB)
    before = served_links(space)
    node.call(detach, INLETS)
    space.run("tc", "qdisc", "del", "dev", "eth0", "clsact", check=False)  # before Linux 6.6
    assert node.call(look) == "programs of links were removed"
    node.call(apply, root, "ab", WEB)
    assert node.call(look) == ""
    assert served_links(space) == before


def use_object(path: Path, kind: str = "packets") -> Path:
    """In the node: load the programs of a kind from ``path``; return the path before."""
    module = {"packets": packets, "sockets": sockets}[kind]
    before, module.OBJECT = module.OBJECT, path
    return before


def use_room(room: MapRoom) -> MapRoom:
    """In the node: load programs early with so much room; return that of before."""
    before, backend.USUAL_ROOM = backend.USUAL_ROOM, room
    return before


def begin(root: str) -> None:
    """In the node: a new run has loaded its programs, and has no objects yet."""
    _kept[:] = [open_backend("ebpf", DEFAULT, {"cgroup-root": root})]
    _kept[0].load_early()
    wait([_kept[0]._early])


def load_again(root: str, names: str) -> int:
    """In the node: serve; return how often the run has loaded programs for it."""
    loads, load = [], SocketPrograms.load

    def noted(self: SocketPrograms, room: MapRoom) -> None:
        loads.append(room)
        load(self, room)

    SocketPrograms.load = noted
    try:
        apply(root, names, WEB)
    finally:
        SocketPrograms.load = load
    return len(loads)


@pytest.mark.parametrize("anew", [True, False])
@pytest.mark.parametrize(("room", "loads"), [(USUAL_ROOM, 0), (MapRoom(), 1)])
def test_programs_are_loaded_early(world, room: MapRoom, loads: int, *, anew: bool) -> None:
    """An earlier run's programs serve meanwhile, and too little room is a second load."""
    lab, root = world
    node, pod = lab.workers["node"], lab.client("pod")
    node.call(*((remove,) if anew else (apply, root, "a", WEB, True)))
    before = node.call(use_room, room)
    try:
        node.call(begin, root)
        assert anew or pod.call(call, VIP)[::2] == ("A", "0201F40A")
        assert node.call(load_again, root, "b") == loads
    finally:
        node.call(use_room, before)
    assert pod.call(call, VIP)[::2] == ("B", "0301F40A")
    assert {lab.client("outside").call(call, VIP)[0] for _ in range(10)} == {"B"}
    assert served_links(lab.spaces["node"])
    assert node.call(look) == ""


def test_a_refused_early_load_leaves_an_earlier_runs_programs(world) -> None:
    """They serve until there is a desired state, and go then: they would not learn of changes."""
    lab, root = world
    node, space = lab.workers["node"], lab.spaces["node"]
    node.call(apply, root, "a", WEB, True)
    links = served_links(space)
    before = node.call(use_object, Path("/nonexistent"))
    try:
        node.call(begin, root)
        assert served_links(space) == links != set()
        assert node.call(load_again, root, "b") == 1
        assert not served_links(space)
        assert {lab.client("outside").call(call, VIP)[0] for _ in range(10)} == {"B"}
    finally:
        node.call(use_object, before)
        node.call(apply, root, "ab", WEB, True)


def test_without_object_files_rules_serve_everything(world) -> None:
    """Programs of an earlier run must not stay: their maps would not learn of changes."""
    lab, root = world
    node = lab.workers["node"]
    node.call(apply, root, "a", WEB, True)
    before = node.call(use_object, Path("/nonexistent"), "sockets")
    try:
        for pods in ("b", "a", "b"):
            node.call(apply, root, pods, WEB, pods == "b")
            for source in ("pod", "node", "outside"):
                answers = {lab.client(source).call(call, VIP)[0] for _ in range(5)}
                assert answers == {pods.upper()}
        assert not served_links(lab.spaces["node"])
        assert not list(LINKS.glob("*"))
        assert node.call(look) == ""
    finally:
        node.call(use_object, before, "sockets")
        node.call(apply, root, "ab", WEB, True)
    assert served_links(lab.spaces["node"])


def test_without_a_program_rules_serve_packets(world) -> None:
    """As on a kernel before 6.1.

    An earlier run's program must not stay: it would not learn of changes.
    """
    lab, root = world
    node = lab.workers["node"]
    node.call(apply, root, "a", WEB, True)
    before = node.call(use_object, Path("/nonexistent"))
    try:
        node.call(apply, root, "b", WEB, True)
        assert not served_links(lab.spaces["node"])
        assert node.call(look) == ""
        assert {lab.client("outside").call(call, VIP)[0] for _ in range(10)} == {"B"}
    finally:
        node.call(use_object, before)
        node.call(apply, root, "ab", WEB, True)
    assert served_links(lab.spaces["node"])


def test_affinity_is_the_same_at_sockets_and_by_packets(world) -> None:
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", replace(WEB, affinity=60))
    pod = lab.client("pod")
    by_hook = [pod.call(call, VIP) for _ in range(5)]
    by_packets = [pod.call(call, VIP, 80, "10.244.1.9") for _ in range(5)]
    assert {real for *_, real in by_hook} <= {"0201F40A", "0301F40A"}
    assert {real for *_, real in by_packets} == {"0A00600A"}
    assert len({name for name, *_ in by_hook + by_packets}) == 1


def test_a_pod_with_two_addresses_is_balanced_by_packets(world) -> None:
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", WEB, True)
    pod, space = lab.client("pod"), lab.spaces["p"]
    space.ip("address", "add", "10.9.9.9/32", "dev", "eth0")
    try:
        time.sleep(1.1)  # a hook believes for a second what it has read
        assert pod.call(call, VIP)[2] == "0A00600A"
    finally:
        space.ip("address", "del", "10.9.9.9/32", "dev", "eth0")
        time.sleep(1.1)


def test_removal_is_complete(world) -> None:
    lab, root = world
    lab.workers["node"].call(apply, root, "ab", WEB)
    lab.workers["node"].call(remove)
    lab.workers["node"].call(remove)
    assert not LINKS.exists()
    assert not served_links(lab.spaces["node"])
    assert not LINKS.parent.exists()
    assert lab.spaces["node"].run("nft", "list", "ruleset") == ""
