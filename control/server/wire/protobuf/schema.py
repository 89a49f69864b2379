"""Read the table of the API's protobuf messages, ``messages.txt``."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its JSON name (``-`` for a message that is inlined), and its type."""

    name: str
    type: str  # see messages.txt
    many: str = ""  # "[" a list, "{" a map from text
    keeps_zero: bool = False  # zero is a value, not an absent field


@cache
def messages() -> dict[str, dict[int, Field]]:
    """Return every message by name, its fields by number."""
    text = files(__package__).joinpath("messages.txt").read_text()
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {name: dict(_field(item) for item in items) for name, *items in rows}


def _field(text: str) -> tuple[int, Field]:
    number, name, kind = text.split(":")
    many = kind[0] if kind[0] in "[{" else ""
    return int(number), Field(name, kind.strip("[{?"), many, kind.endswith("?"))
