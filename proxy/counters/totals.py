"""Adds up the kernel's counters to totals that only grow: pure."""

from collections.abc import Mapping
from typing import NamedTuple

from proxy.desired.portals import Frontend, Portal


class PortLabel(NamedTuple):
    """A port of a Service, for both families and all of its addresses."""

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
        """Return the sum of both."""
        return TrafficCount(*(one + more for one, more in zip(self, other, strict=True)))


NOTHING = TrafficCount()

Source = Frontend | int  # the owner of a counter; a number is a portal of the ebpf programs


def label_of(portal: Portal) -> PortLabel:
    """Return the label of a portal's counters."""
    return PortLabel(*portal.service, portal.number, portal.protocol.value)


class TrafficTotals:
    """Adds up the growth between readings of the kernel's counters."""

    def __init__(self) -> None:
        self._last: dict[Source, TrafficCount] = {}
        self._sums: dict[PortLabel, TrafficCount] = {}

    def take(
        self, found: Mapping[Source, TrafficCount], owners: Mapping[Source, PortLabel]
    ) -> Mapping[PortLabel, TrafficCount]:
        """Take a reading; return all totals. Labels that own no counter any more are forgotten."""
        kept = set(owners.values())
        self._sums = {label: sum_ for label, sum_ in self._sums.items() if label in kept}
        for source, now in found.items():
            if source in owners:
                self._add(owners[source], grown(self._last.get(source, NOTHING), now))
                self._last[source] = now
        return dict(self._sums)

    def forget(self, source: Source) -> None:
        """Note that a counter is new, or gone."""
        self._last.pop(source, None)

    def restart(self) -> None:
        """Note that all frontends' counters are new."""
        self._last = {
            source: last for source, last in self._last.items() if isinstance(source, int)
        }

    def _add(self, label: PortLabel, more: TrafficCount) -> None:
        if more != NOTHING:
            self._sums[label] = self._sums.get(label, NOTHING).plus(more)


def grown(before: TrafficCount, now: TrafficCount) -> TrafficCount:
    """Return the growth between two readings. A counter that is smaller began again."""
    pairs = zip(before, now, strict=True)
    return TrafficCount(*(one - was if one >= was else one for was, one in pairs))
