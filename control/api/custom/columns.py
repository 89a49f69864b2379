"""The columns of custom resources, by ``additionalPrinterColumns``. Pure.

Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from control.api.columns.base import NAME, Cell, Column, Columns, Wire, name_of, since
from control.api.custom.paths import Path, PathError
from control.api.times import parse_time

_AGE = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
_AGE_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created."
)


def columns_of(given: Sequence[Mapping[str, Any]]) -> Columns:
    """Return the name and the columns of a definition; without any, the age."""
    known = [(each, path) for each in given or [_age()] if (path := _path(each["jsonPath"]))]

    def cells(wire: Wire, now: datetime) -> Sequence[Cell]:
        return name_of(wire), *(_cell(each["type"], path, wire, now) for each, path in known)

    return Columns((NAME, *(_column(each) for each, _ in known)), cells)


def _age() -> Mapping[str, Any]:
    return _AGE | {"description": _AGE_TEXT}


def _path(text: str) -> Path | None:
    try:
        return Path(text)
    except PathError:
        return None  # upstream leaves out such a column, too


def _column(given: Mapping[str, Any]) -> Column:
    told = f"Custom resource definition column (in JSONPath format): {given['jsonPath']}"
    return Column(
        given["name"],
        given["type"],
        given.get("format", ""),
        given.get("priority", 0),
        given.get("description") or told,
    )


def _cell(kind: str, path: Path, wire: Wire, now: datetime) -> Cell:
    value = path.first(wire)
    if value is None:
        return None
    return _FORMS[kind](value, now) if kind in _FORMS else None


def _text(value: Any, _: datetime) -> Cell:
    """Return a value as kubectl prints it: text as it is, others as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _whole(value: Any, _: datetime) -> Cell:
    return int(value) if type(value) in (int, float) else None


def _number(value: Any, _: datetime) -> Cell:
    return value if type(value) in (int, float) else None


def _flag(value: Any, _: datetime) -> Cell:
    return value if isinstance(value, bool) else None


def _date(value: Any, now: datetime) -> Cell:
    if not isinstance(value, str):
        return None
    return since(value, now) if parse_time(value) else "<invalid>"


_FORMS = {"string": _text, "integer": _whole, "number": _number, "boolean": _flag, "date": _date}
