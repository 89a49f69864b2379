"""Reads a lab file. Whatever is wrong with it is told with its line, and with the remedy. Pure.

Every plain value is taken as text, and the field decides what it means: so ``off`` and ``no`` stay
words, and a label's value may be ``1``.
"""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import ValidationError

from control.reported import ReportedError
from lab.file.model import LabFile, schema

MOST_BYTES = 1 << 20
_DEEPEST = 16
_MOST_FAULTS = 20
_NULL = "tag:yaml.org,2002:null"

Place = tuple[str | int, ...]  # the names and numbers that lead to a value


class LabFileError(ReportedError):
    """A lab file is invalid; the text names file, line, field and remedy."""


@dataclass(frozen=True, slots=True)
class Text:
    """A lab file as it was written: its fields, and where each stands."""

    title: str
    file: LabFile
    lines: Mapping[Place, int]

    def fault(self, place: Place, what: str) -> LabFileError:
        """Return the error for a value at a place."""
        return LabFileError(f"{self.title}:{_line(self.lines, place)}: {_name(place)}: {what}")


def read(raw: bytes, title: str) -> Text:
    """Parse a lab file; ``title`` is what errors call it. Raises LabFileError."""
    if len(raw) > MOST_BYTES:
        raise LabFileError(f"{title}: it has over {MOST_BYTES >> 20} MiB: no lab needs so many")
    lines: dict[Place, int] = {}
    try:
        _refuse_depth(raw)
        node = yaml.compose(raw, Loader=yaml.CSafeLoader)
        value = _value(node, (), lines) if node is not None else {}
    except (yaml.YAMLError, UnicodeError) as err:
        raise LabFileError(f"{title}:{_yaml_fault(err)}") from err
    try:
        return Text(title, LabFile.model_validate(value), lines)
    except ValidationError as err:
        faults = [_fault(title, lines, each) for each in _innermost(err)[:_MOST_FAULTS]]
        raise LabFileError("\n".join(faults)) from err


def _innermost(err: ValidationError) -> list[dict[str, Any]]:
    """Return the errors but those of a list that only lacks what is wrong in it."""
    errors: list[dict[str, Any]] = [dict(each) for each in err.errors()]
    places = {error["loc"][:depth] for error in errors for depth in range(len(error["loc"]))}
    return [error for error in errors if error["loc"] not in places]


def _refuse_depth(raw: bytes) -> None:
    """Refuse what would make a small text large or deep; raises YAMLError."""
    depth = 0
    for event in yaml.parse(raw, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise _marked(f"it is nested over {_DEEPEST} levels deep", event)
        if isinstance(event, yaml.AliasEvent):
            raise _marked("a lab file has no aliases (*NAME): write the value out", event)


def _marked(what: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=what, problem_mark=at.start_mark)


def _yaml_fault(err: Exception) -> str:
    mark = getattr(err, "problem_mark", None)
    line = mark.line + 1 if mark is not None else 1
    what = getattr(err, "problem", None) or " ".join(str(err).split())
    return f"{line}: {what}"


def _value(node: yaml.Node, place: Place, lines: dict[Place, int]) -> Any:
    lines[place] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return dict(_members(node, place, lines))
    if isinstance(node, yaml.SequenceNode):
        return [_value(each, (*place, index), lines) for index, each in enumerate(node.value)]
    return None if node.tag == _NULL else node.value


def _members(
    node: yaml.MappingNode, place: Place, lines: dict[Place, int]
) -> Iterator[tuple[str, Any]]:
    seen = set()
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _marked("a field's name is one word", key)
        if key.value in seen:
            raise _marked(f"{key.value} is there twice: keep one", key)
        seen.add(key.value)
        inside = (*place, key.value)
        made = _value(value, inside, lines)
        lines[inside] = key.start_mark.line + 1
        yield key.value, made


def _fault(title: str, lines: Mapping[Place, int], error: dict[str, Any]) -> str:
    place: Place = error["loc"]
    head = f"{title}:{_line(lines, place)}: {_name(place)}"
    if error["type"] == "extra_forbidden":
        return f"{head}: there is no such field; {_remedy(place)}"
    if error["type"] == "missing":
        known = " It is 1 today." if place == ("version",) else ""
        return f"{head}: this field is missing: write {place[-1]}: …{known}"
    given = error["input"]
    shown = f" {given!r:.60}" if isinstance(given, str | int) else ""
    return f"{head}{shown}: {error['msg']}"


def _remedy(place: Place) -> str:
    names = _fields(place[:-1])
    if close := difflib.get_close_matches(str(place[-1]), names, 1):
        return f"write {close[0]}, or remove it"
    return f"remove it; known are {', '.join(names)}"


def _fields(place: Place) -> list[str]:
    """Return the names of the fields that a place of the file may have."""
    whole: Any = schema()
    part = whole
    for step in place:
        part = part["items"] if isinstance(step, int) else part["properties"][step]
        if "$ref" in part:
            part = whole["$defs"][part["$ref"].rpartition("/")[2]]
    return list(part["properties"])


def _line(lines: Mapping[Place, int], place: Place) -> int:
    """Return the line of a value, or of what it should be in."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place, 1)


def _name(place: Place) -> str:
    """Return a place as a user writes it: nodes[0].zone."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step:.60}" for step in place)
    return text.removeprefix(".") or "the file"
