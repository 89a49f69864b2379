"""CertificateSigningRequests: who asks, who approves, what stays."""

import base64
from typing import Any

import pytest

from control.pki import create_authority
from tests.support.control.guarded import Guarded, guarded_server
from tests.support.control.requests import Api
from tests.support.control.signing import CLIENT, asked, request_pem

GROUP = "certificates.k8s.io"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
CSRS = f"/apis/{GROUP}/v1/certificatesigningrequests"
ASKED = asked(request_pem("jane"), "example.org/s")
CERTIFICATE = base64.b64encode(create_authority("a").certificate).decode()


def verdict(name: str, status: str = "True") -> dict[str, Any]:
    return {"conditions": [{"type": name, "status": status, "reason": "R"}]}


async def make(api: Api) -> dict[str, Any]:
    made = await api.make(CSRS, {"metadata": {"name": "a"}, "spec": ASKED})
    assert isinstance(made, dict)
    return made


async def test_a_signing_request_says_who_asks(api: Api):
    forged = {"username": "admin", "uid": "1", "groups": ["g"], "extra": {"k": ["v"]}}
    made = await api.make(CSRS, {"metadata": {"name": "a"}, "spec": ASKED | forged})
    me = {name: made["spec"].pop(name, None) for name in forged}
    assert made["spec"] == ASKED
    assert me["username"] not in ("", "admin", None)
    assert (me["uid"], me["extra"]) != ("1", {"k": ["v"]})
    assert "g" not in me["groups"]
    later = made | {"spec": ASKED | forged | {"signerName": "example.org/other"}}
    written = await api("PUT", f"{CSRS}/a", later)
    assert written.code == 200
    assert written["spec"] == ASKED | {name: value for name, value in me.items() if value}


async def test_an_approval_changes_only_the_conditions(api: Api):
    made = await make(api)
    given = {
        "spec": {"request": "Yg=="},
        "status": verdict("Approved") | {"certificate": CERTIFICATE},
    }
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
    signed = await api("PUT", f"{CSRS}/a/status", made | {"status": {"certificate": CERTIFICATE}})
    assert (signed.code, signed["status"]) == (200, {"certificate": CERTIFICATE})
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
        signed = approved.body | {"status": approved["status"] | {"certificate": CERTIFICATE}}
        refused = await server("alice", "PUT", f"{CSRS}/a/status", signed)
        assert (refused.code, "not permitted to sign" in refused["message"]) == (403, True)


async def grant(server: Guarded, name: str, rule: dict[str, Any]) -> None:
    subjects, ref = [{"kind": "User", "name": "alice"}], {"kind": "ClusterRole", "name": name}
    await server.make(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": [rule]})
    binding = {"metadata": {"name": name}, "roleRef": ref, "subjects": subjects}
    await server.make(f"{RBAC}/clusterrolebindings", binding)


async def ask(api: Api, spec: dict[str, Any]) -> Any:
    return await api("POST", CSRS, {"metadata": {"name": "b"}, "spec": spec})


TORN = request_pem("jane").replace(b"M", b"N", 1)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"request": "YQ=="}, 'spec.request: Invalid value: "YQ==": PEM block type must be'),
        (asked(TORN), "spec.request: Invalid value"),
        (asked(CERTIFICATE.encode()), "PEM block type must be CERTIFICATE REQUEST"),
        ({"usages": []}, "spec.usages: Required value"),
        ({"usages": ["dance"]}, 'spec.usages[0]: Unsupported value: "dance"'),
        ({"usages": ["any", "any"]}, 'spec.usages[1]: Duplicate value: "any"'),
        ({"signerName": "plain"}, "must be a fully qualified domain and path of the form"),
        ({"signerName": "plain/s"}, "should be a domain with at least two segments"),
        ({"signerName": "a..b/s"}, 'validating label \\"\\"'),
        ({"signerName": "kubernetes.io/legacy-unknown"}, "the legacy signerName is not allowed"),
        ({"expirationSeconds": 599}, "may not specify a duration less than 600 seconds"),
    ],
)
async def test_a_wrong_request_is_refused(api: Api, spec: dict[str, Any], why: str):
    refused = await ask(api, ASKED | spec)
    assert refused.code == 422
    assert why.replace("\\", "") in refused["message"]


async def test_a_signature_of_another_key_is_refused(api: Api):
    pem = request_pem("jane")
    der = bytearray(base64.b64decode(b"".join(pem.splitlines()[1:-1])))
    der[-1] ^= 1
    begin, *_, end = pem.splitlines(keepends=True)
    forged = begin + base64.encodebytes(bytes(der)) + end
    refused = await ask(api, ASKED | asked(forged))
    assert (refused.code, "the signature of the request" in refused["message"]) == (422, True)


async def test_nobody_asks_to_be_a_master(api: Api):
    refused = await ask(api, asked(request_pem("jane", "team", "system:masters")))
    why = f"use of {CLIENT} signer with system:masters group is not allowed"
    assert (refused.code, why in refused["message"]) == (403, True)
    other = await ask(api, asked(request_pem("jane", "system:masters"), "example.org/s"))
    assert other.code == 201


async def test_only_a_certificate_is_a_certificate(api: Api):
    made = await make(api)
    for text, why in ((b"x", "must contain one or more"), (TORN, "only CERTIFICATE PEM blocks")):
        status = {"certificate": base64.b64encode(text).decode()}
        refused = await api("PUT", f"{CSRS}/a/status", made | {"status": status})
        assert (refused.code, why in refused["message"]) == (422, True)
