"""The room that a desired state needs in the maps, known before their contents are: pure.

A table's size is fixed when the programs are loaded. That takes 0.1 s, so it begins before there is
a desired state, with room for most clusters.
"""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import astuple

from proxy.backends.ebpf.layout import ROW
from proxy.backends.ebpf.maglev import size_for
from proxy.backends.ebpf.options import EbpfOptions
from proxy.desired.portals import Portal


class MapRoom(Struct):
    """The most entries that each table gets, by its name in bpf/maps.h."""

    frontends: int = 0
    endpoints: int = 0
    seats: int = 0
    members: int = 0
    ranges: int = 0

    def fits_in(self, other: "MapRoom") -> bool:
        """Return True if no table needs more entries than in ``other``."""
        return all(mine <= its for mine, its in zip(astuple(self), astuple(other), strict=True))


# With the spare room that tables get this is 6 MB, nearly all of which more Services fill in time.
USUAL_ROOM = MapRoom(16384, 32768, 16384, 32768, 16384)


def room_for(portals: Iterable[Portal], options: EbpfOptions) -> MapRoom:
    """Return room for no less than ``MapContents`` makes of the portals.

    Portals that share a pool or source ranges, or claim the same address, need less.
    """
    room = MapRoom()
    for portal in portals:
        addresses = len(portal.external_ips) + len(portal.load_balancer_ips)
        room.frontends += 1 + addresses + bool(portal.node_port)
        sizes = _pools(portal, options)
        room.endpoints += sum(sizes)
        others = len(portal.lasting) + len(portal.neighbors)
        room.members += sum(sizes) + len(sizes) * others
        room.ranges += len(portal.sources or ())
        if options.by_hash:
            room.seats += sum(-(-size_for(size) // ROW) for size in sizes)
    return room


def _pools(portal: Portal, options: EbpfOptions) -> tuple[int, ...]:
    """Return the sizes of the pools that a portal may use."""
    cluster, local = len(portal.cluster), len(portal.local)
    uses_local = portal.internal_local or portal.external_local or options.direct
    return (cluster, local, local) if uses_local else (cluster,)
