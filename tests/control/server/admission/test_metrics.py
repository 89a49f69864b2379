"""What is counted of webhooks and policies, with upstream's names and labels."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.support.control.policies import BINDINGS, CONFIG_MAPS, POLICIES, binding, policy
from tests.support.control.requests import CORE, Api, config_map
from tests.support.control.webhook import (
    ADMISSION,
    MUTATING,
    VALIDATING,
    Webhooks,
    deny,
    patching,
    webhook_server,
)

MAPS = f"{CORE}/configmaps"
ROOT = "apiserver_admission_"


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[Webhooks]:
    async with webhook_server(tmp_path) as server:
        yield server


def counted(api: Api, metric: str, /, **labels: str) -> float:
    """Return the number of a metric with these labels, and no other ones; 0 if it has none."""
    for line in api.state.metrics.text().splitlines():
        head, _, value = line.rpartition(" ")
        if head.startswith(f"{metric}{{"):
            pairs = [pair.split("=") for pair in head[len(metric) + 1 : -1].split(",")]
            if {key: text.strip('"') for key, text in pairs} == labels:
                return float(value)
    return 0.0


ENDS: dict[str, tuple[Any, int, str]] = {
    "allowed": (lambda _: {"allowed": True}, 200, ""),
    "denied": (deny("no", code=403), 403, "no_error"),
    "no answer": (web.Response(body=b"oops", status=500), 500, "calling_webhook_error"),
    "no review": (lambda _: {"kind": "x"}, 503, "calling_webhook_error"),
}


@pytest.mark.parametrize(("answer", "code", "wrong"), ENDS.values(), ids=ENDS)
async def test_calls_of_validating_webhooks(
    api: Api, hooks: Webhooks, answer: Any, code: int, wrong: str
):
    hooks.answers["/v"] = answer
    await api.make(VALIDATING, hooks.configuration("v", hooks.hook("/v")))
    await api("POST", MAPS, config_map())
    hook = {"name": "v.example.com", "type": "validating", "operation": "CREATE"}
    rejected = "true" if wrong else "false"
    calls = {"code": str(code), "rejected": rejected}
    assert counted(api, f"{ROOT}webhook_request_total", **hook, **calls) == 1
    duration = f"{ROOT}webhook_admission_duration_seconds_count"
    assert counted(api, duration, **hook, rejected=rejected) == 1
    if wrong:
        why = {"error_type": wrong, "rejection_code": str(code)}
        assert counted(api, f"{ROOT}webhook_rejection_count", **hook, **why) == 1
    plugin = {"name": "ValidatingAdmissionWebhook", "type": "validate", "operation": "CREATE"}
    duration = f"{ROOT}controller_admission_duration_seconds_count"
    assert counted(api, duration, **plugin, rejected=rejected) == 1
    step = {"type": "validate", "operation": "CREATE", "rejected": rejected}
    assert counted(api, f"{ROOT}step_admission_duration_seconds_count", **step) == 1


async def test_a_failure_that_is_ignored(api: Api, hooks: Webhooks):
    hooks.answers["/m"] = web.Response(body=b"", status=404)
    given = hooks.hook("/m", failurePolicy="Ignore")
    await api.make(MUTATING, hooks.configuration("m", given))
    assert (await api("POST", MAPS, config_map())).code == 201
    name = {"name": "m.example.com", "type": "admit"}
    assert counted(api, f"{ROOT}webhook_fail_open_count", **name) == 1
    call = {"operation": "CREATE", "code": "404", "rejected": "false"}
    assert counted(api, f"{ROOT}webhook_request_total", **name, **call) == 1
    assert f"{ROOT}webhook_rejection_count{{" not in api.state.metrics.text()


async def test_a_patch_that_cannot_be_applied_is_an_error_of_the_server(api: Api, hooks: Webhooks):
    hooks.answers["/m"] = patching({"op": "remove", "path": "/data/missing"})
    await api.make(MUTATING, hooks.configuration("m", hooks.hook("/m")))
    assert (await api("POST", MAPS, config_map())).code == 500
    hook = {"name": "m.example.com", "type": "admit", "operation": "CREATE"}
    why = {"error_type": "apiserver_internal_error", "rejection_code": "0"}
    assert counted(api, f"{ROOT}webhook_rejection_count", **hook, **why) == 1


@pytest.mark.parametrize(
    ("given", "actions", "wrong", "shown"),
    [
        (policy("true"), ["Deny"], "", []),
        (policy("false"), ["Deny"], "invalid_error", ["deny"]),
        (policy("false"), ["Warn", "Audit"], "invalid_error", ["warn", "audit"]),
        (policy("object.data.missing == '1'"), ["Deny"], "invalid_error", ["deny"]),
        (
            policy("object.data.missing == '1'", failurePolicy="Ignore"),
            ["Deny"],
            "invalid_error",
            ["allow"],
        ),
    ],
)
async def test_checks_of_validating_policies(
    api: Api, given: dict[str, Any], actions: list[str], wrong: str, shown: list[str]
):
    await api.make(POLICIES, given)
    bound = binding()
    bound["spec"]["validationActions"] = actions
    await api.make(BINDINGS, bound)
    await api("POST", MAPS, config_map(a="1"))
    root = "apiserver_validating_admission_policy_check"
    labels = {"policy": given["metadata"]["name"], "policy_binding": bound["metadata"]["name"]}
    labels["error_type"] = wrong
    found = [
        action
        for action in ("allow", "deny", "warn", "audit")
        if counted(api, f"{root}_total", **labels, enforcement_action=action) == 1
    ]
    assert sorted(found) == sorted(shown)
    for action in shown:
        seconds = counted(
            api, f"{root}_duration_seconds_count", **labels, enforcement_action=action
        )
        assert seconds == 1


@pytest.mark.parametrize(
    ("mutation", "wrong"),
    [
        ("Object{data: {'b': '2'}}", "no_error"),
        ("Object{data: {'b': object.data.missing}}", "invalid_error"),
    ],
)
async def test_checks_of_mutating_policies(api: Api, mutation: str, wrong: str):
    spec = {
        "matchConstraints": {"resourceRules": [CONFIG_MAPS]},
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": mutation}}
        ],
        "reinvocationPolicy": "Never",
    }
    made = {"metadata": {"name": "p"}, "spec": spec}
    await api.make(f"{ADMISSION}/mutatingadmissionpolicies", made)
    bound = {"metadata": {"name": "b-p"}, "spec": {"policyName": "p"}}
    await api.make(f"{ADMISSION}/mutatingadmissionpolicybindings", bound)
    await api("POST", MAPS, config_map(a="1"))
    labels = {"policy": "p", "policy_binding": "b-p", "error_type": wrong}
    root = "apiserver_mutating_admission_policy_check"
    assert counted(api, f"{root}_total", **labels) == 1
    assert counted(api, f"{root}_duration_seconds_count", **labels) == 1
    plugin = {"name": "MutatingAdmissionPolicy", "type": "admit", "operation": "CREATE"}
    name = f"{ROOT}controller_admission_duration_seconds_count"
    assert counted(api, name, **plugin, rejected="false" if wrong == "no_error" else "true") == 1


async def test_who_is_not_asked_is_not_counted(api: Api):
    await api("POST", MAPS, config_map())
    lines = api.state.metrics.text().splitlines()
    assert [line for line in lines if line.startswith(ROOT)] == []
