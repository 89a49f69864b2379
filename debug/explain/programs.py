"""What podwire's eBPF programs do: to a process's call of a Service, before there is a packet, and
to a packet that comes in by a link.

Source: proxy/backends/ebpf/bpf/sockets.bpf.c and packets.bpf.c. What the programs leave as it is
meets the rules of nftables, which have the same meaning.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from debug.explain.space import Space
from debug.machine.programs import (
    SavedClient,
    client,
    frontends,
    has_programs,
    pod_ranges,
    restored,
    serving,
)
from debug.places import Place
from debug.ruleset.packet import ACK, NAMES, RST, SYN, TCP, UDP, Packet
from proxy.backends.ebpf.counters import number_of_port
from proxy.backends.ebpf.layout import SETTINGS, PodRanges, unpack_settings
from proxy.backends.installed import Installed, Share, Shares
from proxy.desired.portals import Frontend, Masquerade
from proxy.model.values import Address, Network, Target

if TYPE_CHECKING:
    from debug.snapshot import Snapshot

_FLAGS = SYN | ACK | RST | 0x01  # FIN


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the programs answer, with the shares of endpoints; ``unknown`` says why not.

    ``note`` says why they are these.
    """

    name: str
    shares: Shares = ()
    unknown: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Balanced:
    """A flow that a program enters into conntrack when its first packet comes in by a link.

    Each share has the source that its packets get; None: their own.
    """

    name: str
    shares: tuple[tuple[Share, Address | None], ...] = ()
    unknown: str = ""


