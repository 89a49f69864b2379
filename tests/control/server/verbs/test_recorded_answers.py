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


async def test_upstream_refuses_the_same_requests(api: Api):
    """Requests that are wrong, and what upstream answered.

    ``recorded/refusals.json`` has the objects that are there, and rows of (what is wrong, method,
    path, body, media type, answer). An answer has code, reason, message (null if podwire says the
    same in other words) and the causes' reasons and fields.
    """
    given = json.loads((Path(__file__).parent / "recorded/refusals.json").read_text())
    for path, wire in given["objects"]:
        await api.make(path, wire)
    assert len(given["answers"]) > 150
    wrong = []
    for what, method, path, body, media, expected in given["answers"]:
        raw = body.encode() if isinstance(body, str) else body
        reply = await api(method, path, raw, media)
        found = reply.body if isinstance(reply.body, dict) else {}
        causes = (found.get("details") or {}).get("causes", [])
        shown = sorted([each["reason"], each.get("field", "")] for each in causes)
        message = found.get("message", "") if expected[2] is not None else None
        answer = [reply.code, found.get("reason", ""), message, shown]
        if answer != [*expected[:3], [list(it) for it in {tuple(it): 0 for it in expected[3]}]]:
            wrong.append((what, answer, expected))
    assert not wrong


async def test_a_dry_run_of_another_value_writes_nothing(api: Api):
    path = "/api/v1/namespaces/default/configmaps"
    for values in ("dryRun=", "dryRun=All&dryRun=x", "dryRun=x&dryRun=All"):
        reply = await api("POST", f"{path}?{values}", {"metadata": {"name": "a"}})
        assert (reply.code, reply["reason"]) == (422, "Invalid"), values
    assert (await api("GET", f"{path}/a")).code == 404


async def test_writes_need_the_namespace_in_their_path(api: Api):
    for method in ("POST", "DELETE"):
        reply = await api(method, "/api/v1/configmaps", {"metadata": {"name": "a"}})
        assert (reply.code, reply["reason"]) == (405, "MethodNotAllowed")


async def test_an_update_is_warned_of_where_a_kind_has_no_spec(api: Api):
    path = "/apis/node.k8s.io/v1/runtimeclasses"
    plain = {"metadata": {"name": "r"}, "handler": "h"}
    made = await api("POST", path, plain)
    assert made.warnings == ()
    plain |= {"metadata": made["metadata"]}
    old = plain | {"scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "linux"}}}
    changed_to = await api("PUT", f"{path}/r", old)
    assert [unquoted(text) for text in changed_to.warnings] == [
        'scheduling.nodeSelector: deprecated since v1.14; use "kubernetes.io/os" instead'
    ]
    labelled = old | {"metadata": changed_to["metadata"] | {"labels": {"a": "b"}}}
    assert (await api("PUT", f"{path}/r", labelled)).warnings == ()


# What differs from run to run.
_OWN = {"uid", "creationTimestamp", "resourceVersion", "time", "lastPhaseTransitionTime"}
_ALLOCATED = {"clusterIP", "clusterIPs", "nodePort"}


def stripped(value: Any) -> Any:
    if isinstance(value, dict):
        kept = value.keys() - _OWN - _ALLOCATED
        return {name: stripped(value[name]) for name in kept}
    return [stripped(each) for each in value] if isinstance(value, list) else value


async def test_upstream_stores_the_same(api: Api):
    """``recorded/stored.json`` has rows of (path, object, what upstream makes of it)."""
    rows = json.loads((Path(__file__).parent / "recorded/stored.json").read_text())
    assert len(rows) > 30
    for path, wire, expected in rows:
        made = await api.make(f"{path}?dryRun=All&fieldManager=recorder", wire)
        assert stripped(made) == expected, path


async def test_upstream_refuses_the_same_bodies(api: Api):
    """Bodies that are no JSON, no object or of another kind, and what upstream answered.

    ``recorded/bodies.json`` has rows of (method, path, body, media type, code, message). Words that
    differ between releases of Go are those of Go 1.26, which upstream's release is built by.
    """
    rows = json.loads((Path(__file__).parent / "recorded/bodies.json").read_text())
    await api.make("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})
    assert len(rows) > 90
    for method, path, text, media, code, message in rows:
        answer = await api(method, path, text.encode(), media)
        assert (answer.code, answer["message"]) == (code, message), (method, path, text, media)
