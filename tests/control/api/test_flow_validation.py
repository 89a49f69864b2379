"""What is refused of written FlowSchemas and PriorityLevelConfigurations, in upstream's words."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control.api import flows
from control.api.kind import Kind
from control.api.rules import rules_of
from control.api.stored import STORED

SCHEMA, LEVEL = (
    next(kind for kind in STORED if kind.name == name)
    for name in ("FlowSchema", "PriorityLevelConfiguration")
)
RULE = {
    "subjects": [{"kind": "User", "user": {"name": "alice"}}],
    "resourceRules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["default"]}
    ],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["/metrics", "/debug/*"]}],
}
SPECS: dict[str, Any] = {
    "FlowSchema": {
        "matchingPrecedence": 500,
        "distinguisherMethod": {"type": "ByUser"},
        "priorityLevelConfiguration": {"name": "mine"},
        "rules": [RULE],
    },
    "PriorityLevelConfiguration": {
        "type": "Limited",
        "limited": {"limitResponse": {"type": "Queue", "queuing": {"handSize": 4}}},
    },
}


def refused(kind: Kind, spec: Any, name: str = "mine") -> list[str]:
    made = {"metadata": {"name": name}, "spec": spec}
    wire = rules_of(kind).default({"apiVersion": kind.api_version, "kind": kind.name, **made})
    return [str(each) for each in rules_of(kind).validate(kind.model.parse(wire))]


def changed(kind: Kind, path: str, value: Any) -> Any:
    spec = copy.deepcopy(SPECS[kind.name])
    at: Any = spec
    *parts, last = path.split(".")
    for part in parts:
        at = at[int(part)] if isinstance(at, list) else at[part]
    if value is None:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return spec


REFUSALS = Path(__file__).with_name("flow_refusals.txt").read_text()


def cases() -> Iterator[tuple[Kind, str, Any, list[str]]]:
    for case in re.split(r"\n(?=\S)", REFUSALS):
        head, *wanted = case.strip().splitlines()
        kind, path, value = head.split(" ", 2)
        lines = [line.strip() for line in wanted]
        yield SCHEMA if kind == SCHEMA.name else LEVEL, path, json.loads(value), lines


@pytest.mark.parametrize(("kind", "path", "value", "wanted"), [*cases()])
def test_a_wrong_field_is_refused(kind: Kind, path: str, value: Any, wanted: list[str]) -> None:
    assert refused(kind, changed(kind, path, value)) == wanted


def test_what_every_cluster_has_is_valid() -> None:
    for kind, specs in ((SCHEMA, flows.schemas()), (LEVEL, flows.levels())):
        assert [refused(kind, spec, name) for name, spec in specs.items()] == [[]] * len(specs)
        assert refused(kind, SPECS[kind.name]) == []


def test_mandatory_ones_are_as_they_are_but_for_what_is_lent() -> None:
    catch_all = flows.levels()["catch-all"]
    limited = catch_all["limited"] | {"nominalConcurrencyShares": 6}
    (found,) = refused(LEVEL, catch_all | {"limited": limited}, "catch-all")
    assert found.startswith("spec: Invalid value: {")
    assert found.endswith("}: spec of 'catch-all' must equal the fixed value")
    exempt = {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 4, "lendablePercent": 50}}
    assert refused(LEVEL, exempt, "exempt") == []
    schema = flows.schemas()["exempt"] | {"matchingPrecedence": 2}
    (found,) = refused(SCHEMA, schema, "exempt")
    assert found.endswith("}: spec of 'exempt' must equal the fixed value")
    assert refused(SCHEMA, flows.schemas()["catch-all"] | {"rules": []}, "catch-all") != []


def test_each_condition_has_a_type_of_its_own() -> None:
    conditions = [{"type": "Dangling"}, {"type": "Dangling"}, {"status": "True"}]
    wire = {"metadata": {"name": "x"}, "status": {"conditions": conditions}}
    found = rules_of(SCHEMA).validate_status(SCHEMA.model.parse(wire))
    assert [str(each) for each in found] == [
        'status.conditions[1].type: Duplicate value: "Dangling"',
        "status.conditions[2].type: Required value: must not be empty",
    ]
