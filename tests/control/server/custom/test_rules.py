"""``x-kubernetes-validations``: which definitions and which objects their rules refuse."""

from typing import Any

import pytest

from tests.support.control.definitions import DEFINITIONS, is_established, until
from tests.support.control.requests import JSON_PATCH, MERGE, Api

GROUP = "rules.example.com"
NAME = f"things.{GROUP}"
OBJECTS = f"/apis/{GROUP}/v1/things"
SPEC = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"},
        "most": {"type": "integer"},
        "name": {"type": "string"},
        "namespace": {"type": "string"},
        "x-y": {"type": "string"},
        "data": {"type": "string", "format": "byte"},
        "since": {"type": "string", "format": "date-time"},
        "after": {"type": "string", "format": "duration"},
        "part": {"type": "number"},
        "port": {"x-kubernetes-int-or-string": True},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "ports": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
            },
        },
    },
}


def definition(spec: dict[str, Any], **root: Any) -> dict[str, Any]:
    status = {"type": "object", "properties": {"seen": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}} | root
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"plural": "things", "kind": "Thing"}
    return {
        "metadata": {"name": NAME},
        "spec": {"group": GROUP, "scope": "Cluster", "names": names, "versions": [version]},
    }


def with_rules(*rules: Any, at: str = "") -> dict[str, Any]:
    """Return a definition whose spec, or a field of it, has rules."""
    given = [rule if isinstance(rule, dict) else {"rule": rule} for rule in rules]
    if not at:
        return definition(SPEC | {"x-kubernetes-validations": given})
    fields = SPEC["properties"]
    changed = {at: fields[at] | {"x-kubernetes-validations": given}}
    return definition(SPEC | {"properties": fields | changed})


