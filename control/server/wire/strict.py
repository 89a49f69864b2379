"""Field validation: find unknown fields and repeated fields. Pure.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from control.api.kinds import Kind
from control.api.types.table import Field, fields_of, message_name, messages
from control.api.types.unions import UNIONS
from control.server.wire.body import Body
from control.server.wire.errors import bad_request
from control.server.wire.item import Wire

# The maximum number of complaints of each sort, as in upstream.
_MOST = 100
# The maximum length of a name in a complaint.
_SHOWN = 200
_TYPE_META = ("apiVersion", "kind")
_ANY = Field("", "")
# The end of a member's name in JSON text, as orjson writes it, and with escapes in it.
_MEMBER = re.compile(rb'"\s*:')
_END = b'":'
_ESCAPED_END = re.compile(rb"\\u00(?:22|3[aA])")


def verdict(kind: Kind, mode: str, complaints: list[str]) -> tuple[str, ...]:
    """Return the complaints as warnings; in mode Strict they raise StatusError (400)."""
    if complaints and mode == "Strict":
        raise bad_request(
            f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}:'
            f" strict decoding error: {_joined(complaints)}"
        )
    return tuple(complaints)


def _joined(complaints: list[str]) -> str:
    """Return all complaints in one text; those about lines of YAML are one error of its reader."""
    lines = [each for each in complaints if each.startswith("line ")]
    errors = ["yaml: unmarshal errors:" + "".join(f"\n  {line}" for line in lines)] if lines else []
    return ", ".join(errors + complaints[len(lines) :])


def complaints(kind: Kind, mode: str, body: Body, unknown: list[str]) -> list[str]:
    """Return a complaint for each unknown and each repeated field of a body, in its order.

    ``unknown`` is empty if the body's object has no unknown field; of a custom kind it has their
    paths. Upstream converts YAML to JSON,
    whose names are sorted, before it looks for unknown fields.
    """
    if mode == "Ignore" or not (unknown or body.repeated or _may_repeat_members(body)):
        return []
    if kind.custom is not None:
        repeats = find_complaints(_with_repeats(body.text), "") if body.text else []
        return [*body.repeated, *repeats, *unknown_fields(unknown)]
    if body.text:
        value = _with_repeats(body.text)
    else:
        value = orjson.loads(orjson.dumps(body.value, option=orjson.OPT_SORT_KEYS))
    found = find_complaints(value, message_name(kind.group, kind.name, kind.version))
    return [*body.repeated, *found]


def unknown_fields(paths: Sequence[str]) -> list[str]:
    """Return a complaint for each unknown field of a custom object."""
    return [f'unknown field "{path}"' for path in paths]


def unknown_complaints(kind: Kind, mode: str, wire: Wire) -> list[str]:
    """Return a complaint for each field of an object that its type does not have."""
    if mode == "Ignore":
        return []
    return find_complaints(wire, message_name(kind.group, kind.name, kind.version))


def duplicate_complaints(mode: str, body: Body) -> list[str]:
    """Return a complaint for each field that a patch gives more than once."""
    if mode == "Ignore" or not _may_repeat_members(body):
        return []
    return find_complaints(_with_repeats(body.text), "")


def _may_repeat_members(body: Body) -> bool:
    """Return False if the decoded value has as many members as the text: then none is repeated.

    Both are counted by the ends of names, which is fast. Text inside of a JSON string can look like
    one: in both, unless it is escaped in another way than the encoder's.
    """
    text = body.text
    if not text or _ESCAPED_END.search(text):
        return bool(text)
    return len(_MEMBER.findall(text)) > orjson.dumps(body.value).count(_END)


class Pairs(dict[str, Any]):
    """A JSON object; ``members`` has all its members, in order, if a name is repeated."""

    members: tuple[tuple[str, Any], ...] = ()


def pairs(found: list[tuple[str, Any]]) -> Pairs:
    """Make a JSON object of its members, which may be repeated."""
    made = Pairs(found)
    if len(made) < len(found):
        made.members = tuple(found)
    return made


def _with_repeats(text: bytes) -> Any:
    return json.loads(text, object_pairs_hook=pairs, parse_int=str)


class _Path(NamedTuple):
    """The way to a value; it becomes text only for a complaint, so that a long name costs once."""

    above: "_Path | None"
    part: str  # a name, or an index in brackets

    def __str__(self) -> str:
        parts: list[str] = []
        at: _Path | None = self
        while at is not None:
            shown = at.part[:_SHOWN]
            parts.append(shown if shown[:1] == "[" else f".{shown}")
            at = at.above
        return "".join(reversed(parts)).removeprefix(".")


def find_complaints(value: Any, message: str) -> list[str]:
    """Return the first different complaints about a decoded object, in the order of its text.

    ``message`` is its type in the table of messages; an object of an empty one has any field.
    """
    found: dict[str, None] = {}
    for complaint in _complaints(value, message, None):
        found[complaint] = None
        if len(found) == _MOST:
            break
    return list(found)


def _complaints(value: Any, message: str, path: _Path | None) -> Iterator[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _complaints(item, message, _Path(path, f"[{index}]"))
    elif isinstance(value, dict):
        yield from _in_object(value, fields_of(message) if message else None, path)


def _in_object(value: Wire, known: Mapping[str, Field] | None, path: _Path | None) -> Iterator[str]:
    seen: set[str] = set()
    for name, child in getattr(value, "members", ()) or value.items():
        own = _Path(path, name)
        field = known.get(name) if known is not None else _ANY
        if field is None and not (path is None and name in _TYPE_META):
            yield f'unknown field "{own}"'
            continue
        if name in seen:
            yield f'duplicate field "{own}"'
        seen.add(name)
        if field is not None and field.type != "R":
            yield from _within(child, field, own)


def _within(value: Any, field: Field, path: _Path) -> Iterator[str]:
    """Yield the complaints about the value of a field."""
    message = field.type if field.type in messages() and field.type not in UNIONS else ""
    if field.many != "{":
        yield from _complaints(value, message, path)
        return
    yield from _complaints(value, "", path)
    for key, item in value.items() if message and isinstance(value, dict) else ():
        yield from _complaints(item, message, _Path(path, key))
