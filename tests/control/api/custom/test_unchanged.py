"""What breaks a rule, and has not changed, may stay (ratcheting).

Source: ratchetingOptions of k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel
"""

from typing import Any

import pytest

from control.api.custom.cost import Spending
from control.api.custom.validations.run import rules_of

SMALL = {"x-kubernetes-validations": [{"rule": "self < 10", "message": "too large"}]}
NUMBER = {"type": "integer"} | SMALL
ITEM = {"type": "object", "properties": {"k": {"type": "string"}, "n": NUMBER}}
KEYED = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
SCHEMA = {
    "type": "object",
    "properties": {
        "n": NUMBER,
        "plain": {"type": "array", "items": NUMBER},
        "deep": {"type": "array", "items": ITEM},
        "keyed": {"type": "array", "items": ITEM} | KEYED,
        "named": {"type": "object", "additionalProperties": NUMBER},
    },
}

# An object, what it was, and where it breaks a rule now.
CASES: list[tuple[dict[str, Any], dict[str, Any] | None, list[str]]] = [
    ({"n": 11}, None, ["n"]),
    ({"n": 11}, {"n": 11}, []),
    ({"n": 12}, {"n": 11}, ["n"]),
    ({"n": 11}, {}, ["n"]),
    ({"n": 1, "plain": [11, 1]}, {"n": 2, "plain": [11, 1]}, []),
    ({"plain": [11, 2]}, {"plain": [11, 1]}, ["plain[0]"]),
    ({"plain": [11]}, {}, ["plain[0]"]),
    ({"n": 1, "deep": [{"n": 11}]}, {"deep": [{"n": 11}]}, []),
    ({"deep": [{"n": 11}, {"n": 1}]}, {"deep": [{"n": 11}]}, ["deep[0].n"]),
    ({"keyed": [{"k": "a", "n": 11}]}, {"keyed": [{"k": "a", "n": 11}, {"k": "b"}]}, []),
    ({"keyed": [{"k": "b", "n": 11}]}, {"keyed": [{"k": "a", "n": 11}]}, ["keyed[0].n"]),
    ({"named": {"a": 11, "b": 1}}, {"named": {"a": 11}}, []),
    ({"named": {"a": 11, "b": 11}}, {"named": {"a": 11}}, ["named[b]"]),
]


@pytest.mark.parametrize(("value", "old", "broken"), CASES)
def test_only_what_has_changed_must_hold(
    value: dict[str, Any], old: dict[str, Any] | None, broken: list[str]
):
    rules = rules_of(SCHEMA, root=True)
    assert rules is not None
    assert [error.path for error in rules.errors(value, old, Spending())] == broken
