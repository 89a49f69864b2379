"""Cells that show one field. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from control.api.columns.base import AGE, NAME, Cell, Column, Columns, Wire, age_of, name_of

UNSET = "<unset>"


def field_at(wire: Wire, path: str) -> Any:
    """Return the value at a path such as ``spec.pool.name``; None if there is none."""
    value: Any = wire
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text(wire: Wire, path: str, absent: str) -> str:
    """Return the text or number at a path."""
    value = field_at(wire, path)
    return absent if value is None or value == "" else str(value)


def flag(wire: Wire, path: str, *, absent: bool = False) -> bool:
    """Return the boolean at a path."""
    value = field_at(wire, path)
    return absent if value is None else bool(value)


def plain(*fields: tuple[str, str, str]) -> Columns:
    """Make columns of the name, of single fields (header, path, text if absent), and of the age."""

    def cells(wire: Wire, now: datetime) -> Sequence[Cell]:
        shown = (text(wire, path, absent) for _, path, absent in fields)
        return name_of(wire), *shown, age_of(wire, now)

    return Columns((NAME, *(Column(header) for header, _, _ in fields), AGE), cells)


def created(wire: Wire, now: datetime) -> Sequence[Cell]:
    """Return the name and the time of creation, which upstream prints of kinds without columns."""
    stamp = wire["metadata"].get("creationTimestamp", "")
    return name_of(wire), stamp or age_of(wire, now)


CREATED = Columns((NAME, Column("Created At", type="date")), created)
