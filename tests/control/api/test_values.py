"""Values that upstream refuses, each beside a neighbor that it takes, in Pods and in templates.

Source of the messages and their fields: the validation packages of k8s.io/kubernetes.
"""

import copy
from typing import Any

import pytest

from control.api import kinds
from control.api.errors import errors_in, errors_in_update
from control.api.kinds import Kind
from control.api.rules import rules_of
from tests.support.control.objects import VALID, containers, of
from tests.support.control.values import PODS, TEMPLATES_ONLY, Row

TEMPLATES = (kinds.DEPLOYMENT, kinds.REPLICA_SET, kinds.DAEMON_SET, kinds.JOB)


def with_spec(kind: Kind, row: Row, value: dict[str, Any]) -> dict[str, Any]:
    """Return an object of a kind whose Pod has a container, or a spec, with some fields."""
    wire = of(kind, **copy.deepcopy(VALID[kind.name]))
    spec = wire["spec"] if kind is kinds.POD else wire["spec"]["template"]["spec"]
    value = copy.deepcopy(value)
    if row.of_container:
        spec["containers"] = containers(**value.pop("container"))
    spec |= value
    return rules_of(kind).default(wire)


def errors(kind: Kind, wire: dict[str, Any]) -> list[str]:
    return [str(error) for error in errors_in(kind, kind.model.model_validate(wire))]


@pytest.mark.parametrize("row", PODS, ids=lambda row: row.name)
def test_a_value_that_upstream_refuses_is_refused(row: Row):
    assert errors(kinds.POD, with_spec(kinds.POD, row, row.refused)) == [
        f"spec.{why}" for why in row.errors
    ]


@pytest.mark.parametrize("row", PODS, ids=lambda row: row.name)
def test_its_neighbors_are_taken(row: Row):
    for value in row.taken:
        assert errors(kinds.POD, with_spec(kinds.POD, row, value)) == [], value


@pytest.mark.parametrize("kind", TEMPLATES, ids=lambda kind: kind.name)
def test_templates_are_refused_for_the_same_values(kind: Kind):
    for row in PODS:
        if row.of_pod or (row.always and kind is kinds.JOB):
            continue
        found = errors(kind, with_spec(kind, row, row.refused))
        assert found == [f"spec.template.spec.{why}" for why in row.errors], row.name
        for value in row.taken:
            assert errors(kind, with_spec(kind, row, value)) == [], row.name


@pytest.mark.parametrize("row", TEMPLATES_ONLY, ids=lambda row: row.name)
def test_templates_may_have_what_pods_may_not(row: Row):
    assert errors(kinds.POD, with_spec(kinds.POD, row, row.refused)) == [
        f"spec.{why}" for why in row.errors
    ]
    for kind in TEMPLATES:
        assert errors(kind, with_spec(kind, row, row.refused)) == []


@pytest.mark.parametrize("row", PODS, ids=lambda row: row.name)
def test_an_older_object_with_such_a_value_can_be_changed(row: Row):
    """A server of before has stored it: labels and finalizers have to change without it."""
    wire = with_spec(kinds.POD, row, row.refused)
    old = kinds.POD.model.model_validate(wire)
    wire["metadata"]["labels"] = {"new": "one"}
    new = kinds.POD.model.model_validate(wire)
    assert errors_in_update(kinds.POD, new, old) == []


COST = "controller.kubernetes.io/pod-deletion-cost"
MIRROR = "kubernetes.io/config.mirror"
SECCOMP = "container.seccomp.security.alpha.kubernetes.io/c"
ARMOR = "container.apparmor.security.beta.kubernetes.io/"
TOLERATIONS = "scheduler.alpha.kubernetes.io/tolerations"
NOT_32 = "must be a 32bit integer"
ANNOTATIONS = [
    (MIRROR, "x", f"[{MIRROR}]", "must set spec.nodeName if mirror pod annotation is set", None),
    (COST, "+1", f"[{COST}]", NOT_32, "-1"),
    (COST, "01", f"[{COST}]", NOT_32, "0"),
    (COST, str(2**31), f"[{COST}]", NOT_32, str(2**31 - 1)),
    (COST, "9" * 5000, f"[{COST}]", NOT_32, str(-(2**31))),
    (SECCOMP, "x", f".{SECCOMP}", "must be a valid seccomp profile", "docker/default"),
    (SECCOMP, "localhost//a", f".{SECCOMP}", "must be a relative path", "localhost/a"),
    (f"{ARMOR}c", "x", f"[{ARMOR}c]", 'invalid AppArmor profile name: "x"', "localhost/x"),
    (TOLERATIONS, "{}", "", "not a list of tolerations", "null"),
    (TOLERATIONS, "[1]", "", "a toleration is not an object", "[]"),
    (TOLERATIONS, "[" * 1000 + "]" * 1000, "", "a toleration is not an object", ""),
    (TOLERATIONS, '[{"key": 1}]', "", "key: Input should be a valid string", '[{"key": "a"}]'),
    (
        TOLERATIONS,
        '[{"value": "x", "operator": "Exists"}]',
        f".{TOLERATIONS}[0].operator",
        "value must be empty when `operator` is 'Exists'",
        '[{"operator": "Exists", "value": null}]',
    ),
    (f"{ARMOR}d", "unconfined", f"[{ARMOR}d]", "container not found", None),
]


