"""Field validation: find unknown fields and repeated fields. Pure.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import BaseModel

from control.api.base import Model
from control.api.kinds import Kind
from control.api.merging import outline, shapes
from control.server.wire.body import Body
from control.server.wire.errors import bad_request

_MODES = ("Ignore", "Warn", "Strict")
# The maximum number of complaints of each sort, as in upstream.
_MOST = 100
# The end of a member's name in JSON text.
_MEMBER = re.compile(rb'"\s*:')


def mode_of(value: str) -> str:
    """Parse the query parameter: Ignore, Warn or Strict; raises StatusError (400)."""
    mode = value or "Warn"
    if mode not in _MODES:
        raise bad_request(
            f'Invalid value: "{value}": fieldValidation: Unsupported value: "{value}":'
            ' supported values: "Ignore", "Strict", "Warn"'
        )
    return mode


def verdict(kind: Kind, mode: str, complaints: list[str]) -> tuple[str, ...]:
    """Return the complaints as warnings; in mode Strict they raise StatusError (400)."""
    if complaints and mode == "Strict":
        raise bad_request(
            f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}:'
            f" strict decoding error: {', '.join(complaints)}"
        )
    return tuple(complaints)


def unknown_complaints(mode: str, value: Any) -> list[str]:
    """Return a complaint for each field of a model that its type does not have."""
    if mode == "Ignore":
        return []
    return [f'unknown field "{path}"' for path in islice(unknown_fields(value), _MOST)]


def duplicate_complaints(mode: str, body: Body) -> list[str]:
    """Return a complaint for each field that the body gives more than once."""
    if mode == "Ignore":
        return []
    if not _may_repeat_members(body):
        return []
    return [f'duplicate field "{path}"' for path in islice(duplicate_fields(body.text), _MOST)]


def _may_repeat_members(body: Body) -> bool:
    """Return False if the decoded value has as many members as the text: then none is repeated.

    Text inside of a JSON string can only make the count higher.
    """
    return len(_MEMBER.findall(body.text)) > _members(body.value)


def _members(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_members, value.values()))
    return sum(map(_members, value)) if isinstance(value, list) else 0


def unknown_fields(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of the fields of a model that its type does not have."""
    if isinstance(value, BaseModel):
        yield from (f"{path}.{name}".removeprefix(".") for name in value.model_extra or ())
        fields = type(value).model_fields
        for name in value.model_fields_set & fields.keys():
            child, inner = getattr(value, name), outline(fields[name])
            below = f"{path}.{fields[name].alias or name}".removeprefix(".")
            if inner is not None:
                yield from _unknown_in_json(child, inner, below)
            elif isinstance(child, BaseModel | list):
                yield from unknown_fields(child, below)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from unknown_fields(item, f"{path}[{index}]")


def _unknown_in_json(value: Any, model: type[Model], path: str) -> Iterator[str]:
    """Yield the unknown fields of raw JSON that ``model`` describes."""
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown_in_json(item, model, f"{path}[{index}]")
    elif isinstance(value, dict):
        known = shapes(model)
        for name, child in value.items():
            if name not in known:
                yield f"{path}.{name}"
            elif inner := known[name].model:
                yield from _unknown_in_json(child, inner, f"{path}.{name}")


class Pairs(dict[str, Any]):
    """A JSON object with the list of its repeated names."""

    twice: tuple[str, ...] = ()


def pairs(found: list[tuple[str, Any]]) -> Pairs:
    """Make a JSON object of its members, which may be repeated."""
    made = Pairs(found)
    if len(made) < len(found):
        times = Counter(name for name, _ in found)
        made.twice = tuple(name for name in made if times[name] > 1)
    return made


def duplicate_fields(text: bytes) -> Iterator[str]:
    """Yield the paths of the fields that valid JSON text gives more than once."""
    return _duplicates(json.loads(text, object_pairs_hook=pairs, parse_int=str), "")


def _duplicates(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Pairs):
        yield from (f"{path}.{name}".removeprefix(".") for name in value.twice)
        for name, child in value.items():
            yield from _duplicates(child, f"{path}.{name}".removeprefix("."))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _duplicates(child, f"{path}[{index}]")
