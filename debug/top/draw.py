"""The table of ``podwire top``, for terminals. Pure."""

from rich.table import Table
from rich.text import Text

from debug.flows.show import size
from debug.top.count import Row
from debug.top.gather import Top

_RIGHT = ("OPEN", "NEW/S", "PACKETS/S", "BYTES/S")


def draw(top: Top, most: int) -> Table:
    """Return the table with at most so many rows."""
    made = Table(
        box=None, pad_edge=False, caption=Text("\n".join(top.unread)) if top.unread else None
    )
    made.add_column("SERVICE", overflow="fold")
    made.add_column("ENDPOINT", overflow="fold")
    for name in _RIGHT:
        made.add_column(name, justify="right", no_wrap=True)
    for row in top.rows[:most]:
        made.add_row(*_cells(row), style="" if row.endpoint else "bold")
    return made


def _cells(row: Row) -> tuple[Text, ...]:
    name = row.service if not row.endpoint else ""
    owner = f" {row.owner}" if row.owner else ""
    counted = (row.packets, row.bytes)
    rates = ("-" if one is None else size(one) for one in counted)
    counts = (str(row.open), f"{row.new:.1f}", *rates)
    return tuple(map(Text, (name, f"{row.endpoint}{owner}", *counts)))