def annotated(kind: Kind, key: str, value: str) -> dict[str, Any]:
    wire = of(kind, **copy.deepcopy(VALID[kind.name]))
    at = wire if kind is kinds.POD else wire["spec"]["template"]
    at.setdefault("metadata", {})["annotations"] = {key: value}
    return rules_of(kind).default(wire)


@pytest.mark.parametrize("kind", [kinds.POD, *TEMPLATES], ids=lambda kind: kind.name)
@pytest.mark.parametrize(("key", "bad", "path", "why", "good"), ANNOTATIONS)
def test_annotations_with_a_meaning(
    kind: Kind, key: str, bad: str, path: str, why: str, good: str | None
):
    base = "metadata" if kind is kinds.POD else "spec.template"
    (error,) = errors(kind, annotated(kind, key, bad))
    assert error.startswith(f"{base}.annotations{path}: Invalid value: ")
    assert error.endswith(f": {why}")
    assert good is None or errors(kind, annotated(kind, key, good)) == []


def test_annotations_and_fields_of_profiles_say_the_same():
    wire = annotated(kinds.DEPLOYMENT, SECCOMP, "unconfined")
    (container,) = wire["spec"]["template"]["spec"]["containers"]
    container["securityContext"] = {"seccompProfile": {"type": "RuntimeDefault"}}
    assert errors(kinds.DEPLOYMENT, wire) == [
        "spec.template.spec.containers[0].securityContext.seccompProfile.type: Forbidden: seccomp"
        " type in annotation and field must match"
    ]
    container["securityContext"] = {"seccompProfile": {"type": "Unconfined"}}
    assert errors(kinds.DEPLOYMENT, wire) == []


def test_a_pod_stays_what_its_annotations_say():
    old = kinds.POD.model.model_validate(annotated(kinds.POD, f"{ARMOR}c", "unconfined"))
    new = kinds.POD.model.model_validate(annotated(kinds.POD, COST, "1"))
    (error,) = map(str, errors_in_update(kinds.POD, new, old))
    assert error == (
        f"metadata.annotations[{ARMOR}c]: Forbidden: may not remove or update AppArmor annotations"
    )
    (error,) = map(str, errors_in_update(kinds.POD, old, new))
    assert error.endswith("may not add AppArmor annotations")


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        (
            {"ownerReferences": [{"apiVersion": "v1", "kind": "Event", "name": "e", "uid": "u"}]},
            "/v1, Kind=Event is disallowed from being an owner",
        ),
        (
            {"ownerReferences": [{"apiVersion": "a/b/c", "kind": "K", "name": "e", "uid": "u"}]},
            "version must not be empty",
        ),
        (
            {"finalizers": ["orphan", "foregroundDeletion"]},
            "finalizer orphan and foregroundDeletion cannot be both set",
        ),
    ],
)
def test_metadata(metadata: dict[str, Any], why: str):
    wire = of(kinds.CONFIG_MAP)
    wire["metadata"] |= metadata
    (error,) = errors(kinds.CONFIG_MAP, wire)
    assert error.endswith(f": {why}")


def test_unknown_sources_of_a_projected_volume_are_passed_over():
    """An unknown field may hold anything."""
    volume = {"name": "v", "projected": {"sources": [{"$patch": False, "other": ["x"]}]}}
    wire = of(kinds.POD, **copy.deepcopy(VALID["Pod"]))
    wire["spec"]["volumes"] = [volume]
    assert errors(kinds.POD, rules_of(kinds.POD).default(wire)) == []
