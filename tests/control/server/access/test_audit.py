"""The audit log: what a policy selects, and what an event says."""

import json
from pathlib import Path
from typing import Any

import pytest

from control.server.access.attributes import AccessAttributes
from control.server.access.audit import AuditFile, AuditLog, AuditPolicyError, load_policy
from control.server.wire.request import User
from tests.support.control.guarded import guarded_server
from tests.support.control.requests import CORE, MERGE, Api, config_map

HEAD = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}
ALICE = User("alice", ("team",))


def policy(folder: Path, *rules: Any, **more: Any) -> Path:
    path = folder / "policy.yaml"
    path.write_text(json.dumps(HEAD | {"rules": list(rules)} | more))
    return path


PODS = {"group": "", "resources": ["pods"]}
POD = AccessAttributes("get", "", "pods", "", "default", "p")
LOG = POD._replace(subresource="log")
PATH = AccessAttributes("get", path="/readyz/ping")
RULES = [
    ({}, POD, True),
    ({}, PATH, True),
    ({"users": ["alice"]}, POD, True),
    ({"users": ["bob"]}, POD, False),
    ({"userGroups": ["team"]}, POD, True),
    ({"userGroups": ["other"]}, POD, False),
    ({"verbs": ["get"]}, POD, True),
    ({"verbs": ["list"]}, POD, False),
    ({"resources": [PODS]}, POD, True),
    ({"resources": [PODS]}, LOG, False),
    ({"resources": [PODS]}, PATH, False),
    ({"resources": [{"group": ""}]}, LOG, True),
    ({"resources": [{"group": "apps"}]}, POD, False),
    ({"resources": [{"group": "", "resources": ["pods/*"]}]}, LOG, True),
    ({"resources": [{"group": "", "resources": ["*/log"]}]}, LOG, True),
    ({"resources": [PODS | {"resourceNames": ["q"]}]}, POD, False),
    ({"namespaces": ["default"]}, POD, True),
    ({"namespaces": ["other"]}, POD, False),
    ({"nonResourceURLs": ["/readyz*"]}, PATH, True),
    ({"nonResourceURLs": ["/readyz"]}, PATH, False),
    ({"nonResourceURLs": ["*"]}, POD, False),
]


@pytest.mark.parametrize(("rule", "asked", "expected"), RULES)
def test_what_a_rule_is_about(
    tmp_path: Path, rule: dict[str, Any], asked: AccessAttributes, expected: bool
) -> None:
    found = load_policy(policy(tmp_path, {"level": "Metadata"} | rule)).of(ALICE, asked)
    assert found.level == ("Metadata" if expected else "None")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "while parsing"),
        ("{}", "want apiVersion"),
        (json.dumps(HEAD), "rules: want at least one"),
        (json.dumps(HEAD | {"rules": [{"level": "Much"}]}), "level: want one of"),
        (json.dumps(HEAD | {"rules": [{"level": "None", "users": "a"}]}), "users: want a list"),
        (json.dumps(HEAD | {"rules": [{"level": "None"}], "omitStages": ["X"]}), "there is no X"),
    ],
)
def test_a_bad_policy_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    with pytest.raises(AuditPolicyError, match=r"audit policy .*policy\.yaml") as refused:
        load_policy(path)
    assert message in str(refused.value)


async def test_events_say_who_asked_for_what(tmp_path: Path) -> None:
    rules = (
        {"level": "None", "verbs": ["get"]},
        {"level": "RequestResponse", "resources": [{"group": "", "resources": ["configmaps"]}]},
        {"level": "Metadata"},
    )
    log = tmp_path / "audit.log"
    file = AuditFile(str(log))
    found = load_policy(policy(tmp_path, *rules, omitStages=["RequestReceived"]))
    async with guarded_server("RBAC", audit=AuditLog(found, file)) as server:
        made = await server.make(f"{CORE}/configmaps", config_map("a", x="1"))
        await server.api("PATCH", f"{CORE}/configmaps/a", {}, MERGE, Authorization="Bearer bob")
        await server("root", "GET", f"{CORE}/configmaps/a")
        await server("root", "DELETE", f"{CORE}/secrets/s", **{"Impersonate-User": "alice"})
        await server("nobody", "DELETE", f"{CORE}/secrets/s")
        file.close()
        events = [json.loads(line) for line in log.read_text().splitlines()]
    created, patched, deleted, unknown = events
    assert created["user"]["username"] == "root"
    assert (created["verb"], created["stage"]) == ("create", "ResponseComplete")
    assert created["objectRef"] == {
        "resource": "configmaps",
        "namespace": "default",
        "apiVersion": "v1",
    }
    assert created["requestObject"]["data"] == {"x": "1"}
    assert created["responseObject"] == made
    assert created["responseStatus"] == {"metadata": {}, "code": 201}
    assert (patched["responseStatus"]["code"], patched["objectRef"]["name"]) == (403, "a")
    assert deleted["impersonatedUser"]["username"] == "alice"
    assert deleted["responseStatus"]["code"] == 403
    assert "requestObject" not in deleted
    assert unknown["user"]["username"] == "system:anonymous"
    assert unknown["responseStatus"]["code"] == 401
    assert len({event["auditID"] for event in events}) == 4


async def test_each_answer_names_its_event(tmp_path: Path) -> None:
    lines: list[bytes] = []
    found = load_policy(policy(tmp_path, {"level": "Metadata"}))
    async with (
        guarded_server("RBAC", audit=AuditLog(found, lines.append)) as server,
        server.api.session.get("/version", headers={"User-Agent": "me"}) as answer,
    ):
        shown = answer.headers["Audit-Id"]
    received, complete = map(json.loads, lines)
    assert (received["stage"], complete["stage"]) == ("RequestReceived", "ResponseComplete")
    assert received["auditID"] == complete["auditID"] == shown
    assert (complete["requestURI"], complete["userAgent"]) == ("/version", "me")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/version", 200),
        ("GET", f"{CORE}/configmaps", 200),
        ("GET", f"{CORE}/configmaps?watch=1", 200),
        ("GET", "/nowhere", 404),
        ("POST", f"{CORE}/configmaps", 415),
    ],
)
async def test_each_answer_has_an_audit_id(api: Api, method: str, path: str, code: int) -> None:
    for given in ("mine-1", "", "\u00e9"):
        async with api.session.request(method, path, headers={"Audit-Id": given}) as answer:
            assert answer.status == code
            shown = answer.headers["Audit-Id"]
        assert shown == given if given == "mine-1" else len(shown) == 36


async def test_an_expectation_that_nobody_meets_has_an_audit_id(api: Api) -> None:
    async with api.session.get("/version", headers={"Expect": "x"}) as answer:
        assert answer.status == 417 and len(answer.headers["Audit-Id"]) == 36


def test_a_full_file_is_put_aside(tmp_path: Path) -> None:
    write = AuditFile(str(tmp_path / "a.log"), megabytes=1, kept=1)
    for _ in range(3):
        write(b"x" * 600_000)
    write.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1"]
