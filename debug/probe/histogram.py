"""How often something took how long, in powers of two of a microsecond. Pure."""

from collections import Counter

from msgspec import Struct

_LONGEST_BAR = 40


class Slot(Struct, frozen=True):
    """How many took less than ``below_ms``, and at least half of it."""

    below_ms: float
    count: int


class Latency(Struct, frozen=True):
    """In milliseconds. The median and the 99th percentile are the upper ends of their slots."""

    count: int
    least_ms: float
    median_ms: float
    p99_ms: float
    most_ms: float
    slots: list[Slot]


class Histogram:
    """Takes values in nanoseconds, and keeps their slots."""

    def __init__(self) -> None:
        self._slots: Counter[int] = Counter()
        self._least = self._most = 0

    def __bool__(self) -> bool:
        """Return whether it has a value."""
        return bool(self._slots)

    def add(self, value: int) -> None:
        """Count a value."""
        self._least = min(self._least, value) if self._slots else value
        self._most = max(self._most, value)
        self._slots[(value // 1000).bit_length()] += 1

    def merge(self, other: "Histogram") -> None:
        """Count the values of another one."""
        if not other:
            return
        self._least = min(self._least, other._least) if self._slots else other._least
        self._most = max(self._most, other._most)
        self._slots += other._slots

    def latency(self) -> Latency:
        """Return what it has; it must have a value."""
        slots = [Slot(_below(one), self._slots[one]) for one in sorted(self._slots)]
        return Latency(
            sum(self._slots.values()),
            self._least / 1e6,
            self._quantile(50),
            self._quantile(99),
            self._most / 1e6,
            slots,
        )

    def _quantile(self, percent: int) -> float:
        wanted = -(-sum(self._slots.values()) * percent // 100)
        passed = 0
        for slot in sorted(self._slots):
            passed += self._slots[slot]
            if passed >= wanted:
                return min(_below(slot), self._most / 1e6)
        return 0.0


def _below(slot: int) -> float:
    return (1 << slot) / 1000


def bars(latency: Latency) -> list[str]:
    """Return a line for each slot, as bcc's histograms have."""
    most = max(slot.count for slot in latency.slots)
    return [
        f"{slot.below_ms / 2:>12.3f} to {slot.below_ms:<12.3f} {slot.count:>7}  "
        + "█" * -(-slot.count * _LONGEST_BAR // most)
        for slot in latency.slots
    ]
