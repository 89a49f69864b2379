"""CertificateSigningRequests: who asks, who approves, what stays."""

from typing import Any

import pytest

from tests.support.control.guarded import Guarded, guarded_server
from tests.support.control.requests import Api

GROUP = "certificates.k8s.io"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CSRS = f"/apis/{GROUP}/v1/certificatesigningrequests"
ASKED = {"request": "YQ==", "signerName": "example.org/s", "usages": ["client auth"]}


def verdict(name: str, status: str = "True") -> dict[str, Any]:
    return {"conditions": [{"type": name, "status": status, "reason": "R"}]}


async def make(api: Api) -> dict[str, Any]:
    made = await api.make(CSRS, {"metadata": {"name": "a"}, "spec": ASKED})
    assert isinstance(made, dict)
    return made


async def test_an_approval_changes_only_the_conditions(api: Api):
    made = await make(api)
    given = {"spec": {"request": "Yg=="}, "status": verdict("Approved") | {"certificate": "YQ=="}}
    approved = await api("PUT", f"{CSRS}/a/approval", made | given)
    assert (approved.code, approved["spec"]) == (200, made["spec"])
    assert "certificate" not in approved["status"]
    (condition,) = approved["status"]["conditions"]
    assert (condition["type"], condition["reason"]) == ("Approved", "R")
    assert condition["lastUpdateTime"] == condition["lastTransitionTime"] != ""
    assert (await api("GET", f"{CSRS}/a/approval")).body == approved.body


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (verdict("Approved", "False"), 'supported values: "True"'),
        (
            {"conditions": verdict("Approved")["conditions"] + verdict("Denied")["conditions"]},
            "mutually exclusive",
        ),
        ({"conditions": verdict("Denied")["conditions"] * 2}, "Duplicate value"),
    ],
)
async def test_a_wrong_verdict_is_refused(api: Api, status: dict[str, Any], why: str):
    refused = await api("PUT", f"{CSRS}/a/approval", await make(api) | {"status": status})
    assert (refused.code, why in refused["message"]) == (422, True)


async def test_a_verdict_stays(api: Api):
    made = await make(api)
    approved = await api("PUT", f"{CSRS}/a/approval", made | {"status": verdict("Approved")})
    refused = await api("PUT", f"{CSRS}/a/approval", approved.body | {"status": {}})
    assert refused.code == 422
    assert 'may not remove a condition of type "Approved"' in refused["message"]


async def test_the_status_says_no_verdict_and_one_certificate(api: Api):
    made = await make(api)
    refused = await api("PUT", f"{CSRS}/a/status", made | {"status": verdict("Approved")})
    assert refused.code == 422
    assert 'may not add a condition of type "Approved"' in refused["message"]
    signed = await api("PUT", f"{CSRS}/a/status", made | {"status": {"certificate": "YQ=="}})
    assert (signed.code, signed["status"]) == (200, {"certificate": "YQ=="})
    again = signed.body | {"status": {"certificate": "Yg=="}}
    refused = await api("PUT", f"{CSRS}/a/status", again)
    assert (refused.code, "may not modify existing certificate" in refused["message"]) == (
        422,
        True,
    )


async def test_only_who_may_approve_a_signer_approves():
    async with guarded_server("RBAC") as server:
        made = await server.make(CSRS, {"metadata": {"name": "a"}, "spec": ASKED})
        subs = ["certificatesigningrequests/approval", "certificatesigningrequests/status"]
        await grant(server, "w", {"apiGroups": [GROUP], "resources": subs, "verbs": ["update"]})
        wanted = made | {"status": verdict("Approved")}
        refused = await server("alice", "PUT", f"{CSRS}/a/approval", wanted)
        why = 'user not permitted to approve requests with signerName "example.org/s"'
        assert (refused.code, why in refused["message"]) == (403, True)
        signers = {"apiGroups": [GROUP], "resources": ["signers"], "verbs": ["approve"]}
        await grant(server, "s", signers | {"resourceNames": ["example.org/*"]})
        approved = await server("alice", "PUT", f"{CSRS}/a/approval", wanted)
        assert approved.code == 200
        signed = approved.body | {"status": approved["status"] | {"certificate": "YQ=="}}
        refused = await server("alice", "PUT", f"{CSRS}/a/status", signed)
        assert (refused.code, "not permitted to sign" in refused["message"]) == (403, True)


async def grant(server: Guarded, name: str, rule: dict[str, Any]) -> None:
    subjects, ref = [{"kind": "User", "name": "alice"}], {"kind": "ClusterRole", "name": name}
    await server.make(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
    binding = {"metadata": {"name": name}, "roleRef": ref, "subjects": subjects}
    await server.make(f"{RBAC}/clusterrolebindings", binding)
