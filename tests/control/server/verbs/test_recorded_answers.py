"""Creates of objects that are wrong in one place, and the answers of kube-apiserver 1.36.2.

``recorded/creates.json`` has, by kind, a valid object and rows of (path, value, message): what is
put in that place ({"$delete": true} takes it away), and what upstream said, null for a success.
Recorded from a kube-apiserver 1.36.2 with its default admission, by dry runs.
"""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from control.api.kinds import KINDS
from tests.support.control.requests import Api

_DELETE = {"$delete": True}


@cache
def recorded() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(
        (Path(__file__).parent / "recorded/creates.json").read_text()
    )
    return loaded


def changed(wire: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    made: Any = copy.deepcopy(wire)
    *outer, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    inner = made
    for part in outer:
        inner = inner[part]
    if value == _DELETE:
        del inner[last]
    else:
        inner[last] = value
    return made  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", sorted(recorded()))
async def test_upstream_answers_the_same(api: Api, name: str):
    kind = next(kind for kind in KINDS if kind.name == name)
    given = recorded()[name]
    path = kind.path("default" if kind.namespaced else None) + "?dryRun=All&fieldValidation=Strict"
    assert len(given["answers"]) > 3
    for place, value, message in given["answers"]:
        answer = await api("POST", path, changed(given["object"], place, value))
        said = answer["message"] if answer.code >= 400 else None
        assert said == message, (place, value)


async def test_upstream_warns_of_the_same(api: Api):
    """``recorded/warnings.json`` has rows of (path, object, what upstream warned of)."""
    rows = json.loads((Path(__file__).parent / "recorded/warnings.json").read_text())
    assert len(rows) > 20
    for path, wire, expected in rows:
        answer = await api("POST", f"{path}?dryRun=All", wire)
        assert answer.code == 201, (path, wire)
        assert [unquoted(text) for text in answer.warnings] == expected


def unquoted(warning: str) -> str:
    return warning.removeprefix('299 - "').removesuffix('"').replace('\\"', '"')