def thing(name: str = "a", /, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/v1", "kind": "Thing", "metadata": {"name": name}, "spec": spec}


async def served(api: Api, wire: dict[str, Any]) -> None:
    await api.make(DEFINITIONS, wire)
    await until(api, f"{DEFINITIONS}/{NAME}", is_established)


def causes(reply: Any) -> list[str]:
    return [f"{it['field']}: {it['message']}" for it in reply["details"].get("causes", ())]


# A rule of spec, a spec that breaks it, and what is said.
BROKEN: dict[str, tuple[Any, dict[str, Any], str]] = {
    "plain": (
        "self.replicas <= self.most",
        {"replicas": 5, "most": 3},
        "spec: Invalid value: failed rule: self.replicas <= self.most",
    ),
    "message": (
        {"rule": "self.replicas > 0", "message": "must be positive"},
        {"replicas": 0},
        "spec: Invalid value: must be positive",
    ),
    "message expression": (
        {"rule": "self.replicas > 0", "messageExpression": "'not ' + string(self.replicas)"},
        {"replicas": 0},
        "spec: Invalid value: not 0",
    ),
    "broken message expression": (
        {
            "rule": "self.replicas > 0",
            "message": "must be positive",
            "messageExpression": "string(1 / self.replicas)",
        },
        {"replicas": 0},
        "spec: Invalid value: must be positive",
    ),
    "reason and path": (
        {"rule": "has(self.name)", "reason": "FieldValueRequired", "fieldPath": ".name"},
        {},
        "spec.name: Required value: failed rule: has(self.name)",
    ),
    "forbidden": (
        {"rule": "!has(self.name)", "reason": "FieldValueForbidden", "message": "no name"},
        {"name": "a"},
        "spec: Forbidden: no name",
    ),
    "missing field": (
        "self.replicas > 0",
        {},
        'spec: Invalid value: "object": no such key: replicas evaluating rule: self.replicas > 0',
    ),
    "escaped names": (
        "self.__namespace__ == 'a' && self.x__dash__y == 'b'",
        {"namespace": "a", "x-y": "c"},
        "spec: Invalid value: failed rule: self.__namespace__ == 'a' && self.x__dash__y == 'b'",
    ),
    "bytes": (
        "self.data == b'hi'",
        {"data": "aG8="},
        "spec: Invalid value: failed rule: self.data == b'hi'",
    ),
    "times": (
        "self.since + self.after < timestamp('2025-01-01T00:00:00Z')",
        {"since": "2024-12-31T23:00:00Z", "after": "90m"},
        "spec: Invalid value: failed rule:"
        " self.since + self.after < timestamp('2025-01-01T00:00:00Z')",
    ),
    "a whole number": (
        "self.part < 1.0",
        {"part": 2},
        "spec: Invalid value: failed rule: self.part < 1.0",
    ),
    "int or string": (
        "type(self.port) == int ? self.port < 10 : self.port.startsWith('p')",
        {"port": "http"},
        "spec: Invalid value: failed rule:"
        " type(self.port) == int ? self.port < 10 : self.port.startsWith('p')",
    ),
    "wrong operand": (
        "self.port < 10",
        {"port": "http"},
        "spec: Invalid value: \"object\": 'no such overload': call arguments did not match a"
        " supported operator, function or macro signature for rule: self.port < 10",
    ),
    "map of lists": (
        "self.ports.all(p, p.port > 0) && self.labels.all(k, k.startsWith('a'))",
        {"ports": [{"name": "a", "port": 1}], "labels": {"b": "c"}},
        "spec: Invalid value: failed rule:"
        " self.ports.all(p, p.port > 0) && self.labels.all(k, k.startsWith('a'))",
    ),
    "a set has no order": (
        "self.tags != ['b', 'a']",
        {"tags": ["a", "b"]},
        "spec: Invalid value: failed rule: self.tags != ['b', 'a']",
    ),
}


@pytest.mark.parametrize(("rule", "spec", "said"), BROKEN.values(), ids=BROKEN)
async def test_rules_refuse_objects(api: Api, rule: Any, spec: dict[str, Any], said: str):
    await served(api, with_rules(rule))
    refused = await api("POST", OBJECTS, thing(**spec))
    assert (refused.code, causes(refused)) == (422, [said])


# A rule of spec, or of the field that comes third, and why the definition is refused.
REFUSED: dict[str, tuple[Any, str, str]] = {
    "an unknown field": (
        "self.missing > 0",
        "rule",
        "compilation failed: ERROR: <input>:1:5: undefined field 'missing'\n"
        " | self.missing > 0\n | ....^",
    ),
    "a wrong type": (
        "self.name > 0",
        "rule",
        "compilation failed: ERROR: <input>:1:11: found no matching overload for '_>_' applied to"
        " '(string, int)'\n | self.name > 0\n | ..........^",
    ),
    "a constant without a value": (
        "int('x') == self.replicas",
        "rule",
        "program instantiation failed: type conversion error from 'string' to 'int'",
    ),
    "a message without a value": (
        {"rule": "true", "messageExpression": "string(int('x'))"},
        "messageExpression",
        "messageExpression instantiation failed: type conversion error from 'string' to 'int'",
    ),
    "a format": (
        {"rule": "true", "messageExpression": "'%d'.format(['a'])"},
        "messageExpression",
        "messageExpression compilation failed: ERROR: <input>:1:14: error during formatting:"
        " decimal clause can only be used on integers, was given string\n | '%d'.format(['a'])\n"
        " | .............^",
    ),
    "no condition": ("self.replicas + 1", "rule", "cel expression must evaluate to a bool"),
    "syntax": (
        "self.",
        "rule",
        "compilation failed: ERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' expecting"
        " IDENTIFIER\n | self.\n | .....^",
    ),
    "a message": (
        {"rule": "true", "messageExpression": "self.replicas"},
        "messageExpression",
        "messageExpression must evaluate to a string",
    ),
    "a reason": (
        {"rule": "true", "reason": "Because"},
        "reason",
        'supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid",'
        ' "FieldValueRequired"',
    ),
    "a path": ({"rule": "true", "fieldPath": ".missing"}, "fieldPath", "must be a valid path"),
    "an empty rule": (" ", "rule", "rule is not specified"),
    "no old value": (
        {"rule": "true", "optionalOldSelf": True},
        "optionalOldSelf",
        "may not be set if oldSelf is not used in rule",
    ),
}


@pytest.mark.parametrize(("rule", "where", "why"), REFUSED.values(), ids=REFUSED)
async def test_wrong_rules_are_refused(api: Api, rule: Any, where: str, why: str):
    refused = await api("POST", DEFINITIONS, with_rules(rule))
    assert refused.code == 422
    (cause,) = refused["details"]["causes"]
    at = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0]"
    assert cause["field"] == f"{at}.{where}"
    assert cause["message"].endswith(why)


async def test_old_items_of_a_list_are_known_by_keys_only(api: Api):
    rules = {"x-kubernetes-validations": [{"rule": "self == oldSelf"}]}
    items = {"type": "string", "maxLength": 9} | rules
    fields = SPEC["properties"]
    spec = SPEC | {"properties": fields | {"tags": {"type": "array", "items": items}}}
    refused = await api("POST", DEFINITIONS, definition(spec))
    tags = "spec.validation.openAPIV3Schema.properties[spec].properties[tags]"
    why = "oldSelf cannot be used on the uncorrelatable portion of the schema within"
    assert causes(refused) == [
        f"{tags}.items.x-kubernetes-validations[0].rule:"
        f' Invalid value: "self == oldSelf": {why} {tags}'
    ]


