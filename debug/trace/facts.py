"""What is said of a packet's way in a word, so that ways can be put side by side: values."""

from enum import StrEnum
from typing import NamedTuple

_TRANSLATING = "destination becomes "


class Kind(StrEnum):
    """Of a fact: two of one kind may stand in a row, though they differ."""

    PLACE = "place"
    RULE = "rule"
    SERVICE = "service"  # where a Service's packet goes
    POLICY = "policy"
    END = "end"
    NOTHING = "nothing"


class Fact(NamedTuple):
    """One step of a way."""

    kind: Kind
    text: str


NOTHING = Fact(Kind.NOTHING, "")
ADMITS = Fact(Kind.POLICY, "policies admit it")
REFUSES = Fact(Kind.POLICY, "policies refuse it")


def goes_to(address: str, port: int | None) -> Fact:
    """Return that a packet's destination was translated."""
    shown = "" if port is None else f" port {port}"
    return Fact(Kind.SERVICE, f"{_TRANSLATING}{address}{shown}")


def said_by(note: str) -> Fact | None:
    """Return what a rule's note says of the destination; None if it says nothing of that."""
    return Fact(Kind.SERVICE, note) if note.startswith(_TRANSLATING) else None
