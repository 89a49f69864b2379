"""Read the table of the API's messages, ``messages.txt``."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

INLINE = "-"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: its JSON name (``-`` for a message that is inlined), and its type."""

    name: str
    type: str  # see messages.txt
    many: str = ""  # "[" a list, "{" a map from text
    pointer: bool = False  # zero is a value, not an absent field
    always: bool = False  # JSON has the field even if it is zero


@cache
def messages() -> dict[str, dict[int, Field]]:
    """Return every message by name, its fields by number."""
    text = files(__package__).joinpath("messages.txt").read_text()
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {name: dict(_field(item) for item in items) for name, *items in rows}


def message_name(group: str, kind: str, version: str = "v1") -> str:
    """Return the name of a kind's message: ``apps.Deployment``, ``core.Pod``.

    That of another version than v1 has it: ``autoscalingv2.HorizontalPodAutoscaler``.
    """
    return f"{group.partition('.')[0] or 'core'}{'' if version == 'v1' else version}.{kind}"


@cache
def fields_of(message: str) -> dict[str, Field]:
    """Return the fields of a message by JSON name, with those of inlined messages."""
    found: dict[str, Field] = {}
    for field in messages()[message].values():
        if field.name == INLINE and not field.many:
            found |= fields_of(field.type)
        else:
            found[field.name] = field
    return found


def type_of(message: str, path: str) -> str:
    """Return the type of the field at a path such as ``spec.unschedulable``."""
    for name in path.split("."):
        message = fields_of(message)[name].type
    return message


def _field(text: str) -> tuple[int, Field]:
    number, name, kind = text.split(":")
    many = kind[0] if kind[0] in "[{" else ""
    mark = kind[-1]
    return int(number), Field(name, kind.strip("[{?!"), many, mark == "?", mark == "!")