async def test_rules_of_changes(api: Api):
    rule = {"rule": "self.replicas >= oldSelf.replicas", "message": "may not shrink"}
    await served(api, with_rules(rule))
    await api.make(OBJECTS, thing(replicas=3))
    refused = await api("PATCH", f"{OBJECTS}/a", {"spec": {"replicas": 2}}, MERGE)
    assert (refused.code, causes(refused)) == (422, ["spec: Invalid value: may not shrink"])
    assert (await api("PATCH", f"{OBJECTS}/a", {"spec": {"replicas": 4}}, MERGE)).code == 200


async def test_old_items_of_a_map(api: Api):
    fields = SPEC["properties"]
    rule = {"rule": "self.port == oldSelf.port", "message": "is fixed"}
    items = fields["ports"]["items"] | {"x-kubernetes-validations": [rule]}
    ports = fields["ports"] | {"items": items}
    await served(api, definition(SPEC | {"properties": fields | {"ports": ports}}))
    await api.make(OBJECTS, thing(ports=[{"name": "a", "port": 1}, {"name": "b", "port": 2}]))
    moved = [{"name": "b", "port": 2}, {"name": "c", "port": 1}]
    assert (await api("PATCH", f"{OBJECTS}/a", {"spec": {"ports": moved}}, MERGE)).code == 200
    changed = [{"name": "b", "port": 3}]
    refused = await api("PATCH", f"{OBJECTS}/a", {"spec": {"ports": changed}}, MERGE)
    assert causes(refused) == ["spec.ports[0]: Invalid value: is fixed"]


async def test_an_optional_old_value(api: Api):
    rule = {
        "rule": "oldSelf.hasValue() || self.replicas == 1",
        "optionalOldSelf": True,
        "message": "begins with 1",
    }
    await served(api, with_rules(rule))
    refused = await api("POST", OBJECTS, thing(replicas=2))
    assert causes(refused) == ["spec: Invalid value: begins with 1"]
    await api.make(OBJECTS, thing(replicas=1))
    assert (await api("PATCH", f"{OBJECTS}/a", {"spec": {"replicas": 2}}, MERGE)).code == 200


async def test_what_has_not_changed_may_break_a_new_rule(api: Api):
    await served(api, with_rules("true"))
    await api.make(OBJECTS, thing(replicas=3, name="a"))
    patch = [
        {
            "op": "replace",
            "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
            "/properties/replicas/x-kubernetes-validations",
            "value": [{"rule": "self < 3", "message": "too many"}],
        }
    ]
    patch[0]["op"] = "add"
    assert (await api("PATCH", f"{DEFINITIONS}/{NAME}", patch, JSON_PATCH)).code == 200
    assert (await api("PATCH", f"{OBJECTS}/a", {"spec": {"name": "b"}}, MERGE)).code == 200
    refused = await api("PATCH", f"{OBJECTS}/a", {"spec": {"replicas": 4}}, MERGE)
    assert causes(refused) == ["spec.replicas: Invalid value: 4: too many"]


async def test_rules_of_the_whole_object_and_its_status(api: Api):
    name = {"rule": "self.metadata.name.startsWith('a')", "message": "wrong name"}
    seen = {"rule": "!has(self.status) || self.status.seen < 3", "message": "seen too often"}
    await served(api, definition(SPEC, **{"x-kubernetes-validations": [name, seen]}))
    refused = await api("POST", OBJECTS, thing("b"))
    assert causes(refused) == ["<nil>: Invalid value: wrong name"]
    await api.make(OBJECTS, thing("a"))
    refused = await api("PATCH", f"{OBJECTS}/a/status", {"status": {"seen": 5}}, MERGE)
    assert causes(refused) == ["<nil>: Invalid value: seen too often"]
    assert (await api("PATCH", f"{OBJECTS}/a/status", {"status": {"seen": 1}}, MERGE)).code == 200


async def test_rules_wait_for_a_valid_object(api: Api):
    await served(api, with_rules("self.replicas > 0"))
    refused = await api("POST", OBJECTS, thing(replicas="x"))
    blind = "some validation rules were not checked because the object was invalid"
    assert len(causes(refused)) == 2 and blind in causes(refused)[1]
