"""MutatingAdmissionPolicies: what they make of objects, and what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.control.definitions import established
from tests.support.control.policies import CONFIG_MAPS
from tests.support.control.requests import APPS, CORE, MERGE, Api, config_map, deployment, pod
from tests.support.control.webhook import ADMISSION, MUTATING, patching, webhook_server

POLICIES = f"{ADMISSION}/mutatingadmissionpolicies"
BINDINGS = f"{ADMISSION}/mutatingadmissionpolicybindings"
MAPS = f"{CORE}/configmaps"
Wire = dict[str, Any]


def applying(expression: str) -> Wire:
    configuration = {"expression": expression}
    return {"patchType": "ApplyConfiguration", "applyConfiguration": configuration}


def patch(expression: str) -> Wire:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def policy(*mutations: Wire, name: str = "p", rule: Wire | None = None, **spec: Any) -> Wire:
    given = {
        "matchConstraints": {"resourceRules": [rule or CONFIG_MAPS]},
        "mutations": list(mutations),
        "reinvocationPolicy": "Never",
    }
    return {"metadata": {"name": name}, "spec": given | spec}


def binding(name: str = "b", policy_name: str = "p", **spec: Any) -> Wire:
    return {"metadata": {"name": name}, "spec": {"policyName": policy_name} | spec}


def resources(name: str, group: str = "") -> Wire:
    return CONFIG_MAPS | {"resources": [name], "apiGroups": [group]}


async def bound(api: Api, *policies: Wire) -> None:
    for each in policies:
        name = each["metadata"]["name"]
        await api.make(POLICIES, each)
        await api.make(BINDINGS, binding(f"b-{name}", name))


# Mutations of the ConfigMap {a: "1"} with the label app=x: its labels and data afterwards.
CHANGES: dict[str, tuple[Wire, Wire, Wire]] = {
    "a label": (
        policy(applying("Object{metadata: Object.metadata{labels: {'by': 'policy'}}}")),
        {"app": "x", "by": "policy"},
        {"a": "1"},
    ),
    "data of the object": (
        policy(applying("Object{data: {'b': object.data.a + '2'}}")),
        {"app": "x"},
        {"a": "1", "b": "12"},
    ),
    "two mutations": (
        policy(
            applying("Object{data: {'b': '2'}}"),
            patch("[JSONPatch{op: 'add', path: '/data/c', value: object.data.b + '3'}]"),
        ),
        {"app": "x"},
        {"a": "1", "b": "2", "c": "23"},
    ),
    "operations": (
        policy(
            patch(
                "[JSONPatch{op: 'remove', path: '/data/a'},"
                " JSONPatch{op: 'copy', from: '/metadata/labels/app', path: '/data/app'}]"
            )
        ),
        {"app": "x"},
        {"app": "x"},
    ),
    "an escaped key": (
        policy(
            patch(
                "[JSONPatch{op: 'add', path: '/metadata/labels/'"
                " + jsonpatch.escapeKey('example.com/by'), value: 'me'}]"
            )
        ),
        {"app": "x", "example.com/by": "me"},
        {"a": "1"},
    ),
    "no operation": (
        policy(patch("object.data.size() > 5 ? [JSONPatch{op: 'remove', path: '/data'}] : []")),
        {"app": "x"},
        {"a": "1"},
    ),
    "a test that fails": (
        policy(
            patch(
                "[JSONPatch{op: 'test', path: '/data/a', value: '2'},"
                " JSONPatch{op: 'remove', path: '/data/a'}]"
            )
        ),
        {"app": "x"},
        {"a": "1"},
    ),
    "variables": (
        policy(
            applying("Object{data: {'n': variables.n}}"),
            variables=[{"name": "n", "expression": "string(object.data.size())"}],
        ),
        {"app": "x"},
        {"a": "1", "n": "1"},
    ),
    "a condition that does not hold": (
        policy(
            applying("Object{data: {'b': '2'}}"),
            matchConditions=[{"name": "a", "expression": "object.data.a == '2'"}],
        ),
        {"app": "x"},
        {"a": "1"},
    ),
    "an optional field": (
        policy(applying("Object{?data: optional.none()}")),
        {"app": "x"},
        {"a": "1"},
    ),
    "an ignored error": (
        policy(applying("Object{data: {'b': object.data.missing}}"), failurePolicy="Ignore"),
        {"app": "x"},
        {"a": "1"},
    ),
}


@pytest.mark.parametrize(("given", "labels", "data"), CHANGES.values(), ids=CHANGES)
async def test_changes(api: Api, given: Wire, labels: Wire, data: Wire):
    await bound(api, given)
    made = await api.make(
        MAPS, config_map(a="1") | {"metadata": {"name": "a", "labels": {"app": "x"}}}
    )
    assert (made["metadata"]["labels"], made["data"]) == (labels, data)


# What a mutation gets wrong when it is computed.
FAILURES: dict[str, tuple[Wire, str]] = {
    "a missing key": (
        applying("Object{data: {'b': object.data.missing}}"),
        "expression 'Object{data: {'b': object.data.missing}}' resulted in error: no such key:"
        " missing",
    ),
    "a name that is not its place": (
        applying("Object{metadata: Object.spec{}}"),
        'type mismatch: unexpected type name "Object.spec", expected "Object.metadata", which'
        " matches field name path from root Object type",
    ),
    "an unknown field": (
        applying("Object{dat: {'b': '2'}}"),
        "error applying patch: failed to convert patch object to typed object: .dat: field not"
        " declared in schema",
    ),
    "a wrong type": (
        applying("Object{data: {'b': 2}}"),
        "error applying patch: failed to convert patch object to typed object: .data.b: expected"
        " string, got &value.valueUnstructured{Value:2}",
    ),
    "an operation": (
        patch("[JSONPatch{op: 'remove', path: '/nothing'}]"),
        "JSON Patch:",
    ),
    "no metadata": (
        patch("[JSONPatch{op: 'replace', path: '/metadata', value: 'x'}]"),
        "JSONPatch: metadata is no object",
    ),
}


@pytest.mark.parametrize(("given", "why"), FAILURES.values(), ids=FAILURES)
async def test_failures(api: Api, given: Wire, why: str):
    await bound(api, policy(given))
    refused = await api("POST", MAPS, config_map(a="1"))
    assert (refused.code, refused["reason"]) == (403, "Invalid")
    start = "policy 'p' with binding 'b-p' denied request: "
    assert refused["message"].startswith(start + why), refused["message"]


async def test_atomic_lists_are_not_replaced(api: Api):
    command = "Object.spec.containers{name: 'c', command: ['x']}"
    apply = applying(f"Object{{spec: Object.spec{{containers: [{command}]}}}}")
    await bound(api, policy(apply, rule=resources("pods")))
    refused = await api("POST", f"{CORE}/pods", pod())
    why = "may not mutate atomic arrays, maps or structs: .spec.containers[0].command"
    assert why in refused["message"]


async def test_a_sidecar_is_completed(api: Api):
    side = "Object.spec.initContainers{name: 'side', image: 'busybox:1', restartPolicy: 'Always'}"
    apply = applying(f"Object{{spec: Object.spec{{initContainers: [{side}]}}}}")
    await bound(api, policy(apply, rule=resources("pods")))
    made = await api.make(f"{CORE}/pods", pod())
    (container,) = made["spec"]["initContainers"]
    assert (container["name"], container["imagePullPolicy"]) == ("side", "IfNotPresent")
    assert made["spec"]["containers"][0]["name"] == "c"


async def test_an_update_and_parameters(api: Api):
    await api.make(MAPS, config_map("most", most="3"))
    least = "object.spec.replicas > int(params.data.most) ? int(params.data.most)"
    apply = applying(f"Object{{spec: Object.spec{{replicas: {least} : object.spec.replicas}}}}")
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    await api.make(POLICIES, policy(apply, rule=resources("deployments", "apps"), paramKind=kind))
    ref = {"name": "most", "parameterNotFoundAction": "Deny"}
    await api.make(BINDINGS, binding(paramRef=ref))
    made = await api.make(f"{APPS}/deployments", deployment(replicas=9))
    assert made["spec"]["replicas"] == 3
    at = f"{APPS}/deployments/d"
    assert (await api("PATCH", at, {"spec": {"replicas": 7}}, MERGE))["spec"]["replicas"] == 3
    assert (await api("PATCH", at, {"spec": {"replicas": 2}}, MERGE))["spec"]["replicas"] == 2


async def test_a_custom_kind(api: Api):
    await established(api)
    apply = applying("Object{spec: Object.spec{image: 'policy'}}")
    await bound(api, policy(apply, rule=resources("crontabs", "example.com")))
    tab = {"metadata": {"name": "a"}, "spec": {"cronSpec": "* * * * *"}}
    made = await api.make("/apis/example.com/v1/namespaces/default/crontabs", tab)
    assert made["spec"]["image"] == "policy"


async def test_a_policy_sees_what_a_webhook_changes(api: Api, tmp_path: Path):
    count = applying("Object{data: {'n': string(object.data.size())}}")
    once = applying("Object{data: {'once': string(object.data.size())}}")
    await bound(
        api,
        policy(count, name="p", reinvocationPolicy="IfNeeded"),
        policy(once, name="q"),
    )
    async with webhook_server(tmp_path) as hooks:
        hooks.answers["/hook"] = patching({"op": "add", "path": "/data/hook", "value": "1"})
        await api.make(MUTATING, hooks.configuration("a", hooks.hook("/hook")))
        made = await api.make(MAPS, config_map(a="1"))
    assert made["data"] == {"a": "1", "n": "4", "once": "2", "hook": "1"}


WRONG: dict[str, tuple[Wire, list[str]]] = {
    "nothing": (
        {"metadata": {"name": "p"}, "spec": {}},
        [
            "spec.matchConstraints: Required value",
            "spec.mutations: Required value: mutations must contain at least one item",
            "spec.reinvocationPolicy: Required value",
        ],
    ),
    "patch types": (
        policy({"patchType": ""}, {"patchType": "x"}, {"patchType": "JSONPatch"}),
        [
            "spec.mutations[0].patchType: Required value",
            'spec.mutations[1].patchType: Unsupported value: "x": supported values:'
            ' "ApplyConfiguration", "JSONPatch"',
            "spec.mutations[2].jsonPatch: Required value: must be specified when patchType is"
            " JSONPatch",
        ],
    ),
    "both": (
        policy(
            patch("[JSONPatch{op: 'remove', path: '/a'}]")
            | {"applyConfiguration": {"expression": "Object{}"}}
        ),
        [
            'spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not'
            " be specified when patchType is JSONPatch"
        ],
    ),
    "another type": (
        policy(applying("Object.spec{}")),
        [
            'spec.mutations[0].applyConfiguration.expression: Invalid value: "Object.spec{}": must'
            " evaluate to Object but got Object.spec"
        ],
    ),
    "what is deleted": (
        {
            "metadata": {"name": "p"},
            "spec": policy(patch("[JSONPatch{op: 'remove', path: '/a'}]"))["spec"]
            | {
                "matchConstraints": {
                    "resourceRules": [
                        {
                            "operations": ["DELETE"],
                            "apiGroups": [""],
                            "apiVersions": ["v1"],
                            "resources": ["pods"],
                        }
                    ]
                }
            },
        },
        [
            'spec.matchConstraints.resourceRules.operations: Unsupported value: "DELETE":'
            ' supported values: "*", "CONNECT", "CREATE", "UPDATE"'
        ],
    ),
    "operations of any type": (
        policy(patch("[]")),
        [
            'spec.mutations[0].jsonPatch.expression: Invalid value: "[]": must evaluate to'
            " list(JSONPatch) but got list(dyn)"
        ],
    ),
    "an unknown object": (
        policy(patch("[JSONPatch{operation: 'add'}]")),
        [
            "spec.mutations[0].jsonPatch.expression: Invalid value:"
            " \"[JSONPatch{operation: 'add'}]\": compilation failed: ERROR: <input>:1:21: undefined"
            " field 'operation'\n | [JSONPatch{operation: 'add'}]\n | ....................^"
        ],
    ),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
async def test_wrong_policies(api: Api, given: Wire, said: list[str]):
    refused = await api("POST", POLICIES, given)
    assert [f"{it['field']}: {it['message']}" for it in refused["details"]["causes"]] == said
