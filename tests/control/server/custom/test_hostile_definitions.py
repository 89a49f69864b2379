"""Definitions and objects that would cost too much, or take the place of upstream's kinds."""

from collections.abc import Iterator
from typing import Any

import pytest

from control.api.custom.cost import LIMIT, MOST_CHECKS, Spending, TooCostlyError
from control.api.custom.patterns import PatternError, compiled
from control.api.custom.place import ROOT
from control.api.custom.schema import node_of
from control.api.custom.validate import Validator
from control.api.custom.values import completed, pruned
from control.server.state.kinds import KindTable
from tests.support.control.definitions import (
    CRONTABS,
    DEFINITIONS,
    NAME,
    conditions,
    crontab,
    definition,
    established,
    until,
    until_gone,
    version,
)
from tests.support.control.requests import Api

NETWORKING = "/apis/networking.k8s.io/v1/namespaces/default/ingresses"


@pytest.fixture(params=["here", "in a worker"])
def most(request) -> Iterator[int]:
    """The checks that a computation may cost, on the event loop and in a worker."""
    if request.param == "in a worker":
        yield MOST_CHECKS
        return
    before = LIMIT.set(2000)
    yield 2000
    LIMIT.reset(before)


def test_alternatives_times_values_are_bounded(most: int):
    last = {"minimum": 0}  # so that no value is an error: after some of these nothing is looked at
    schema = {"type": "array", "items": {"anyOf": [{"minimum": 10}] * 100 + [last]}}
    with pytest.raises(TooCostlyError):
        Validator(schema).errors([1] * (most // 100 + 1), ROOT, Spending())


def test_patterns_cost_by_their_size_and_the_text(most: int):
    schema = {"type": "array", "items": {"type": "string", "pattern": "((a{1,30}){1,30})b"}}
    with pytest.raises(TooCostlyError):
        Validator(schema).errors(["a" * 20_000] * (most // 20_000 + 6), ROOT, Spending())


def test_patterns_that_backtrack_and_that_are_too_large():
    assert compiled("(a+)+$").search("a" * 50_000 + "b") is None
    for pattern in ("(", "(((a{1,100}){1,100}){1,100})", "a" * 20_000):
        with pytest.raises(PatternError):
            compiled(pattern)


def test_defaults_cannot_fill_an_object_without_end(most: int):
    item = {"type": "object", "properties": {"a": {"type": "string", "default": "x" * 10_000}}}
    node = node_of({"type": "array", "items": item})
    with pytest.raises(TooCostlyError):
        completed(node, [{} for _ in range(most)], Spending())


def test_long_paths_are_not_written_for_each_value():
    """An object of a deep path with many unknown fields names a hundred of them, shortened."""
    name = "n" * 10_000
    value: Any = {f"u{at}": 1 for at in range(1000)}
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(30):
        value, schema = {name: value}, {"type": "object", "properties": {name: schema}}
    unknown: list[str] = []
    pruned(node_of(schema), value, ROOT, unknown)
    assert len(unknown) == 100
    assert max(map(len, unknown)) < 31 * 202


async def test_a_costly_small_object_is_computed_elsewhere_or_refused(api: Api):
    costly = {"type": "object", "properties": {"spec": {"anyOf": [{"not": {}}] * 3000}}}
    costly["properties"]["spec"]["type"] = "object"
    body = definition(version(schema={"openAPIV3Schema": costly}))
    await established(api, body)
    refused = await api("POST", CRONTABS, crontab())
    assert (refused.code, "(anyOf)" in refused["message"]) == (422, True)
    assert (await api("GET", "/healthz")).code == 200


async def test_a_definition_does_not_replace_or_delete_upstreams_kind(api: Api):
    spec = {"rules": [{"host": "a.example"}]}
    await api.make(NETWORKING, {"metadata": {"name": "a"}, "spec": spec})
    names = {"plural": "ingresses", "kind": "Ingress"}
    body = definition(group="networking.k8s.io", names=names)
    body["metadata"] = {
        "name": "ingresses.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, a test"},
    }
    path = f"{DEFINITIONS}/{body['metadata']['name']}"
    await api.make(DEFINITIONS, body)
    await until(api, path, lambda it: conditions(it).get("Established") == "True")
    found = await api("GET", f"{NETWORKING}/a")
    assert (found.code, found["spec"]) == (200, spec)
    await api("DELETE", path)
    await until_gone(api, path)
    assert (await api("GET", f"{NETWORKING}/a")).code == 200


async def test_a_custom_kind_may_have_the_name_of_upstreams(api: Api):
    names = {"plural": "pods", "kind": "Pod", "singular": "pod"}
    body = definition(names=names, group="example.com")
    body["metadata"]["name"] = "pods.example.com"
    await api.make(DEFINITIONS, body)
    path = f"{DEFINITIONS}/pods.example.com"
    await until(api, path, lambda it: conditions(it).get("Established") == "True")
    pods = "/apis/example.com/v1/namespaces/default/pods"
    made = await api.make(pods, crontab() | {"kind": "Pod"})
    assert made["spec"] == {"cronSpec": "* * * * */5", "image": "busybox"}
    assert (await api("GET", f"{pods}/a/log")).code == 404
    assert (await api("POST", f"{pods}/a/eviction", {})).code == 404
    assert (await api("GET", "/api/v1/namespaces/default/pods"))["items"] == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": "object", "properties": {"a": {}}}, "properties[a].type: Required value"),
    ({"type": "string"}, "must be object at the root"),
    (
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}},
        "must be a valid regular expression",
    ),
    (
        {"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}},
        'a].default: Invalid value: "string":  in body must be of type integer: "string"',
    ),
    (
        {"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]},
        "because it is defined in",
    ),
    ({"type": "object", "properties": {"a": {"type": "array"}}}, "items: Required value"),
]


@pytest.mark.parametrize(("schema", "text"), WRONG, ids=[text for _, text in WRONG])
async def test_schemas_that_are_not_structural_are_refused(api: Api, schema, text):
    body = definition(version(schema={"openAPIV3Schema": schema}))
    refused = await api("POST", DEFINITIONS, body)
    assert (refused.code, text in refused["message"]) == (422, True), refused["message"]


async def test_definitions_that_contradict_themselves_are_refused(api: Api):
    both = definition(version("v1"), version("v2"))
    refused = await api("POST", DEFINITIONS, both)
    assert "must have exactly one version marked as storage version" in refused["message"]
    named = definition()
    named["metadata"]["name"] = "other.example.com"
    refused = await api("POST", DEFINITIONS, named)
    assert 'must be spec.names.plural+"."+spec.group' in refused["message"]
    protected = definition(group="x.k8s.io")
    protected["metadata"]["name"] = "crontabs.x.k8s.io"
    refused = await api("POST", DEFINITIONS, protected)
    assert "protected groups must have approval annotation" in refused["message"]


async def test_a_status_without_names_serves_nothing_and_is_corrected(api: Api):
    made = await established(api)
    broken = made | {"status": made["status"] | {"acceptedNames": {}}}
    assert (await api("PUT", f"{DEFINITIONS}/{NAME}/status", broken)).code == 200
    names = await until(
        api, f"{DEFINITIONS}/{NAME}", lambda it: it["status"]["acceptedNames"]["kind"]
    )
    assert names["status"]["acceptedNames"]["plural"] == "crontabs"
    assert (await api("GET", CRONTABS)).code == 200


def test_a_malformed_definition_of_an_older_server_is_left_out():
    table = KindTable()
    spec = {
        "group": "example.com",
        "scope": "Cluster",
        "versions": [{"name": "v1", "served": True}],
    }
    names = {"plural": "things", "kind": "Thing"}
    conditions_ = [{"type": "Established", "status": "True"}]
    status = {"acceptedNames": names, "conditions": conditions_}
    table.put({"metadata": {"name": "things.example.com"}, "spec": spec, "status": status}, 1)
    assert table.custom == ()
