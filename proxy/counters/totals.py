"""From what the kernel's counters say to totals that only ever grow: pure."""

from collections.abc import Mapping
from typing import NamedTuple

from proxy.desired.portals import Frontend, Portal


class Label(NamedTuple):
    """A port of a Service, in both families, by all of its addresses."""

    namespace: str
    service: str
    port: int
    protocol: str


class Count(NamedTuple):
    """New connections, and packets with their bytes in both directions."""

    connections: int = 0
    packets: int = 0
    octets: int = 0

    def plus(self, other: "Count") -> "Count":
        """Both together."""
        return Count(*(one + more for one, more in zip(self, other, strict=True)))


NOTHING = Count()

Source = Frontend | int  # what a counter in the kernel is of; a number is one of the ebpf programs'


def label_of(portal: Portal) -> Label:
    """Whose counters a portal's frontends are."""
    return Label(*portal.service, portal.number, portal.protocol.value)


class Totals:
    """Adds up what each look at the kernel's counters finds new."""

    def __init__(self) -> None:
        self._last: dict[Source, Count] = {}
        self._sums: dict[Label, Count] = {}

    def take(
        self, found: Mapping[Source, Count], owners: Mapping[Source, Label]
    ) -> Mapping[Label, Count]:
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

    def _add(self, label: Label, more: Count) -> None:
        if more != NOTHING:
            self._sums[label] = self._sums.get(label, NOTHING).plus(more)


def grown(before: Count, now: Count) -> Count:
    """What was counted between two looks; a counter that is smaller has begun anew."""
    pairs = zip(before, now, strict=True)
    return Count(*(one - was if one >= was else one for was, one in pairs))
