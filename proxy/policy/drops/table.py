"""The drops of late, summed up: equal ones are one row, and the least recent row goes. Pure."""

from collections import OrderedDict
from collections.abc import Iterator

from msgspec import Struct

from proxy.policy.drops.naming import Drop

MOST_ROWS = 1000


class DropRow(Struct):
    """A drop with its count of packets; times are seconds since the epoch.

    ``changed`` is the number of the table's change that it had last.
    """

    drop: Drop
    packets: int
    first: float
    last: float
    changed: int


class DropTable:
    """The rows, the least recent first. ``changes`` counts what was ever added."""

    def __init__(self, most: int = MOST_ROWS) -> None:
        self.most = most
        self._rows: OrderedDict[Drop, DropRow] = OrderedDict()
        self.changes = 0

    def add(self, drop: Drop, now: float) -> DropRow:
        """Count one packet, and return its row."""
        self.changes += 1
        row = self._rows.pop(drop, None)
        if row is None:
            row = DropRow(drop, 0, now, now, 0)
        row.packets, row.last, row.changed = row.packets + 1, now, self.changes
        self._rows[drop] = row
        if len(self._rows) > self.most:
            self._rows.popitem(last=False)
        return row

    def since(self, change: int) -> Iterator[DropRow]:
        """Yield the rows that changed after a change, the most recent first."""
        for row in reversed(self._rows.values()):
            if row.changed <= change:
                return
            yield row
