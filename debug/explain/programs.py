"""What podwire's eBPF programs do to a program's call of a Service, before there is a packet.

Source: proxy/backends/ebpf/bpf/sockets.bpf.c. A call that the programs leave as it is meets the
rules of nftables, which have the same meaning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

from debug.explain.space import Space
from debug.machine.programs import SavedClient, client, frontends, has_programs, restored
from debug.places import Place
from debug.ruleset.packet import NAMES, Packet
from proxy.backends.ebpf.counters import number_of_port
from proxy.backends.installed import Installed, Share, Shares
from proxy.desired.portals import Frontend, Masquerade
from proxy.model.values import Address, Family, Network, Protocol, Target

if TYPE_CHECKING:
    from debug.snapshot import Snapshot

_FAMILIES = {4: Family.V4, 6: Family.V6}


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the programs answer, with the shares of endpoints; ``unknown`` says why not.

    ``note`` says why they are these.
    """

    name: str
    shares: Shares = ()
    unknown: str = ""
    note: str = ""


class Programs:
    """The programs of the nodes, whose maps are read when a call is looked at."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._nodes = {place.node: place for place in places if place.pod is None}
        self._known: dict[str, Mapping[Frontend, Installed]] = {}

    def run_on(self, space: Space) -> bool:
        """Return True if a node's calls and frames go through podwire's programs."""
        node = self._nodes.get(space.place.node)
        return node is not None and has_programs(node)

    def called(self, space: Space, packet: Packet) -> Call | None:
        """Return what becomes of a process's call; None if the programs leave it as it is.

        Raises KernelRefusedError, PlaceError.
        """
        name = NAMES.get(packet.protocol, "").upper()
        if not packet.has_ports or not self.run_on(space):
            return None
        key = Frontend(
            _FAMILIES[packet.version], packet.destination, packet.ports[1], Protocol(name)
        )
        node = space.place.node
        if node not in self._known:
            self._known[node] = self._frontends(node)
        found = self._known[node].get(key)
        if found is None:
            return None
        if space.place.pod is None:
            return _of_node(found)
        call = _of_pod(found, packet)
        return call if call is None or not found.affinity else self._kept(node, call, found, packet)

    def _kept(self, node: str, call: Call, found: Installed, packet: Packet) -> Call:
        """Return the call of a client that keeps its endpoint for a time."""
        if not found.name or not call.shares:
            return Call(call.name, unknown="which client has which endpoint: no name is known")
        number = number_of_port(found.name, str(found.frontend.protocol))
        had = self._client(node, number, packet.source)
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

    def _frontends(self, node: str) -> Mapping[Frontend, Installed]:
        return frontends(self._nodes[node])


class SavedPrograms(Programs):
    """The same of a snapshot."""

    def __init__(self, snapshot: "Snapshot") -> None:
        super().__init__(())
        self._saved = {one.node: one.programs for one in snapshot.machines}
        self._clients = {
            (one.node, client.portal, client.address): client
            for one in snapshot.machines
            for client in one.clients
        }

    def run_on(self, space: Space) -> bool:
        """See ``Programs``."""
        return self._saved.get(space.place.node) is not None

    def _frontends(self, node: str) -> Mapping[Frontend, Installed]:
        return dict(map(restored, self._saved[node] or ()))

    def _client(self, node: str, portal: int, address: Address) -> SavedClient | None:
        return self._clients.get((node, portal, str(address)))


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
