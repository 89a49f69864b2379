"""The shared cells of tables: names, ages and labels. Pure.

Source: k8s.io/kubernetes/pkg/printers and k8s.io/apimachinery/pkg/util/duration
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from control.api.times import parse_time

Wire = Mapping[str, Any]
Cell = str | float | None
NONE = "<none>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True, slots=True)
class Column:
    """One column; priority 0 is always shown, 1 with ``-o wide``."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""

    def wire(self) -> dict[str, Any]:
        """Return the TableColumnDefinition."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description or self.name,
            "priority": self.priority,
        }


NAME = Column("Name", format="name", description="Name of the object, unique in its namespace.")
AGE = Column("Age", description="Time since the object was created.")


def wide(name: str) -> Column:
    """Make a column that only ``-o wide`` shows."""
    return Column(name, priority=1)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a kind, and the function that returns an object's cells."""

    columns: tuple[Column, ...]
    cells: Callable[[Wire, datetime], Sequence[Cell]]


def name_of(wire: Wire) -> str:
    """Return the object's name."""
    return str(wire["metadata"].get("name", ""))


def age_of(wire: Wire, now: datetime) -> str:
    """Return the object's age."""
    return since(wire["metadata"].get("creationTimestamp"), now)


def since(timestamp: str | None, now: datetime) -> str:
    """Return the time since a timestamp; ``<unknown>`` for text that is not a time."""
    moment = parse_time(timestamp)
    return UNKNOWN if moment is None else human((now - moment).total_seconds())


def human(seconds: float) -> str:
    """Return a duration in at most two units, as kubectl prints ages."""
    whole = int(seconds)
    if whole < 0:
        return "0s" if whole >= -1 else "<invalid>"
    if whole < 120:
        return f"{whole}s"
    for limit, unit, part, sign, small in _STEPS:
        if whole < limit:
            rest = whole % unit // part if part else 0
            return f"{whole // unit}{sign}{f'{rest}{small}' if rest else ''}"
    return f"{whole // _YEAR}y"


_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_YEAR = 365 * _DAY
# (limit, unit, smaller unit or 0, the letters of both)
_STEPS = (
    (10 * _MINUTE, _MINUTE, 1, "m", "s"),
    (3 * _HOUR, _MINUTE, 0, "m", ""),
    (8 * _HOUR, _HOUR, _MINUTE, "h", "m"),
    (48 * _HOUR, _HOUR, 0, "h", ""),
    (8 * _DAY, _DAY, _HOUR, "d", "h"),
    (2 * _YEAR, _DAY, 0, "d", ""),
    (8 * _YEAR, _YEAR, _DAY, "y", "d"),
)


def labels_text(labels: Mapping[str, str] | None) -> str:
    """Return labels sorted: ``a=b,c=d``."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def containers_cells(template: Wire) -> tuple[str, str]:
    """Return (names, images) of the containers in a Pod template."""
    containers = template.get("spec", {}).get("containers", [])
    names = ",".join(container.get("name", "") for container in containers)
    return names, ",".join(container.get("image", "") for container in containers)
