"""ValidatingAdmissionPolicies: what they refuse, warn of, and note."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control.api.policies.decide import Outcome
from control.server.admission.policies import ask
from control.server.wire.request import Notes
from tests.support.control.definitions import established
from tests.support.control.policies import BINDINGS, CONFIG_MAPS, POLICIES, binding, policy
from tests.support.control.requests import (
    APPS,
    CORE,
    JSON_PATCH,
    MERGE,
    Api,
    config_map,
    deployment,
)
from tests.support.control.secured import secured_server

MAPS = f"{CORE}/configmaps"
NAMESPACES = "/api/v1/namespaces"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
NAMED = "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "


async def bound(api: Api, *made: dict[str, Any], bindings: Any = ()) -> None:
    for each in made:
        await api.make(POLICIES, each)
    for each in bindings or (binding(),):
        await api.make(BINDINGS, each)


def labeled(**data: str) -> dict[str, Any]:
    return config_map(**data) | {"metadata": {"name": "a", "labels": {"app": "x"}}}


# A policy about ConfigMaps, and why it refuses the ConfigMap {a: "1"} with the label app=x; empty
# if it does not.
DECISIONS: dict[str, tuple[dict[str, Any], str]] = {
    "holds": (policy("object.data.a == '1'"), ""),
    "does not hold": (
        policy("object.data.a == '2'"),
        "failed expression: object.data.a == '2'",
    ),
    "its message": (policy({"expression": "false", "message": " no a "}), "no a"),
    "its computed message": (
        policy({"expression": "false", "messageExpression": "'a is ' + object.data.a"}),
        "a is 1",
    ),
    "a message that cannot be computed": (
        policy(
            {
                "expression": "false",
                "message": "no",
                "messageExpression": "string(object.data.missing)",
            }
        ),
        "no",
    ),
    "a message of two lines": (
        policy({"expression": "false", "messageExpression": r"'a\nb'"}),
        "failed expression: false",
    ),
    "an error": (
        policy("object.data.b == '1'"),
        "expression 'object.data.b == '1'' resulted in error: no such key: b",
    ),
    "an ignored error": (policy("object.data.b == '1'", failurePolicy="Ignore"), ""),
    "ignored errors refuse all the same": (
        policy("object.data.b == '1'", "false", failurePolicy="Ignore"),
        "failed expression: false",
    ),
    "a condition that does not hold": (
        policy("false", matchConditions=[{"name": "a", "expression": "object.data.a == '2'"}]),
        "",
    ),
    "a condition that fails": (
        policy("true", matchConditions=[{"name": "a", "expression": "object.data.b == '2'"}]),
        "expression 'object.data.b == '2'' resulted in error: no such key: b",
    ),
    "a condition that fails beside one that does not hold": (
        policy(
            "false",
            matchConditions=[
                {"name": "a", "expression": "object.data.b == '2'"},
                {"name": "b", "expression": "false"},
            ],
        ),
        "",
    ),
    "variables": (
        policy(
            "variables.twice == '12'",
            variables=[
                {"name": "one", "expression": "object.data.a"},
                {"name": "twice", "expression": "variables.one + '1'"},
            ],
        ),
        "failed expression: variables.twice == '12'",
    ),
    "a variable that fails": (
        policy("variables.b == '1'", variables=[{"name": "b", "expression": "object.data.b"}]),
        "expression 'variables.b == '1'' resulted in error: composited variable \"b\" fails to"
        " evaluate: no such key: b",
    ),
    "a variable that nobody needs": (
        policy("true", variables=[{"name": "b", "expression": "object.data.b"}]),
        "",
    ),
    "the request": (
        policy(
            "request.operation == 'CREATE' && request.resource.resource == 'configmaps'"
            " && request.kind.kind == 'ConfigMap' && request.namespace == 'default'"
            " && request.name == 'a' && !request.dryRun && !has(request.subResource)"
            " && request.userInfo.groups.exists(g, g == 'system:masters')"
        ),
        "",
    ),
    "the namespace": (
        policy(
            "namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == 'default'"
            " && namespaceObject.status.phase == 'Active'"
            " && namespaceObject.metadata.creationTimestamp > timestamp('2020-01-01T00:00:00Z')"
        ),
        "",
    ),
    "there is no old object": (policy("oldObject == null"), ""),
    "the authorizer": (
        policy(
            "authorizer.group('apps').resource('deployments').namespace('x').check('get').allowed()"
            " && authorizer.path('/healthz').check('get').allowed()"
        ),
        "",
    ),
    "many questions to the authorizer": (
        policy(" && ".join(["authorizer.path('/x').check('get').allowed()"] * 3)),
        "validation failed due to running out of cost budget, no further validation rules will be"
        " run",
    ),
    "too costly": (
        policy(
            "[1,2,3,4,5,6,7,8,9,10].all(a, lists.range(100).all(b, lists.range(1000).all(c,"
            " a + b + c > 0)))"
        ),
        "validation failed due to running out of cost budget, no further validation rules will be"
        " run",
    ),
    "another label": (
        policy(
            "false",
            matchConstraints={
                "resourceRules": [CONFIG_MAPS],
                "objectSelector": {"matchLabels": {"app": "y"}},
            },
        ),
        "",
    ),
    "another namespace": (
        policy(
            "false",
            matchConstraints={
                "resourceRules": [CONFIG_MAPS],
                "namespaceSelector": {"matchLabels": {"team": "y"}},
            },
        ),
        "",
    ),
    "excluded": (
        policy(
            "false",
            matchConstraints={
                "resourceRules": [CONFIG_MAPS],
                "excludeResourceRules": [CONFIG_MAPS | {"resourceNames": ["a"]}],
            },
        ),
        "",
    ),
    "another name": (policy("false", rule=CONFIG_MAPS | {"resourceNames": ["b"]}), ""),
    "its name": (
        policy("false", rule=CONFIG_MAPS | {"resourceNames": ["a"]}),
        "failed expression: false",
    ),
}


@pytest.mark.parametrize(("given", "why"), DECISIONS.values(), ids=DECISIONS)
async def test_decisions(api: Api, given: dict[str, Any], why: str):
    await bound(api, given)
    reply = await api("POST", MAPS, labeled(a="1"))
    if not why:
        assert reply.code == 201, reply
        return
    assert (reply.code, reply["reason"]) == (422, "Invalid")
    assert reply["message"] == f'configmaps "a" is forbidden: {NAMED}{why}'
    assert reply["details"]["causes"] == [{"message": f"{NAMED}{why}"}]


@pytest.mark.parametrize(
    ("reason", "code"), [("Forbidden", 403), ("Invalid", 422), ("RequestEntityTooLarge", 413)]
)
async def test_reasons(api: Api, reason: str, code: int):
    await bound(api, policy({"expression": "false", "reason": reason}))
    reply = await api("POST", MAPS, config_map())
    assert (reply.code, reply["reason"]) == (code, reason)


async def test_a_policy_without_a_binding_does_nothing(api: Api):
    await api.make(POLICIES, policy("false"))
    await api.make(BINDINGS, binding(policy_name="other"))
    await api.make(MAPS, config_map())


async def test_a_binding_may_match_less(api: Api):
    selector = {"namespaceSelector": {"matchLabels": {"held": "yes"}}}
    await bound(api, policy("false"), bindings=[binding(matchResources=selector)])
    await api.make(MAPS, config_map())
    await api.make(NAMESPACES, {"metadata": {"name": "held", "labels": {"held": "yes"}}})
    assert (await api("POST", f"{NAMESPACES}/held/configmaps", config_map())).code == 422


async def test_a_warning(api: Api):
    await bound(api, policy("false"), bindings=[binding("Warn", "Audit")])
    made = await api("POST", MAPS, config_map())
    said = "Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b':"
    assert (made.code, made.warnings) == (201, (f'299 - "{said} failed expression: false"',))


async def test_updates_and_deletes(api: Api):
    rule = CONFIG_MAPS | {"operations": ["UPDATE", "DELETE"]}
    grows = "request.operation == 'DELETE' || size(object.data) >= size(oldObject.data)"
    named = "request.operation != 'DELETE' || (object == null && oldObject.data.a == '1')"
    await bound(api, policy(grows, named, rule=rule))
    await api.make(MAPS, config_map(a="1", b="2"))
    assert (await api("PATCH", f"{MAPS}/a", {"data": {"b": None}}, MERGE)).code == 422
    assert (await api("PATCH", f"{MAPS}/a", {"data": {"a": "2"}}, MERGE)).code == 200
    assert (await api("DELETE", f"{MAPS}/a")).code == 422
    assert (await api("PATCH", f"{MAPS}/a", {"data": {"a": "1"}}, MERGE)).code == 200
    assert (await api("DELETE", f"{MAPS}/a")).code == 200


async def test_a_scale(api: Api):
    rule = {
        "operations": ["UPDATE"],
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "resources": ["deployments/scale"],
    }
    await bound(api, policy("object.spec.replicas < 5", rule=rule))
    await api.make(f"{APPS}/deployments", deployment())
    at = f"{APPS}/deployments/d/scale"
    assert (await api("PATCH", at, {"spec": {"replicas": 9}}, MERGE)).code == 422
    assert (await api("PATCH", at, {"spec": {"replicas": 4}}, MERGE)).code == 200


async def test_policies_are_exempt(api: Api):
    every = {
        "operations": ["*"],
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "resources": ["*/*"],
    }
    await bound(api, policy("false", rule=every))
    assert (await api("POST", MAPS, config_map())).code == 422
    assert (await api("DELETE", f"{BINDINGS}/b")).code == 200
    await api.make(MAPS, config_map())


PARAMS = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}
SECRETS = CONFIG_MAPS | {"resources": ["secrets"]}


def ref(**given: Any) -> dict[str, Any]:
    return {"paramRef": {"parameterNotFoundAction": "Allow"} | given}


# The reference to ConfigMaps as parameters, and what is said of a Secret; the ConfigMaps are
# `most` (most=1) and `more` (most=0, with the label more=yes).
REFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "one": (ref(name="most"), ""),
    "another": (ref(name="more"), "failed expression: size(object.data) <= int(params.data.most)"),
    "missing": (ref(name="missing"), ""),
    "missing, and denied": (
        ref(name="missing", parameterNotFoundAction="Deny"),
        "failed to configure binding: no params found for policy binding with `Deny`"
        " parameterNotFoundAction",
    ),
    "in another namespace": (ref(name="most", namespace="kube-system"), ""),
    "selected": (
        ref(selector={"matchLabels": {"more": "yes"}}),
        "failed expression: size(object.data) <= int(params.data.most)",
    ),
    "all": (
        ref(selector={}),
        "expression 'size(object.data) <= int(params.data.most)' resulted in error:"
        " no such key: data",
    ),
    "none": (
        {},
        "expression 'size(object.data) <= int(params.data.most)' resulted in error:"
        " no such overload",
    ),
}


@pytest.mark.parametrize(("given", "why"), REFERENCES.values(), ids=REFERENCES)
async def test_parameters(api: Api, given: dict[str, Any], why: str):
    await api.make(MAPS, config_map("most", most="1"))
    labels = {"metadata": {"name": "more", "labels": {"more": "yes"}}}
    await api.make(MAPS, config_map("more", most="0") | labels)
    await api.make(MAPS, config_map("a"))
    held = policy("size(object.data) <= int(params.data.most)", rule=SECRETS, **PARAMS)
    await bound(api, held, bindings=[binding(**given)])
    secret = {"metadata": {"name": "s"}, "data": {"a": ""}}
    reply = await api("POST", f"{CORE}/secrets", secret)
    if not why:
        assert reply.code == 201, reply
    else:
        assert reply["message"] == f'secrets "s" is forbidden: {NAMED}{why}'


async def test_a_custom_kind_as_parameter(api: Api):
    kind = {"paramKind": {"apiVersion": "example.com/v1", "kind": "CronTab"}}
    held = policy("object.data.size() <= params.spec.replicas", **kind)
    await bound(api, held, bindings=[binding(**ref(name="limit"))])
    unknown = await api("POST", MAPS, config_map(a="1"))
    assert (
        "paramKind kind `&ParamKind{APIVersion:example.com/v1,Kind:CronTab,}`"
        in (unknown["message"])
    )
    await established(api)
    tab = {"metadata": {"name": "limit"}, "spec": {"cronSpec": "* * * * *", "replicas": 1}}
    await api.make("/apis/example.com/v1/namespaces/default/crontabs", tab)
    await api.make(MAPS, config_map(a="1"))
    assert (await api("POST", MAPS, config_map("b", a="1", b="2"))).code == 422


async def test_the_authorizer_knows_the_user(tmp_path: Path):
    async with secured_server(tmp_path, modes=("RBAC",)) as server:
        connector = aiohttp.TCPConnector(ssl=server.client_tls())
        async with aiohttp.ClientSession(server.url, connector=connector) as session:
            admin = Api(session, server.state)
            rights = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}
            await admin.make(
                f"{RBAC}/clusterroles", {"metadata": {"name": "maker"}, "rules": [rights]}
            )
            subject = {"kind": "User", "name": "alice", "apiGroup": "rbac.authorization.k8s.io"}
            role = {"kind": "ClusterRole", "name": "maker"}
            role["apiGroup"] = "rbac.authorization.k8s.io"
            bind = {"metadata": {"name": "maker"}, "roleRef": role, "subjects": [subject]}
            await admin.make(f"{RBAC}/clusterrolebindings", bind)
            await bound(admin, policy("authorizer.requestResource.check('delete').allowed()"))
            await admin.make(MAPS, config_map("mine"))
            user = {"Impersonate-User": "alice"}
            refused = await admin("POST", MAPS, config_map("b"), **user)
    assert "failed expression: authorizer.requestResource" in refused["message"]


@pytest.mark.parametrize(
    ("selector", "allowed"),
    [
        ("fieldSelector('spec.nodeName=n')", True),
        ("fieldSelector('spec.nodeName=other')", False),
        ("fieldSelector('spec.nodeName=n').labelSelector('app=x')", True),
        ("labelSelector('app in (')", False),
        ("fieldSelector('=')", False),
    ],
)
async def test_the_authorizer_is_asked_about_selected_objects(
    tmp_path: Path, selector: str, allowed: bool
):
    """A node may list its own Pods, and no others."""
    async with secured_server(tmp_path, modes=("Node", "RBAC")) as server:
        connector = aiohttp.TCPConnector(ssl=server.client_tls())
        async with aiohttp.ClientSession(server.url, connector=connector) as session:
            admin = Api(session, server.state)
            pods = f"authorizer.group('').resource('pods').{selector}.check('list')"
            nodes = {"apiGroups": [""], "resources": ["nodes"], "apiVersions": ["v1"]}
            rule = nodes | {"operations": ["CREATE"]}
            await bound(admin, policy(f"{pods}.allowed()", rule=rule))
            node = {"metadata": {"name": "n"}}
            user = {"Impersonate-User": "system:node:n", "Impersonate-Group": "system:nodes"}
            made = await admin("POST", "/api/v1/nodes", node, **user)
    assert made.code == (201 if allowed else 422), made


def test_audit_annotations_are_bounded_and_named():
    notes = Notes()
    for key in ("noprefix", "a/b/c", "bad key/x", "UPPER.example/x", "a/", "p/" + "k" * 64):
        notes.annotate(key, "1")
    assert notes.annotations == {}
    notes.annotate("p/key", "first")
    notes.annotate("p/key", "second")
    assert notes.annotations == {"p/key": "first"}, "what was said stays"
    for number in range(40):
        notes.annotate(f"p/large-{number}", "x" * 10 * 1024)
    held = sum(len(key) + len(value) for key, value in notes.annotations.items())
    assert 240 * 1024 < held <= 256 * 1024


def test_an_audit_annotation_has_ten_kibibytes():
    said: dict[str, list[str]] = {}
    ask._add(said, Outcome(annotations=(("k", "\u00e9" * 10_000),)))
    assert [len(value.encode()) for value in said["k"]] == [10 * 1024]


async def test_a_costly_expression_keeps_nobody_waiting(api: Api):
    """It is computed in a worker; meanwhile the server answers."""
    slow = "lists.range(200).all(a, lists.range(1000).all(b, a + b >= 0))"
    await bound(api, policy(slow, failurePolicy="Ignore"))
    task = asyncio.create_task(api("POST", MAPS, config_map()))
    answers = 0
    while not task.done():
        assert (await api("GET", "/healthz")).code == 200
        answers += 1
    assert (await task).code == 201 and answers > 3


# A wrong policy, and what is said of it.
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": (
        policy(),
        [
            "spec.validations: Required value: validations or auditAnnotations must contain at"
            " least one item",
            "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at"
            " least one item",
        ],
    ),
    "no constraints": (
        {"metadata": {"name": "p"}, "spec": {"validations": [{"expression": "true"}]}},
        ["spec.matchConstraints: Required value"],
    ),
    "no rules": (
        policy("true", matchConstraints={}),
        ["spec.matchConstraints.resourceRules: Required value"],
    ),
    "syntax": (
        policy("object."),
        [
            'spec.validations[0].expression: Invalid value: "object.": compilation failed: ERROR:'
            " <input>:1:8: Syntax error: mismatched input '<EOF>' expecting IDENTIFIER\n | object."
            "\n | .......^"
        ],
    ),
    "constants without a value": (
        policy(
            {"expression": "int('x') == 1", "messageExpression": "'a'.find('[')"},
            variables=[
                {"name": "a", "expression": "uint(-1)"},
                {"name": "b", "expression": "variables.a"},
            ],
        ),
        [
            "spec.variables[0].expression: Internal error: program instantiation failed: unsigned"
            " integer overflow",
            "spec.validations[0].expression: Internal error: program instantiation failed: type"
            " conversion error from 'string' to 'int'",
            "spec.validations[0].messageExpression: Internal error: program instantiation failed:"
            " error parsing regexp: missing closing ]: `[`",
        ],
    ),
    "times and patterns that nobody can read": (
        policy("timestamp('x') > timestamp(0) && 'a'.matches('[')"),
        [
            "spec.validations[0].expression: Invalid value: \"timestamp('x') > timestamp(0) &&"
            " 'a'.matches('[')\": compilation failed: ERROR: <input>:1:11: invalid timestamp"
            " argument\n | timestamp('x') > timestamp(0) && 'a'.matches('[')\n | ..........^\n"
            "ERROR: <input>:1:46: invalid matches argument\n | timestamp('x') > timestamp(0) &&"
            " 'a'.matches('[')\n | .............................................^",
        ],
    ),
    "no condition": (
        policy("1"),
        ['spec.validations[0].expression: Invalid value: "1": must evaluate to bool but got int'],
    ),
    "a condition of any type": (
        policy("object.data.x"),
        [
            'spec.validations[0].expression: Invalid value: "object.data.x": must evaluate to'
            " bool but got dyn"
        ],
    ),
    "no variables": (
        policy("variables.x == 1"),
        [
            'spec.validations[0].expression: Invalid value: "variables.x == 1": compilation'
            " failed: ERROR: <input>:1:1: undeclared reference to 'variables' (in container '')\n"
            " | variables.x == 1\n | ^"
        ],
    ),
    "no parameters": (
        policy("params.x"),
        [
            'spec.validations[0].expression: Invalid value: "params.x": compilation failed: ERROR:'
            " <input>:1:1: undeclared reference to 'params' (in container '')\n | params.x\n | ^"
        ],
    ),
    "a later variable": (
        policy(
            "true",
            variables=[
                {"name": "a", "expression": "variables.b"},
                {"name": "b", "expression": "1"},
                {"name": "in", "expression": "1"},
            ],
        ),
        [
            'spec.variables[0].expression: Invalid value: "variables.b": compilation failed: ERROR:'
            " <input>:1:10: undefined field 'b'\n | variables.b\n | .........^",
            'spec.variables[2].name: Invalid value: "in": must be a valid CEL identifier',
        ],
    ),
    "a message": (
        policy({"expression": "true", "messageExpression": "1", "message": "a\nb", "reason": "x"}),
        [
            'spec.validations[0].messageExpression: Invalid value: "1": must evaluate to string'
            " but got int",
            'spec.validations[0].message: Invalid value: "a\\nb": must not contain line breaks',
            'spec.validations[0].reason: Unsupported value: "x": supported values: "Forbidden",'
            ' "Invalid", "RequestEntityTooLarge"',
        ],
    ),
    "the authorizer in a message": (
        policy({"expression": "true", "messageExpression": "authorizer.path('/x')"}),
        [
            "spec.validations[0].messageExpression: Invalid value: \"authorizer.path('/x')\":"
            " compilation failed: ERROR: <input>:1:1: undeclared reference to 'authorizer' (in"
            " container '')\n | authorizer.path('/x')\n | ^",
        ],
    ),
    "annotations": (
        policy(
            auditAnnotations=[
                {"key": "a", "valueExpression": "1"},
                {"key": "a", "valueExpression": ""},
            ]
        ),
        [
            'spec.auditAnnotations[0].valueExpression: Invalid value: "1": must evaluate to one of'
            " [string null_type] but got int",
            "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not"
            " specified",
            'spec.auditAnnotations[1].key: Duplicate value: "a"',
        ],
    ),
    "a kind of parameters": (
        policy("true", paramKind={"apiVersion": "a/b/c", "kind": "x y"}),
        [
            'spec.paramKind.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string:'
            " a/b/c",
            'spec.paramKind.kind: Invalid value: "x y": may have mixed case, but should otherwise'
            " match: a DNS-1035 label must consist of lower case alphanumeric characters or '-',"
            " start with an alphabetic character, and end with an alphanumeric character (e.g."
            " 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
        ],
    ),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
async def test_wrong_policies(api: Api, given: dict[str, Any], said: list[str]):
    refused = await api("POST", POLICIES, given)
    assert [f"{it['field']}: {it['message']}" for it in refused["details"]["causes"]] == said


WRONG_BINDINGS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no policy": (binding(policy_name=""), ["spec.policyName: Required value"]),
    "no action": (
        {"metadata": {"name": "b"}, "spec": {"policyName": "p"}},
        ["spec.validationActions: Required value: at least one validation action is required"],
    ),
    "deny and warn": (
        binding("Deny", "Warn"),
        [
            'spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and'
            " Warn (repeating the same validation failure information in the API response and"
            " headers serves no purpose)"
        ],
    ),
    "an action": (
        binding("Audit", "Audit", "Shout"),
        [
            'spec.validationActions[1]: Duplicate value: "Audit"',
            'spec.validationActions[2]: Unsupported value: "Shout": supported values: "Audit",'
            ' "Deny", "Warn"',
        ],
    ),
    "no parameter": (
        binding(paramRef={"parameterNotFoundAction": "Deny"}),
        ["spec.paramRef: Required value: one of name or selector must be specified"],
    ),
    "two parameters": (
        binding(paramRef={"name": "a", "selector": {}}),
        [
            "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
            "spec.paramRef.parameterNotFoundAction: Required value",
        ],
    ),
}


@pytest.mark.parametrize(("given", "said"), WRONG_BINDINGS.values(), ids=WRONG_BINDINGS)
async def test_wrong_bindings(api: Api, given: dict[str, Any], said: list[str]):
    refused = await api("POST", BINDINGS, given)
    assert [f"{it['field']}: {it['message']}" for it in refused["details"]["causes"]] == said


async def test_a_changed_policy_holds_at_once(api: Api):
    await bound(api, policy("false"))
    assert (await api("POST", MAPS, config_map())).code == 422
    patch = [{"op": "replace", "path": "/spec/validations/0/expression", "value": "true"}]
    assert (await api("PATCH", f"{POLICIES}/p", patch, JSON_PATCH)).code == 200
    await api.make(MAPS, config_map())
