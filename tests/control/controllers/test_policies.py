"""The controller of ValidatingAdmissionPolicies: what their status says of their expressions."""

from typing import Any

from control.api import kinds
from control.controllers.actions import UpdateStatus
from control.controllers.policies import POLICY, PolicyStatusController
from control.controllers.state import ClusterState

CONTROLLER = PolicyStatusController()


def cluster(policy: Any, *definitions: Any) -> ClusterState:
    made = ClusterState(source.kind for source in CONTROLLER.sources)
    made[POLICY].apply(None, policy)
    for each in definitions:
        made[kinds.DEFINITION].apply(None, each)
    return made


def policy(*validations: dict[str, str], **spec: Any) -> Any:
    rule = {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments"]}
    given = {"matchConstraints": {"resourceRules": [rule]}, "validations": list(validations)}
    metadata = {"name": "p", "generation": 2}
    return POLICY.model.parse({"metadata": metadata, "spec": given | spec})


def said(made: Any, *definitions: Any) -> dict[str, Any]:
    found = list(CONTROLLER.reconcile(cluster(made, *definitions), ("", "p"), 0.0))
    assert [type(each) for each in found] == [UpdateStatus]
    return dict(found[0].object.wire()["status"])


def test_a_good_policy():
    good = policy(
        {
            "expression": "object.spec.replicas <= 5 && has(object.metadata.labels)"
            " && object.spec.template.spec.containers.all(c, c.image != '' && c.ports.size() > 0)"
            " && object.metadata.creationTimestamp < timestamp('2999-01-01T00:00:00Z')",
            "messageExpression": "string(object.spec.replicas)",
        }
    )
    status = said(good)
    assert status == {"observedGeneration": 2, "typeChecking": {}}
    seen = POLICY.model.parse(good.wire() | {"status": status})
    assert list(CONTROLLER.reconcile(cluster(seen), ("", "p"), 0.0)) == []


def test_an_unknown_field():
    status = said(policy({"expression": "object.spec.replica > 1"}))
    warning = (
        "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'replica'\n"
        " | object.spec.replica > 1\n | ...........^\n"
    )
    found = [{"fieldRef": "spec.validations[0].expression", "warning": warning}]
    assert status["typeChecking"] == {"expressionWarnings": found}


def test_variables_and_parameters_have_types():
    params = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}
    names = {"variables": [{"name": "n", "expression": "object.metadata.name"}]}
    wrong = policy({"expression": "variables.n > 1 || params.data.x == 1"}, **params, **names)
    warning = said(wrong)["typeChecking"]["expressionWarnings"][0]["warning"]
    assert "overload for '_>_' applied to '(string, int)'" in warning
    assert "overload for '_==_' applied to '(string, int)'" in warning


def test_custom_kinds_have_types():
    spec = {"type": "object", "properties": {"size": {"type": "integer"}}}
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "boxes", "kind": "Box"}
    body = {"group": "example.com", "names": names, "versions": [version]}
    definition = kinds.DEFINITION.model.parse({"metadata": {"name": "boxes"}, "spec": body})
    rule = {"apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["boxes"]}
    constraints = {"matchConstraints": {"resourceRules": [rule]}}
    good = policy(
        {"expression": "object.spec.size > 1 && object.metadata.name != ''"}, **constraints
    )
    assert said(good, definition)["typeChecking"] == {}
    wrong = policy({"expression": "object.spec.width > 1"}, **constraints)
    assert "undefined field 'width'" in str(said(wrong, definition))
    assert said(wrong)["typeChecking"] == {}, "nobody knows its type"


def test_what_a_rule_does_not_name_is_not_checked():
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]}
    constraints = {"matchConstraints": {"resourceRules": [rule]}}
    wrong = policy({"expression": "object.nothing == 1"}, **constraints)
    assert said(wrong)["typeChecking"] == {}
