"""From what the kernel's counters say to totals that only ever grow: pure."""

from collections.abc import Mapping
from typing import NamedTuple

from proxy.desired.portals import Frontend, Portal


class PortLabel(NamedTuple):
    """A port of a Service, in both families, by all of its addresses."""

    namespace: str
    service: str
    port: int
    protocol: str


class TrafficCount(NamedTuple):
    """New connections, and packets with their bytes in both directions."""

    connections: int = 0
    packets: int = 0
    octets: int = 0

    def plus(self, other: "TrafficCount") -> "TrafficCount":
        """Both together."""
        return TrafficCount(*(one + more for one, more in zip(self, other, strict=True)))


NOTHING = TrafficCount()

Source = Frontend | int  # what a counter in the kernel is of; a number is one of the ebpf programs'


def label_of(portal: Portal) -> PortLabel:
    """Whose counters a portal's frontends are."""
    return PortLabel(*portal.service, portal.number, portal.protocol.value)


class TrafficTotals:
    """Adds up what each look at the kernel's counters finds new."""

    def __init__(self) -> None:
        self._last: dict[Source, TrafficCount] = {}
        self._sums: dict[PortLabel, TrafficCount] = {}

    def take(
        self, found: Mapping[Source, TrafficCount], owners: Mapping[Source, PortLabel]
    ) -> Mapping[PortLabel, TrafficCount]:
        """Everybody's totals after this look. Who owns no counter any more is forgotten."""
        kept = set(owners.values())
        self._sums = {label: sum_ for label, sum_ in self._sums.items() if label in kept}
        for source, now in found.items():
            if source in owners:
                self._add(owners[source], grown(self._last.get(source, NOTHING), now))
                self._last[source] = now
        return dict(self._sums)

    def forget(self, source: Source) -> None:
        """A counter is new, or gone."""
        self._last.pop(source, None)

    def restart(self) -> None:
        """All frontends' counters are new."""
        self._last = {one: last for one, last in self._last.items() if isinstance(one, int)}

    def _add(self, label: PortLabel, more: TrafficCount) -> None:
        if more != NOTHING:
            self._sums[label] = self._sums.get(label, NOTHING).plus(more)


def grown(before: TrafficCount, now: TrafficCount) -> TrafficCount:
    """What was counted between two looks; a counter that is smaller has begun anew."""
    pairs = zip(before, now, strict=True)
    return TrafficCount(*(one - was if one >= was else one for was, one in pairs))