class Programs:
    """The programs of the nodes, whose maps are read when a call is looked at."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._nodes = {place.node: place for place in places if place.pod is None}
        self._known: dict[str, Mapping[Frontend, Installed]] = {}
        self._ranges: dict[str, PodRanges] = {}

    def run_on(self, space: Space) -> bool:
        """Return True if a node's calls and frames go through podwire's programs."""
        node = self._nodes.get(space.place.node)
        return node is not None and has_programs(node)

    def called(self, space: Space, packet: Packet) -> Call | None:
        """Return what becomes of a process's call; None if the programs leave it as it is.

        Raises KernelRefusedError, PlaceError.
        """
        if not packet.has_ports or not self.run_on(space):
            return None
        to = packet.destination, packet.ports[1], NAMES[packet.protocol]
        found = serving(self._served(space), *to, of_node=False)
        if found is None:
            return None
        if space.place.pod is None:
            return _of_node(found)
        call = _of_pod(found, packet)
        return (
            call if call is None or not found.affinity else self._kept(space, call, found, packet)
        )

    def _kept(self, space: Space, call: Call, found: Installed, packet: Packet) -> Call:
        """Return the call of a client that keeps its endpoint for a time."""
        if not found.name or not call.shares:
            return Call(call.name, unknown="which client has which endpoint: no name is known")
        number = number_of_port(found.name, str(found.frontend.protocol))
        had = self._client(space.place.node, number, packet.source)
        left = (found.affinity or 0) - (had.age if had else 0)
        if had is None or left <= 0:
            return replace(call, note="affinity: the client has no endpoint yet")
        target = Target.of(ip_address(had.endpoint), had.port)
        if all(share.target != target for share in call.shares):
            return replace(call, note=f"affinity: {target} is no endpoint any more")
        note = f"affinity: the client keeps {target} for {left:.0f} s more"
        return replace(call, shares=(Share(target, 1.0),), note=note)

    def _client(self, node: str, portal: int, address: Address) -> SavedClient | None:
        return client(self._nodes[node], portal, address)

    def received(self, space: Space, packet: Packet) -> Balanced | None:
        """Return what becomes of a flow's first packet; None if the programs leave it to rules.

        Raises KernelRefusedError.
        """
        if packet.protocol not in (TCP, UDP) or space.place.pod or not self.run_on(space):
            return None
        if packet.protocol == TCP and packet.transport[13] & _FLAGS != SYN:
            return None
        found = self._frontend(space, packet)
        ranges = self._pod_ranges(space) if found else None
        if found is None or ranges is None or ranges.by_interface:
            return None
        call = _of_packet(found, packet, ranges)
        if call and not call.unknown and found.affinity:
            call = self._kept(space, call, found, packet)
        if call is None:
            return None
        if call.unknown:
            return Balanced(call.name, unknown=call.unknown)
        return _balanced(call, found, packet, ranges, lambda to: space.fib.route(to).source)

    def _frontend(self, space: Space, packet: Packet) -> Installed | None:
        """Return the frontend that a packet calls: an address of its own, or a NodePort."""
        to = packet.destination, packet.ports[1], NAMES[packet.protocol]
        of_node = packet.destination in space.addresses
        return serving(self._served(space), *to, of_node=of_node)

    def _served(self, space: Space) -> Mapping[Frontend, Installed]:
        node = space.place.node
        if node not in self._known:
            self._known[node] = self._frontends(node)
        return self._known[node]

    def _pod_ranges(self, space: Space) -> PodRanges | None:
        node = space.place.node
        if node not in self._ranges:
            self._ranges[node] = pod_ranges(self._nodes[node])
        return self._ranges[node]

    def _frontends(self, node: str) -> Mapping[Frontend, Installed]:
        return frontends(self._nodes[node])


class SavedPrograms(Programs):
    """The same of a snapshot."""

    def __init__(self, snapshot: "Snapshot") -> None:
        super().__init__(())
        self._saved = {one.node: one.programs for one in snapshot.machines}
        self._settings = {one.node: one.maps.get("settings", ()) for one in snapshot.machines}
        self._clients = {
            (one.node, client.portal, client.address): client
            for one in snapshot.machines
            for client in one.clients
        }

    def run_on(self, space: Space) -> bool:
        """See ``Programs``."""
        return self._saved.get(space.place.node) is not None

    def _pod_ranges(self, space: Space) -> PodRanges | None:
        """See ``Programs``; None for an older snapshot, whose rules have the same meaning."""
        found = self._settings.get(space.place.node, ())
        if not found:
            return None
        if len(found[0][1]) != SETTINGS:
            raise ValueError(f"the programs' settings have {len(found[0][1])} bytes")
        return unpack_settings(found[0][1])

    def _frontends(self, node: str) -> Mapping[Frontend, Installed]:
        return dict(map(restored, self._saved[node] or ()))

    def _client(self, node: str, portal: int, address: Address) -> SavedClient | None:
        return self._clients.get((node, portal, str(address)))


def _of_packet(found: Installed, packet: Packet, ranges: PodRanges) -> Call | None:
    """Return among which endpoints a program chooses for a packet; None if it leaves it."""
    from_pod = _is_in(packet.source, ranges)
    inside = found.inside if from_pod else None
    shares = found.shares if inside is None else inside
    if not shares or (found.sources is not None and not _admits(found.sources, packet.source)):
        return None
    if ranges.direct and not from_pod:
        return Call(found.name, unknown="the program may leave the answer to the endpoint's node")
    return Call(found.name, shares)


def _balanced(
    call: Call,
    found: Installed,
    packet: Packet,
    ranges: PodRanges,
    source_to: Callable[[Address], str],
) -> Balanced | None:
    """Return what ``balance`` of packets.bpf.c does; ``source_to`` is of the node's routes."""
    caller = packet.source
    from_pod = _is_in(caller, ranges)
    hides = found.masquerade is Masquerade.ALWAYS
    hides |= found.masquerade is Masquerade.NOT_PODS and not from_pod
    made: list[tuple[Share, Address | None]] = []
    for share in call.shares:
        to = share.target.address
        if hides or to == caller:
            made.append((share, ip_address(source_to(to))))
        elif from_pod and not _is_in(to, ranges):
            return None  # others' rules may masquerade it
        else:
            made.append((share, None))
    return Balanced(f"{call.name} ({call.note})" if call.note else call.name, tuple(made))


def _is_in(address: Address, ranges: PodRanges) -> bool:
    return _admits(ranges.ranges, address)


def _of_node(found: Installed) -> Call | None:
    """A node's own process: clients that have to be known are left to packets."""
    if found.affinity or found.sources is not None:
        return None
    return Call(found.name, found.shares if found.inside is None else found.inside)


def _of_pod(found: Installed, packet: Packet) -> Call | None:
    """A Pod's process: what has to be masqueraded is left to packets."""
    if found.masquerade is Masquerade.ALWAYS:
        return None
    shares = found.shares if found.inside is None else found.inside
    if any(share.target.address == packet.source for share in shares):
        return None
    if found.sources is not None and not _admits(found.sources, packet.source):
        return None
    return Call(found.name, shares)


def _admits(sources: Iterable[Network], address: Address) -> bool:
    return any(one.version == address.version and address in one for one in sources)
