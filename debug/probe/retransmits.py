"""Adds up TCP segments that were sent again: by whom, to whom, of which Service. Pure."""

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct, structs

from debug.output import with_port
from debug.places import Place
from debug.probe.connects import MOST_ROWS
from debug.probe.events import SocketEvent
from debug.probe.naming import Names

_SYN_SENT = 2  # TCP_SYN_SENT
SYN, ANSWER, DATA = "SYN", "SYN-ACK", "data"


class Retransmit(Struct, frozen=True, omit_defaults=True):
    """Segments that a socket sent again. ``what`` is SYN, SYN-ACK, or data (or the end of it).

    ``peer`` has a port where it was called: a client's own means nothing.
    """

    node: str
    sender: str  # "Pod default/web-1"
    peer: str
    what: str
    service: str = ""  # that was called, or of which the sender is an endpoint
    owner: str = ""  # of the peer's address, if it is no Service's
    packets: int = 1


def retransmit(place: Place, one: SocketEvent, names: Names) -> Retransmit:
    """Return an event with its names."""
    called = names.service(one.destination, one.port)
    serving = "" if called else names.serving(one.source, one.source_port)
    is_client = not serving and not one.is_answer
    what = ANSWER if one.is_answer else SYN if one.state == _SYN_SENT else DATA
    return Retransmit(
        place.node,
        place.name,
        with_port(one.destination, one.port) if is_client else one.destination,
        what,
        called or serving or (names.serving(one.destination, one.port) if is_client else ""),
        "" if called else names.owner(one.destination),
    )


class RetransmitSum:
    """Takes retransmits, and keeps at most ``MOST_ROWS`` sorts of them."""

    def __init__(self) -> None:
        self._found: Counter[Retransmit] = Counter()
        self.left_out = 0

    def add(self, heard: Iterable[Retransmit]) -> None:
        """Count segments."""
        for one in heard:
            if one not in self._found and len(self._found) >= MOST_ROWS:
                self.left_out += 1
            else:
                self._found[one] += 1

    def rows(self) -> list[Retransmit]:
        """Return all sorts, the most packets first."""
        return [structs.replace(one, packets=count) for one, count in self._found.most_common()]
