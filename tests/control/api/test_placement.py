"""Affinity between Pods, scheduling gates, and label keys: what is refused, and what is written."""

from typing import Any

import pytest

from control.api import kinds
from control.api.errors import errors_in, errors_in_update
from control.api.rules import rules_of
from tests.support.control.objects import VALID, of

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
NEAR = f"spec.affinity.podAffinity.{REQUIRED}[0]"
TERM = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}
GATE = [{"name": "example.com/quota"}]


def pod(labels: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    wire = of(kinds.POD, **VALID["Pod"])
    wire["metadata"] = wire["metadata"] | {"labels": labels or {}}
    return rules_of(kinds.POD).default(wire | {"spec": wire["spec"] | spec})


def near(term: dict[str, Any]) -> dict[str, Any]:
    return {"podAffinity": {REQUIRED: [term]}}


def errors(wire: dict[str, Any]) -> list[str]:
    return [str(it) for it in errors_in(kinds.POD, kinds.POD.model.model_validate(wire))]


def update_errors(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    parse = kinds.POD.model.model_validate
    return [str(it) for it in errors_in_update(kinds.POD, parse(new), parse(old))]


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (TERM, None),
        (TERM | {"topologyKey": ""}, f"{NEAR}.topologyKey: Required value: can not be empty"),
        (TERM | {"topologyKey": "a b"}, f'{NEAR}.topologyKey: Invalid value: "a b"'),
        (TERM | {"namespaces": ["A"]}, f'{NEAR}.namespace: Invalid value: "A"'),
        (
            TERM | {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Gt"}]}},
            f"{NEAR}.namespaceSelector.matchExpressions[0].operator: Invalid value",
        ),
        (
            {"topologyKey": "zone", "matchLabelKeys": ["v"]},
            f"{NEAR}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not",
        ),
        (
            TERM | {"matchLabelKeys": ["v"], "mismatchLabelKeys": ["v"]},
            f'{NEAR}.matchLabelKeys[0]: Invalid value: "v": exists in both matchLabelKeys and mis',
        ),
    ],
)
def test_terms_about_other_pods(term: dict[str, Any], message: str | None):
    found = errors(pod(affinity=near(term)))
    assert found == [] if message is None else found[0].startswith(message)


def test_the_weight_of_a_wish():
    wish = {"weight": 101, "podAffinityTerm": TERM}
    (error,) = errors(pod(affinity={"podAntiAffinity": {PREFERRED: [wish]}}))
    path = f"spec.affinity.podAntiAffinity.{PREFERRED}[0].weight"
    assert error == f"{path}: Invalid value: 101: must be in the range 1-100"


def test_a_new_pods_own_labels_are_joined_to_its_rules():
    keys = {"matchLabelKeys": ["v", "absent"], "mismatchLabelKeys": ["team"]}
    spread = {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    wire = pod(
        {"v": "1", "team": "x"},
        affinity={"podAntiAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": TERM | keys}]}},
        topologySpreadConstraints=[spread | {"labelSelector": {}, "matchLabelKeys": ["v"]}],
    )
    made = rules_of(kinds.POD).begin(wire)["spec"]
    (wish,) = made["affinity"]["podAntiAffinity"][PREFERRED]
    same = {"key": "v", "operator": "In", "values": ["1"]}
    assert wish["podAffinityTerm"]["labelSelector"]["matchExpressions"] == [
        same,
        {"key": "team", "operator": "NotIn", "values": ["x"]},
    ]
    (constraint,) = made["topologySpreadConstraints"]
    assert constraint["labelSelector"] == {"matchExpressions": [same]}
    assert errors(wire | {"spec": made}) == []


def test_a_key_that_the_selector_names_too_is_refused():
    selector = {"matchLabels": {"v": "1"}}
    wire = pod(
        {"v": "1"}, affinity=near(TERM | {"labelSelector": selector, "matchLabelKeys": ["v"]})
    )
    made = rules_of(kinds.POD).begin(wire)
    assert "exists in both matchLabelKeys and labelSelector" in errors(made)[0]


def test_a_gated_pod_says_so():
    wire = pod(schedulingGates=GATE)
    wire["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    (condition,) = rules_of(kinds.POD).begin(wire)["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("PodScheduled", "False")
    assert condition["reason"] == "SchedulingGated"


def terms(*expressions: dict[str, Any]) -> dict[str, Any]:
    return {
        "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [*expressions]}]}}
    }


SSD = {"key": "disk", "operator": "Exists"}
BIG = {"key": "big", "operator": "Exists"}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"schedulingGates": GATE}, {}, None),
        ({}, {"schedulingGates": GATE}, "found new scheduling gate 'example.com/quota'"),
        ({"schedulingGates": GATE}, {"nodeSelector": {"a": "b"}}, None),
        ({}, {"nodeSelector": {"a": "b"}}, "pod updates may not change fields"),
        (
            {"schedulingGates": GATE, "nodeSelector": {"a": "b"}},
            {"nodeSelector": {"a": "c"}},
            "only additions to spec.nodeSelector are allowed",
        ),
        ({"schedulingGates": GATE}, {"affinity": terms(SSD)}, None),
        ({"schedulingGates": GATE, "affinity": terms(SSD)}, {"affinity": terms(SSD, BIG)}, None),
        (
            {"schedulingGates": GATE, "affinity": terms(SSD, BIG)},
            {"affinity": terms(SSD)},
            "only additions are allowed",
        ),
        ({"schedulingGates": GATE, "affinity": terms(SSD)}, {}, "no additions/deletions"),
        (
            {"schedulingGates": GATE},
            {"affinity": near(TERM)},
            "pod updates may not change fields",
        ),
    ],
)
def test_what_may_change_while_a_pod_is_gated(
    before: dict[str, Any], after: dict[str, Any], message: str | None
):
    found = update_errors(pod(**after), pod(**before))
    assert found == [] if message is None else message in found[0]
