"""What was measured from node to node and from Pod to Pod: values, and what of them is wrong."""

from collections.abc import Iterator

from msgspec import Struct

from debug.model import Level


class Way(Struct, frozen=True, omit_defaults=True):
    """One direction between two places. Times are in milliseconds, sizes in bytes.

    ``largest`` is the size of the IP packet that passed with "don't fragment" set, ``mtu`` that of
    the link by which packets leave; 0 if none passed. ``fault`` says why nothing was measured.
    """

    source: str  # "Node node1", "Pod default/web"
    destination: str
    address: str  # of the destination
    sent: int = 0
    received: int = 0
    latency: float | None = None  # the median
    largest: int = 0
    mtu: int = 0
    fault: str = ""

    @property
    def loss(self) -> float:
        """The share of packets without an answer, from 0 to 1."""
        return 1 - self.received / self.sent if self.sent else 1.0

    @property
    def level(self) -> Level:
        """How bad it is: nothing passes, some are lost or smaller ones only pass."""
        if self.fault:
            return Level.UNKNOWN
        if not self.received:
            return Level.FAIL
        return Level.WARN if self.loss or self.largest < self.mtu else Level.OK


class Mesh(Struct, frozen=True, omit_defaults=True):
    """All ways. ``unread`` names nodes without a Pod that could be measured from."""

    taken: str  # RFC 3339
    ways: tuple[Way, ...] = ()
    unread: tuple[str, ...] = ()


def problems(mesh: Mesh) -> Iterator[tuple[Level, str]]:
    """Yield in words what is wrong, the worst first."""
    found = (
        (way.level, f"{way.source} to {way.destination} ({way.address}): {_told(way)}")
        for way in mesh.ways
    )
    wrong = (each for each in found if each[0] is not Level.OK)
    yield from sorted(wrong, key=lambda each: -each[0].weight)


def _told(way: Way) -> str:
    if way.fault:
        return f"not measured: {way.fault}"
    if not way.received:
        return f"{way.sent} packets, no answer"
    if way.loss:
        return f"{way.sent - way.received} of {way.sent} packets are lost"
    return f"packets above {way.largest} bytes do not pass, though its link takes {way.mtu}"
