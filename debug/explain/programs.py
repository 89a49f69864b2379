"""What podwire's eBPF programs do to a program's call of a Service, before there is a packet.

Source: proxy/backends/ebpf/bpf/sockets.bpf.c. A call that the programs leave as it is meets the
rules of nftables, which have the same meaning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from debug.explain.space import Space
from debug.machine.programs import frontends, has_programs, restored
from debug.places import Place
from debug.ruleset.packet import NAMES, Packet
from proxy.backends.installed import Installed, Shares
from proxy.desired.portals import Frontend, Masquerade
from proxy.model.values import Family, Protocol

if TYPE_CHECKING:
    from debug.snapshot import Snapshot

_FAMILIES = {4: Family.V4, 6: Family.V6}


@dataclass(frozen=True, slots=True)
class Call:
    """A call that the programs answer, with the shares of endpoints; ``unknown`` says why not."""

    name: str
    shares: Shares = ()
    unknown: str = ""


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
        return _of_node(found) if space.place.pod is None else _of_pod(found, packet)

    def _frontends(self, node: str) -> Mapping[Frontend, Installed]:
        return frontends(self._nodes[node])


class SavedPrograms(Programs):
    """The same of a snapshot."""

    def __init__(self, snapshot: "Snapshot") -> None:
        super().__init__(())
        self._saved = {one.node: one.programs for one in snapshot.machines}

    def run_on(self, space: Space) -> bool:
        """See ``Programs``."""
        return self._saved.get(space.place.node) is not None

    def _frontends(self, node: str) -> Mapping[Frontend, Installed]:
        return dict(map(restored, self._saved[node] or ()))


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
    if found.affinity or found.sources is not None:
        why = "clients keep their endpoint" if found.affinity else "source ranges"
        return Call(found.name, unknown=f"the program decides by what it remembers: {why}")
    return Call(found.name, shares)
