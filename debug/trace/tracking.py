"""The connections of packets whose ways are known: looked up in each place."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from debug.places import Place, inside_if_there
from debug.trace.packet import Flow, Packet
from debug.trace.walk import Stay
from debug.trace.watch.connections import Connection, find_all
from debug.trace.watch.spaces import Seen

_MOST = 1000  # flows that are asked for in one place


def tracked(ways: Iterable[Sequence[Stay]]) -> list[Seen]:
    """Return the connections to which packets belong, in the places where they were seen."""
    return [
        Seen(place, one)
        for place, packets in _by_place(ways).items()
        for one in _found(place, packets)
    ]


def _found(place: Place, packets: Mapping[Flow, Packet]) -> list[Connection]:
    asked = list(packets.values())[:_MOST]
    return inside_if_there(place, partial(find_all, asked), [])


def _by_place(ways: Iterable[Sequence[Stay]]) -> dict[Place, dict[Flow, Packet]]:
    """Return a packet of each flow in each place; of those in a tunnel, what it carries."""
    found: dict[Place, dict[Flow, Packet]] = {}
    for stay in (stay for way in ways for stay in way):
        packets = (one.packet for one in stay.met if not isinstance(one, Connection))
        for packet in (one.inner or one for one in packets):
            found.setdefault(stay.place, {}).setdefault(packet.flow, packet)
    return found
