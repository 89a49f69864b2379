"""The kernel's own reasons for drops: where in the kernel packets ended, and why.

One eBPF program hears the whole machine (``debug.trace.watch.drops``); what ended in no namespace
of the cluster is passed over. It ends with this process.
"""

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

from debug.cluster import Names
from debug.drops.counters import DropCount
from debug.places import Place, by_inode
from debug.trace.watch.drops import DropListener, Dropped, function_at

_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
_PORTED = (6, 17, 132)


class ReasonCounter:
    """Hears drops from now on. Raises KernelRefusedError where there is no such program.

    ``places`` gives those of the cluster as they are now.
    """

    def __init__(self, places: Callable[[], Iterable[Place]], names: Names) -> None:
        self._names, self._places = names, places
        self._listener = DropListener(0, 0xFFFFFFFF)  # any word is in this range
        self._lost = 0

    def close(self) -> None:
        """Detach the program."""
        self._listener.close()

    def take(self) -> Iterator[DropCount]:
        """Yield what ended since the last call: alike packets are one, with the last of them."""
        counts: dict[tuple[Place, str], int] = {}
        last: dict[tuple[Place, str], str] = {}
        places = dict(by_inode(self._places()))
        for one in self._listener.read():
            place = places.get(one.netns)
            if place is not None:
                key = place, _where(one, place)
                counts[key] = counts.get(key, 0) + 1
                last[key] = self._flow(one.data)
        for (place, what), packets in counts.items():
            yield DropCount(place.node, "kernel", what, packets, last[place, what])

    def lost(self) -> int:
        """Return how many drops came faster than they were taken, since this was asked last.

        Raises KernelRefusedError.
        """
        before, self._lost = self._lost, self._listener.lost
        return self._lost - before

    def _flow(self, data: bytes) -> str:
        """Return a packet's two ends, from its IP header on."""
        if data[0] >> 4 == 4:
            ends, protocol, size = (data[12:16], data[16:20]), data[9], (data[0] & 15) * 4
        else:
            ends, protocol, size = (data[8:24], data[24:40]), data[6], 40
        source, destination = (self._names.shown(str(ip_address(one))) for one in ends)
        port = int.from_bytes(data[size + 2 : size + 4], "big")
        to = f" port {port}" if protocol in _PORTED else ""
        return f"{_PROTOCOLS.get(protocol, protocol)} {source} → {destination}{to}"


def _where(one: Dropped, place: Place) -> str:
    inside = f" in Pod {'/'.join(place.pod)}" if place.pod else ""
    function = function_at(one.function)
    return f"{one.reason}{f' at {function}' if function else ''}{inside}"
