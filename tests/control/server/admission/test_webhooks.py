"""Admission webhooks: who is asked what, and what becomes of the answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from control.server.remote import services
from control.store.sqlite.store import SqliteStore
from tests.support.control.api_server import running
from tests.support.control.definitions import (
    DEFINITIONS,
    definition,
    is_established,
    until,
    version,
)
from tests.support.control.extension import endpoints
from tests.support.control.requests import (
    APPS,
    CORE,
    JSON_PATCH,
    MERGE,
    Api,
    config_map,
    deployment,
    pod,
)
from tests.support.control.webhook import (
    MUTATING,
    VALIDATING,
    Webhooks,
    deny,
    patching,
    webhook_server,
)

MAPS = f"{CORE}/configmaps"


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[Webhooks]:
    async with webhook_server(tmp_path, ("hook.default.svc",)) as server:
        yield server


def rule(*operations: str, resources: tuple[str, ...] = ("configmaps",), **more: Any) -> dict:
    made = {"operations": list(operations), "apiGroups": [""], "apiVersions": ["v1"]}
    return made | {"resources": list(resources)} | more


async def validating(api: Api, hooks: Webhooks, *given: dict, name: str = "v") -> None:
    await api.make(VALIDATING, hooks.configuration(name, *given))


async def mutating(api: Api, hooks: Webhooks, *given: dict, name: str = "m") -> None:
    await api.make(MUTATING, hooks.configuration(name, *given))


# What a webhook answers, and the refusal.
DENIALS: dict[str, tuple[Any, int, str, str]] = {
    "a message": (deny("not on Mondays"), 400, "", "denied the request: not on Mondays"),
    "a code": (
        deny("no", code=403, reason="Forbidden"),
        403,
        "Forbidden",
        "denied the request: no",
    ),
    "a good code": (deny("no", code=200), 400, "", "denied the request: no"),
    "a reason": (deny("", reason="Conflict"), 400, "Conflict", "denied the request: Conflict"),
    "nothing": (lambda _: {"allowed": False}, 400, "", "denied the request without explanation"),
}


@pytest.mark.parametrize(("answer", "code", "reason", "said"), DENIALS.values(), ids=DENIALS)
async def test_denials(api: Api, hooks: Webhooks, answer: Any, code: int, reason: str, said: str):
    hooks.answers["/deny"] = answer
    await validating(api, hooks, hooks.hook("/deny"))
    refused = await api("POST", MAPS, config_map())
    assert refused["message"] == f'admission webhook "deny.example.com" {said}'
    assert (refused.code, refused.body.get("reason", "")) == (code, reason)
    assert (await api("GET", f"{MAPS}/a")).code == 404


# What a server answers that is no review, and what the refusal says after its name.
FAILURES: dict[str, tuple[Any, str]] = {
    "500": (
        web.Response(body=b"oops", status=500),
        'failed to call webhook: an error on the server ("oops") has prevented the request from'
        " succeeding",
    ),
    "404": (
        web.Response(body=b"", status=404),
        "failed to call webhook: the server could not find the requested resource",
    ),
    "no response": (
        lambda _: {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"},
        "received invalid webhook response: webhook response was absent",
    ),
    "another kind": (
        lambda it: {
            "kind": "Review",
            "apiVersion": "admission.k8s.io/v1",
            "response": {"uid": it["uid"], "allowed": True},
        },
        "received invalid webhook response: expected webhook response of admission.k8s.io/v1,"
        " Kind=AdmissionReview, got admission.k8s.io/v1, Kind=Review",
    ),
    "a patch": (
        patching({"op": "add", "path": "/data/b", "value": "c"}),
        "received invalid webhook response: validating webhook may not return response.patch",
    ),
}


@pytest.mark.parametrize(("answer", "said"), FAILURES.values(), ids=FAILURES)
async def test_failures(api: Api, hooks: Webhooks, answer: Any, said: str):
    hooks.answers["/fail"] = answer
    await validating(api, hooks, hooks.hook("/fail"))
    refused = await api("POST", MAPS, config_map())
    assert (refused.code, refused["reason"]) == (500, "InternalError")
    whole = f'Internal error occurred: failed calling webhook "fail.example.com": {said}'
    assert refused["message"] == whole


async def test_another_uid_is_refused(api: Api, hooks: Webhooks):
    hooks.answers["/uid"] = lambda _: {"uid": "x", "allowed": True}
    await validating(api, hooks, hooks.hook("/uid"))
    refused = await api("POST", MAPS, config_map())
    uid = hooks.asked["/uid"][0]["uid"]
    assert f'expected response.uid="{uid}", got "x"' in refused["message"]


async def test_failures_are_ignored_if_wanted(api: Api, hooks: Webhooks):
    hooks.answers["/fail"] = web.Response(status=500)
    await validating(api, hooks, hooks.hook("/fail", failurePolicy="Ignore"))
    await mutating(api, hooks, hooks.hook("/fail", failurePolicy="Ignore"))
    await api.make(MAPS, config_map())
    assert len(hooks.asked["/fail"]) == 2


async def test_a_slow_webhook_keeps_nobody_else_waiting(api: Api, hooks: Webhooks):
    hooks.answers["/slow"] = "hang"
    await validating(api, hooks, hooks.hook("/slow", timeoutSeconds=1))
    slow = asyncio.create_task(api("POST", MAPS, config_map()))
    await hooks.hangs.wait()
    await api.make(f"{CORE}/secrets", {"metadata": {"name": "s"}})
    assert not slow.done()
    refused = await slow
    assert refused.code == 500 and refused["message"].endswith("context deadline exceeded")


async def test_nobody_listens(api: Api, hooks: Webhooks):
    gone = {"url": "https://127.0.0.1:1/x", "caBundle": hooks.bundle}
    await validating(api, hooks, hooks.hook("/x", clientConfig=gone))
    refused = await api("POST", MAPS, config_map())
    start = 'Internal error occurred: failed calling webhook "x.example.com": failed to call'
    start += ' webhook: Post "https://127.0.0.1:1/x?timeout=10s": '
    assert refused.code == 500 and refused["message"].startswith(start)


async def test_another_authority_is_not_trusted(api: Api, hooks: Webhooks, tmp_path: Path):
    async with webhook_server(tmp_path / "other") as other:
        wrong = {"url": hooks.url, "caBundle": other.bundle}
        await validating(api, hooks, hooks.hook("/x", clientConfig=wrong))
        refused = await api("POST", MAPS, config_map())
    assert refused.code == 500 and "certificate verify failed" in refused["message"]


async def test_the_question(api: Api, hooks: Webhooks):
    await validating(api, hooks, hooks.hook("/ask", rules=[rule("*")]))
    await api.make(f"{MAPS}?fieldManager=me", config_map(a="1"))
    await api("PATCH", f"{MAPS}/a", {"data": {"a": "2"}}, MERGE)
    await api("DELETE", f"{MAPS}/a")
    created, updated, deleted = hooks.asked["/ask"]
    assert created.keys() == {
        *("uid", "kind", "resource", "requestKind", "requestResource", "name", "namespace"),
        *("operation", "userInfo", "object", "oldObject", "dryRun", "options"),
    }
    assert created["kind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert created["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (created["name"], created["namespace"]) == ("a", "default")
    assert (created["operation"], created["oldObject"]) == ("CREATE", None)
    assert created["object"]["metadata"]["managedFields"][0]["manager"] == "me"
    assert created["options"] == {
        "kind": "CreateOptions",
        "apiVersion": "meta.k8s.io/v1",
        "fieldManager": "me",
    }
    assert (updated["object"]["data"], updated["oldObject"]["data"]) == ({"a": "2"}, {"a": "1"})
    assert (updated["operation"], updated["options"]["kind"]) == ("UPDATE", "PatchOptions")
    assert (deleted["object"], deleted["oldObject"]["data"]) == (None, {"a": "2"})
    assert (deleted["operation"], deleted["options"]["kind"]) == ("DELETE", "DeleteOptions")
    assert created["userInfo"]["username"]


async def test_what_a_delete_is_refused(api: Api, hooks: Webhooks):
    await validating(api, hooks, hooks.hook("/keep", rules=[rule("DELETE")]))
    await api.make(MAPS, config_map())
    hooks.answers["/keep"] = deny("stays")
    assert (await api("DELETE", f"{MAPS}/a")).code == 400
    assert (await api("DELETE", MAPS)).code == 400
    assert (await api("GET", f"{MAPS}/a")).code == 200


async def test_subresources_are_asked_about(api: Api, hooks: Webhooks):
    rules = [
        rule("*", resources=("pods/*",)),
        rule("*", resources=("deployments/scale",), apiGroups=["apps"]),
    ]
    await validating(api, hooks, hooks.hook("/sub", rules=rules))
    await api.make(f"{CORE}/pods", pod())
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert (await api("POST", f"{CORE}/pods/p/binding", binding)).code == 201
    status = {"status": {"phase": "Running"}}
    assert (await api("PATCH", f"{CORE}/pods/p/status", status, MERGE)).code == 200
    await api("GET", f"{CORE}/pods/p/exec?command=ls&stdout=true&container=c")
    assert (await api("POST", f"{CORE}/pods/p/eviction", {"metadata": {"name": "p"}})).code == 201
    await api.make(f"{APPS}/deployments", deployment())
    scale = {"spec": {"replicas": 3}}
    assert (await api("PATCH", f"{APPS}/deployments/d/scale", scale, MERGE)).code == 200
    asked = [
        (it["operation"], it["kind"]["kind"], it.get("subResource", ""))
        for it in hooks.asked["/sub"]
    ]
    assert asked == [
        ("CREATE", "Pod", ""),
        ("CREATE", "Binding", "binding"),
        ("UPDATE", "Pod", "status"),
        ("CONNECT", "PodExecOptions", "exec"),
        ("CREATE", "Eviction", "eviction"),
        ("UPDATE", "Scale", "scale"),
    ]
    options = hooks.asked["/sub"][3]["object"]
    assert options == {
        "kind": "PodExecOptions",
        "apiVersion": "v1",
        "stdout": True,
        "container": "c",
        "command": ["ls"],
    }
    scaled = hooks.asked["/sub"][5]
    assert (scaled["object"]["spec"], scaled["oldObject"]["spec"]) == (
        {"replicas": 3},
        {"replicas": 1},
    )


async def test_a_patch_changes_a_new_object(api: Api, hooks: Webhooks):
    hooks.answers["/patch"] = patching(
        {"op": "add", "path": "/metadata/labels", "value": {"by": "hook"}},
        {"op": "add", "path": "/data/b", "value": "2"},
    )
    await mutating(api, hooks, hooks.hook("/patch"))
    made = await api.make(MAPS, config_map(a="1"))
    assert (made["metadata"]["labels"], made["data"]) == ({"by": "hook"}, {"a": "1", "b": "2"})
    fields = made["metadata"]["managedFields"][0]["fieldsV1"]
    assert fields == {"f:data": {".": {}, "f:a": {}}}, "who creates has what the webhook adds"


async def test_an_object_is_valid_only_with_the_patch(api: Api, hooks: Webhooks):
    hooks.answers["/fix"] = patching({"op": "replace", "path": "/data", "value": {"good": ""}})
    await mutating(api, hooks, hooks.hook("/fix"))
    made = await api.make(MAPS, config_map(**{"not good": ""}))
    assert made["data"] == {"good": ""}
    hooks.answers["/fix"] = patching({"op": "replace", "path": "/data", "value": {"not good": ""}})
    assert (await api("POST", MAPS, config_map("b"))).code == 422


async def test_what_a_patch_adds_is_completed(api: Api, hooks: Webhooks):
    side = {"name": "side", "image": "busybox:1"}
    hooks.answers["/side"] = patching({"op": "add", "path": "/spec/containers/-", "value": side})
    await mutating(api, hooks, hooks.hook("/side", rules=[rule("CREATE", resources=("pods",))]))
    made = await api.make(f"{CORE}/pods", pod())
    container = made["spec"]["containers"][1]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["terminationMessagePath"] == "/dev/termination-log"


async def test_a_patch_changes_an_update(api: Api, hooks: Webhooks):
    await api.make(MAPS, config_map(a="1"))
    hooks.answers["/patch"] = patching({"op": "add", "path": "/data/b", "value": "2"})
    await mutating(api, hooks, hooks.hook("/patch"))
    changed = await api("PATCH", f"{MAPS}/a", {"data": {"a": "3"}}, MERGE)
    assert changed["data"] == {"a": "3", "b": "2"}
    hooks.answers["/patch"] = patching({"op": "add", "path": "/metadata/name", "value": "b"})
    assert (await api("PATCH", f"{MAPS}/a", {"data": {"a": "4"}}, MERGE)).code in (400, 422)


async def test_a_patch_changes_a_scale(api: Api, hooks: Webhooks):
    rules = [rule("UPDATE", resources=("deployments/scale",), apiGroups=["apps"])]
    hooks.answers["/most"] = patching({"op": "replace", "path": "/spec/replicas", "value": 2})
    await mutating(api, hooks, hooks.hook("/most", rules=rules))
    await api.make(f"{APPS}/deployments", deployment())
    scale = {"spec": {"replicas": 9}}
    assert (await api("PATCH", f"{APPS}/deployments/d/scale", scale, MERGE)).code == 200
    assert (await api("GET", f"{APPS}/deployments/d"))["spec"]["replicas"] == 2


async def test_webhooks_are_asked_in_the_order_of_names(api: Api, hooks: Webhooks):
    hooks.answers["/one"] = patching({"op": "add", "path": "/data/x", "value": "1"})
    hooks.answers["/two"] = patching({"op": "add", "path": "/data/x", "value": "2"})
    await mutating(api, hooks, hooks.hook("/two"), name="b")
    await mutating(api, hooks, hooks.hook("/one"), hooks.hook("/last"), name="a")
    made = await api.make(MAPS, config_map(a="1"))
    assert hooks.order == ["/one", "/last", "/two"]
    assert made["data"]["x"] == "2"
    assert hooks.asked["/last"][0]["object"]["data"]["x"] == "1"


async def test_a_webhook_is_asked_again_about_a_later_change(api: Api, hooks: Webhooks):
    hooks.answers["/later"] = patching({"op": "add", "path": "/data/x", "value": "1"})
    again = hooks.hook("/again", reinvocationPolicy="IfNeeded")
    await mutating(api, hooks, again, hooks.hook("/later"), hooks.hook("/once"))
    await api.make(MAPS, config_map(a="1"))
    assert hooks.order == ["/again", "/later", "/once", "/again"]
    assert hooks.asked["/again"][1]["object"]["data"]["x"] == "1"


async def test_a_patch_of_nothing_is_refused(api: Api, hooks: Webhooks):
    await api.make(MAPS, config_map())
    hooks.answers["/del"] = patching({"op": "add", "path": "/x", "value": "1"})
    await mutating(api, hooks, hooks.hook("/del", rules=[rule("DELETE")]))
    refused = await api("DELETE", f"{MAPS}/a")
    why = 'admission webhook "del.example.com" attempted to modify the object, which is not'
    assert refused.code == 500 and why in refused["message"]


async def test_warnings_and_annotations(api: Api, hooks: Webhooks):
    hooks.answers["/warn"] = lambda _: {
        "allowed": True,
        "warnings": ["mind the gap"],
        "auditAnnotations": {"key": "value"},
    }
    await validating(api, hooks, hooks.hook("/warn"))
    made = await api("POST", MAPS, config_map())
    assert (made.code, made.warnings) == (201, ('299 - "mind the gap"',))
    hooks.answers["/warn"] = lambda _: {"allowed": False, "warnings": ["last warning"]}
    refused = await api("POST", MAPS, config_map("b"))
    assert (refused.code, refused.warnings) == (400, ('299 - "last warning"',))


async def test_a_dry_run(api: Api, hooks: Webhooks):
    await validating(api, hooks, hooks.hook("/dry", sideEffects="NoneOnDryRun"))
    assert (await api("POST", f"{MAPS}?dryRun=All", config_map())).code == 201
    assert hooks.asked["/dry"][0]["dryRun"] is True
    assert hooks.asked["/dry"][0]["options"]["dryRun"] == ["All"]


# What a webhook matches, and whether it is asked about a ConfigMap with the label a=b in default.
MATCHES: dict[str, tuple[dict[str, Any], bool]] = {
    "all": ({"rules": [rule("*", resources=("*",), apiGroups=["*"], apiVersions=["*"])]}, True),
    "every subresource": ({"rules": [rule("*", resources=("*/*",))]}, True),
    "another operation": ({"rules": [rule("DELETE")]}, False),
    "another group": ({"rules": [rule("CREATE", apiGroups=["apps"])]}, False),
    "another version": ({"rules": [rule("CREATE", apiVersions=["v2"])]}, False),
    "another resource": ({"rules": [rule("CREATE", resources=("secrets",))]}, False),
    "a subresource": ({"rules": [rule("CREATE", resources=("configmaps/status",))]}, False),
    "namespaced": ({"rules": [rule("CREATE", scope="Namespaced")]}, True),
    "of the cluster": ({"rules": [rule("CREATE", scope="Cluster")]}, False),
    "the label": ({"objectSelector": {"matchLabels": {"a": "b"}}}, True),
    "another label": ({"objectSelector": {"matchLabels": {"a": "c"}}}, False),
    "the namespace": (
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}},
        True,
    ),
    "another namespace": ({"namespaceSelector": {"matchLabels": {"team": "x"}}}, False),
    "a condition": (
        {"matchConditions": [{"name": "a", "expression": "object.data.a == '1'"}]},
        True,
    ),
    "a false condition": (
        {
            "matchConditions": [
                {"name": "a", "expression": "object.data.missing == '1'"},
                {"name": "b", "expression": "request.operation != 'CREATE'"},
            ]
        },
        False,
    ),
    "what the user may do": (
        {
            "matchConditions": [
                {
                    "name": "a",
                    "expression": "authorizer.group('').resource('pods').check('get').allowed()"
                    " && authorizer.requestResource.check('create').allowed()",
                }
            ]
        },
        True,
    ),
    "the namespace's own name": (
        {"matchConditions": [{"name": "a", "expression": "request.namespace == 'default'"}]},
        True,
    ),
}


@pytest.mark.parametrize(("given", "asked"), MATCHES.values(), ids=MATCHES)
async def test_matches(api: Api, hooks: Webhooks, given: dict[str, Any], asked: bool):
    await validating(api, hooks, hooks.hook("/match", **given))
    labeled = config_map(a="1") | {"metadata": {"name": "a", "labels": {"a": "b"}}}
    await api.make(MAPS, labeled)
    assert bool(hooks.asked.get("/match")) is asked


async def test_a_condition_that_fails(api: Api, hooks: Webhooks):
    wrong = [{"name": "a", "expression": "object.data.missing == '1'"}]
    await validating(api, hooks, hooks.hook("/a", matchConditions=wrong))
    refused = await api("POST", MAPS, config_map(a="1"))
    why = "expression 'object.data.missing == '1'' resulted in error: no such key: missing"
    assert (refused.code, refused["message"]) == (403, f'configmaps "a" is forbidden: {why}')
    assert not hooks.asked


async def test_configurations_are_never_asked_about(api: Api, hooks: Webhooks):
    every = rule("*", resources=("*/*",), apiGroups=["*"], apiVersions=["*"])
    hooks.answers["/all"] = deny("nothing at all")
    await validating(api, hooks, hooks.hook("/all", rules=[every]))
    assert (await api("POST", MAPS, config_map())).code == 400
    assert (await api("DELETE", f"{VALIDATING}/v")).code == 200
    await api.make(MAPS, config_map())


async def test_a_webhook_behind_a_service(
    api: Api, hooks: Webhooks, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(services, "is_allowed", lambda _: True)
    client = {"service": {"namespace": "default", "name": "hook", "path": "/svc"}}
    hook = hooks.hook("/svc", clientConfig=client | {"caBundle": hooks.bundle})
    await validating(api, hooks, hook)
    refused = await api("POST", MAPS, config_map())
    start = 'failed to call webhook: Post "https://hook.default.svc:443/svc?timeout=10s":'
    assert f'{start} service "hook" not found' in refused["message"]
    service = {"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]}}
    await api.make(f"{CORE}/services", service)
    await endpoints(api.state, hooks.port, "hook")
    await api.make(MAPS, config_map())
    assert len(hooks.asked["/svc"]) == 1


@pytest.mark.parametrize(("policy", "asked"), [("Equivalent", 1), ("Exact", 0)])
async def test_other_versions_match(api: Api, hooks: Webhooks, policy: str, asked: int):
    old = version("v1beta1", storage=False)
    await api.make(DEFINITIONS, definition(version(), old))
    await until(api, f"{DEFINITIONS}/crontabs.example.com", is_established)
    tabs = rule("*", resources=("crontabs",), apiGroups=["example.com"])
    hooks.answers["/v1"] = patching({"op": "add", "path": "/spec/image", "value": "patched"})
    hook = hooks.hook("/v1", rules=[tabs], matchPolicy=policy)
    await mutating(api, hooks, hook)
    tab = {
        "apiVersion": "example.com/v1beta1",
        "kind": "CronTab",
        "metadata": {"name": "a"},
        "spec": {"cronSpec": "* * * * *"},
    }
    made = await api.make("/apis/example.com/v1beta1/namespaces/default/crontabs", tab)
    assert made["apiVersion"] == "example.com/v1beta1"
    assert len(hooks.asked.get("/v1", [])) == asked
    if asked:
        question = hooks.asked["/v1"][0]
        assert question["object"]["apiVersion"] == "example.com/v1"
        assert question["kind"]["version"] == "v1"
        assert question["requestKind"]["version"] == "v1beta1"
        assert made["spec"]["image"] == "patched"


# A wrong webhook, and the errors of its configuration.
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a short name": (
        {"name": "a.b"},
        [
            'webhooks[0].name: Invalid value: "a.b": should be a domain with at least three'
            " segments separated by dots"
        ],
    ),
    "side effects": (
        {"sideEffects": "Some"},
        [
            'webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None",'
            ' "NoneOnDryRun"'
        ],
    ),
    "no side effects": (
        {"sideEffects": None},
        ["webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"],
    ),
    "a time": (
        {"timeoutSeconds": 31},
        [
            "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1"
            " and 30 seconds"
        ],
    ),
    "no versions": (
        {"admissionReviewVersions": []},
        ["webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1"],
    ),
    "unknown versions": (
        {"admissionReviewVersions": ["v9"]},
        [
            'webhooks[0].admissionReviewVersions: Invalid value: ["v9"]: must include at least one'
            " of v1, v1beta1"
        ],
    ),
    "two addresses": (
        {"clientConfig": {"url": "https://a/", "service": {"name": "a", "namespace": "b"}}},
        ["webhooks[0].clientConfig: Required value: exactly one of url or service is required"],
    ),
    "an address": (
        {"clientConfig": {"url": "http://u@/x?a=b#c"}},
        [
            "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL"
            " scheme; desired format: https://host[/path]",
            'webhooks[0].clientConfig.url: Invalid value: "": host must be specified; desired'
            " format: https://host[/path]",
            'webhooks[0].clientConfig.url: Invalid value: "u": user information is not permitted in'
            " the URL",
            'webhooks[0].clientConfig.url: Invalid value: "c": fragments are not permitted in the'
            " URL",
            'webhooks[0].clientConfig.url: Invalid value: "a=b": query parameters are not permitted'
            " in the URL",
        ],
    ),
    "a rule": (
        {"rules": [rule("*", "NOTHING", resources=("*", "pods", "*/x", "a/x"), scope="x")]},
        [
            'webhooks[0].rules[0].operations: Invalid value: ["*","NOTHING"]: if \'*\' is present,'
            " must not specify other operations",
            'webhooks[0].rules[0].operations[1]: Unsupported value: "NOTHING": supported values:'
            ' "*", "CONNECT", "CREATE", "DELETE", "UPDATE"',
            "webhooks[0].rules[0].resources[3]: Invalid value: \"a/x\": if '*/x' is present, must"
            " not specify a/x",
            'webhooks[0].rules[0].resources: Invalid value: ["*","pods","*/x","a/x"]: if \'*\' is'
            " present, must not specify other resources without subresources",
            'webhooks[0].rules[0].scope: Unsupported value: "x": supported values: "*", "Cluster",'
            ' "Namespaced"',
        ],
    ),
    "a condition": (
        {"matchConditions": [{"name": "a", "expression": "object.data +"}]},
        [
            'webhooks[0].matchConditions[0].expression: Invalid value: "object.data +": compilation'
            " failed: ERROR: <input>:1:14: Syntax error: mismatched input '<EOF>' expecting {'[',"
            " '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT,"
            " STRING, BYTES, IDENTIFIER}\n | object.data +\n | .............^"
        ],
    ),
    "no URL": (
        {"clientConfig": {"url": ":"}},
        [
            'webhooks[0].clientConfig.url: Required value: url must be a valid URL: parse ":":'
            " missing protocol scheme; desired format: https://host[/path]"
        ],
    ),
    "conditions of no condition": (
        {"matchConditions": [{"name": "a", "expression": "1"}, {"name": "a", "expression": ""}]},
        [
            'webhooks[0].matchConditions[0].expression: Invalid value: "1": must evaluate to bool'
            " but got int",
            "webhooks[0].matchConditions[1].expression: Required value",
            'webhooks[0].matchConditions[1].name: Duplicate value: "a"',
        ],
    ),
}


@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
async def test_wrong_webhooks(api: Api, hooks: Webhooks, given: dict[str, Any], said: list[str]):
    hook = {key: it for key, it in hooks.hook("/x", **given).items() if it is not None}
    refused = await api("POST", VALIDATING, hooks.configuration("a", hook))
    causes = [f"{it['field']}: {it['message']}" for it in refused["details"]["causes"]]
    assert causes == said


async def test_a_validating_webhook_has_no_reinvocation(api: Api, hooks: Webhooks):
    hook = hooks.hook("/x", reinvocationPolicy="x")
    made = await api("POST", f"{VALIDATING}?dryRun=All", hooks.configuration("a", hook))
    assert made.code == 201, "a field of another kind is unknown here, and no more"
    refused = await api("POST", MUTATING, hooks.configuration("a", hook))
    assert (refused.code, len(refused["details"]["causes"])) == (422, 1)


async def test_defaults(api: Api, hooks: Webhooks):
    made = await api.make(MUTATING, hooks.configuration("a", hooks.hook("/x")))
    hook = made["webhooks"][0]
    chosen = {"failurePolicy", "matchPolicy", "timeoutSeconds", "reinvocationPolicy"}
    assert {name: hook[name] for name in chosen} == {
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "timeoutSeconds": 10,
        "reinvocationPolicy": "Never",
    }
    refused = await api("PATCH", f"{MUTATING}/a", [_replace("/webhooks/0/name", "a")], JSON_PATCH)
    assert refused.code == 422


def _replace(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def raw(body: bytes) -> web.Response:
    return web.Response(body=body)


DEEP = b'{"response": ' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"}"
# Answers that no webhook gives which means well, and what the client reads.
HOSTILE: dict[str, tuple[Any, int, str]] = {
    "no JSON": (raw(b"\xff\xfe"), 500, "couldn't decode the answer"),
    "nothing": (raw(b""), 500, "couldn't decode the answer"),
    "a list": (raw(b"[]"), 500, "it is no object"),
    "deep": (raw(DEEP), 500, "received invalid webhook response"),
    "large": (raw(b" " * (9 * 1024 * 1024)), 500, "its answer has more than 8388608 bytes"),
    "many values": (
        raw(b'{"response": [' + b"[]," * 600_000 + b"1]}"),
        500,
        "its answer has more than 500000 values",
    ),
    "a text that allows": (lambda _: {"allowed": "true"}, 400, "without explanation"),
    "a strange status": (
        lambda _: {"allowed": False, "status": {"code": "x", "reason": [], "details": "y"}},
        400,
        "denied the request",
    ),
    "strange details": (
        deny("no", details={"causes": "x", "retryAfterSeconds": "soon"}),
        400,
        "denied the request: no",
    ),
    "a status of 599": (deny("no", code=10**9), 400, "denied the request: no"),
    "a message of another type": (deny({"a": 1}), 400, "denied the request"),  # type: ignore[arg-type]
    "no base64": (
        lambda _: {"allowed": True, "patchType": "JSONPatch", "patch": "%%"},
        500,
        "undecodable patch",
    ),
    "another patch type": (
        lambda _: {"allowed": True, "patchType": "Merge", "patch": "W10="},
        500,
        'unsupported patch type "Merge"',
    ),
    "an operation that fails": (patching({"op": "remove", "path": "/nothing"}), 500, "nothing"),
    "no metadata": (patching({"op": "replace", "path": "/metadata", "value": "x"}), 500, "object"),
    "metadata that is gone": (patching({"op": "remove", "path": "/metadata"}), 400, "name"),
    "labels that are none": (
        patching({"op": "add", "path": "/metadata/labels", "value": [1]}),
        500,
        "metadata.labels is no object",
    ),
    "another namespace": (
        patching({"op": "replace", "path": "/metadata/namespace", "value": "other"}),
        400,
        "the namespace of the provided object does not match",
    ),
    "an apiVersion that is none": (
        raw(b'{"apiVersion": 5, "kind": {}, "response": {}}'),
        500,
        "expected response.uid",
    ),
    "a review of another type": (
        lambda it: {"apiVersion": 5, "kind": {"a": 1}, "response": {"uid": it["uid"]}},
        500,
        "expected webhook response of admission.k8s.io/v1",
    ),
    "another kind": (patching({"op": "replace", "path": "/kind", "value": "Pod"}), 400, "Pod"),
    "another name": (patching({"op": "replace", "path": "/metadata/name", "value": "b"}), 400, "b"),
    "a wrong type": (patching({"op": "replace", "path": "/data", "value": [1]}), 400, "data"),
    "wrong managers": (
        patching({"op": "replace", "path": "/metadata/managedFields", "value": "x"}),
        400,
        "managedFields",
    ),
}


@pytest.mark.parametrize(("answer", "code", "said"), HOSTILE.values(), ids=HOSTILE)
async def test_hostile_answers(api: Api, hooks: Webhooks, answer: Any, code: int, said: str):
    hooks.answers["/hostile"] = answer
    await mutating(api, hooks, hooks.hook("/hostile"))
    refused = await api("POST", MAPS, config_map(a="1"))
    assert refused.code == (code or refused.code) and refused.code >= 400
    assert said in refused["message"]
    assert "see the API server's log" not in refused["message"]
    assert (await api("GET", f"{MAPS}/a")).code == 404


async def test_hostile_patches_of_an_update(api: Api, hooks: Webhooks):
    """A later webhook, and its selectors, see only objects that have a head."""
    await api.make(MAPS, config_map())
    later = hooks.hook("/later", objectSelector={"matchLabels": {"a": "b"}})
    await mutating(api, hooks, hooks.hook("/hostile"), later)
    change = {"data": {"b": "c"}}
    for path, value in (("", {}), ("", []), ("/metadata", []), ("/metadata/labels", "x")):
        hooks.answers["/hostile"] = patching({"op": "add", "path": path, "value": value})
        refused = await api("PATCH", f"{MAPS}/a", change, MERGE)
        assert refused.code >= 400 and "see the API server's log" not in refused["message"]
    hooks.answers["/hostile"] = patching({"op": "remove", "path": "/kind"})
    assert (await api("PATCH", f"{MAPS}/a", change, MERGE)).code == 200


async def test_a_large_object_is_asked_about(api: Api, hooks: Webhooks):
    """Both objects of an update together have more than 2 MB."""
    await validating(api, hooks, hooks.hook("/large", timeoutSeconds=30))
    await api.make(MAPS, config_map(b="x" * 1_000_000))
    changed = await api("PATCH", f"{MAPS}/a", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    assert changed.code == 200
    assert len(hooks.asked["/large"][1]["oldObject"]["data"]["b"]) == 1_000_000


async def test_the_servers_own_metadata_of_a_new_object_stays(api: Api, hooks: Webhooks):
    given = {"uid": "abc", "deletionTimestamp": "2020-01-01T00:00:00Z", "generation": 7}
    hooks.answers["/own"] = patching(
        *({"op": "add", "path": f"/metadata/{name}", "value": it} for name, it in given.items())
    )
    await mutating(api, hooks, hooks.hook("/own"))
    metadata = (await api.make(MAPS, config_map()))["metadata"]
    assert metadata["uid"] != "abc" and not {"deletionTimestamp", "generation"} & metadata.keys()


async def test_hostile_warnings(api: Api, hooks: Webhooks):
    hooks.answers["/warn"] = lambda _: {
        "allowed": True,
        "warnings": ["a\r\nSet-Cookie: b", "x" * 100_000, 7],
        "auditAnnotations": {"a": 1},
    }
    await validating(api, hooks, hooks.hook("/warn"))
    made = await api("POST", MAPS, config_map())
    assert made.code == 201 and len(made.warnings) == 2
    hooks.answers["/warn"] = lambda _: {"allowed": True, "warnings": 5}
    assert (await api("POST", MAPS, config_map("b"))).code == 201
    assert sum(map(len, made.warnings)) < 5000


async def test_a_redirect_is_not_followed(api: Api, hooks: Webhooks):
    hooks.answers["/away"] = web.Response(status=302, headers={"Location": hooks.url})
    await validating(api, hooks, hooks.hook("/away"))
    refused = await api("POST", MAPS, config_map())
    assert refused.code == 500 and "an error on the server" in refused["message"]


@asynccontextmanager
async def stored_server(path: Path) -> AsyncIterator[Api]:
    async with (
        running(await SqliteStore.open(path)) as server,
        aiohttp.ClientSession(server.url) as session,
    ):
        yield Api(session, server.state)


async def test_a_server_starts_beside_a_webhook_that_is_down(tmp_path: Path):
    """Else nobody could remove the webhook's configuration again."""
    down = Webhooks(url="https://127.0.0.1:1")
    everything = {"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"]}
    hook = down.hook("/down", rules=[everything | {"resources": ["*/*"]}])
    async with stored_server(tmp_path / "store.db") as api:
        for path in (MUTATING, VALIDATING):
            await api.make(path, down.configuration("down", hook))
    async with stored_server(tmp_path / "store.db") as api:
        assert (await api("POST", MAPS, config_map())).code == 500
        for path in (MUTATING, VALIDATING):
            assert (await api("DELETE", f"{path}/down")).code == 200
        assert (await api("POST", MAPS, config_map())).code == 201
