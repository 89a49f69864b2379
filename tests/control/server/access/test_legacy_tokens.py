"""The tokens that Secrets hold: their uses are noted, and those of an older cluster end."""

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control.api import kinds
from control.api.cluster import ConfigMap, Secret, ServiceAccount
from control.api.pod import Pod
from control.controllers.actions import Again, Delete, Patch
from control.controllers.legacytokens import LegacyTokenCleaner
from control.controllers.state import ClusterState
from control.server.access.legacy_tokens import WARNING
from control.tokens import (
    INVALID_SINCE,
    LAST_USED,
    SECRET_NAME,
    SECRET_TYPE,
    TRACKING,
    TokenSigner,
    secret_claims,
)
from tests.support.control.guarded import Guarded, guarded_server
from tests.support.control.requests import CORE, MERGE, pod

SYSTEM = "/api/v1/namespaces/kube-system/configmaps"
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


@pytest.fixture
async def signer() -> TokenSigner:
    return TokenSigner(ec.generate_private_key(ec.SECP256R1()))


@pytest.fixture
async def server(signer: TokenSigner) -> AsyncIterator[Guarded]:
    async with guarded_server("RBAC", tokens=signer) as made:
        yield made


async def token_of(server: Guarded, signer: TokenSigner) -> str:
    """Make an account with a token in a Secret, as the controller does."""
    account = await server.make(f"{CORE}/serviceaccounts", {"metadata": {"name": "robot"}})
    token = signer.sign(secret_claims("default", "held", "robot", account["metadata"]["uid"]))
    data = {"token": base64.b64encode(token.encode()).decode()}
    meta = {"name": "held", "annotations": {SECRET_NAME: "robot"}}
    await server.make(f"{CORE}/secrets", {"type": SECRET_TYPE, "metadata": meta, "data": data})
    await server.state.cache.fresh()
    return token


async def labels(server: Guarded) -> dict[str, str]:
    found = await server("root", "GET", f"{CORE}/secrets/held")
    return dict(found["metadata"].get("labels") or {})


async def until_labeled(server: Guarded) -> str:
    while True:
        if day := (await labels(server)).get(LAST_USED):
            return day
        await asyncio.sleep(0.01)


def today() -> str:
    return datetime.now(UTC).date().isoformat()


async def test_a_use_is_noted_once_a_day_and_counted(server: Guarded, signer: TokenSigner):
    token = await token_of(server, signer)
    days = {today()}
    answers = [await server.api("POST", REVIEW, {}, Authorization=f"Bearer {token}")]
    days |= {today()}
    assert await until_labeled(server) in days
    version = (await server("root", "GET", f"{CORE}/secrets/held"))["metadata"]["resourceVersion"]
    answers.append(await server.api("POST", REVIEW, {}, Authorization=f"Bearer {token}"))
    assert [(it.code, it.warnings) for it in answers] == [(201, ()), (201, ())]
    now = (await server("root", "GET", f"{CORE}/secrets/held"))["metadata"]["resourceVersion"]
    assert now == version
    rows = (await server("root", "GET", "/metrics")).body.splitlines()
    assert "serviceaccount_legacy_manual_token_uses_total 2" in rows
    assert "serviceaccount_legacy_tokens_total 2" in rows


async def test_a_token_that_an_account_names_is_warned_of_and_may_be_invalid(
    server: Guarded, signer: TokenSigner
):
    token = await token_of(server, signer)
    named = {"secrets": [{"name": "held"}]}
    patched = await server.api(
        "PATCH", f"{CORE}/serviceaccounts/robot", named, MERGE, Authorization="Bearer root"
    )
    assert patched.code == 200
    await server.state.cache.fresh()
    answer = await server.api("POST", REVIEW, {}, Authorization=f"Bearer {token}")
    assert (answer.code, answer.warnings) == (201, (f'299 - "{WARNING}"',))
    await until_labeled(server)
    invalid = {"metadata": {"labels": {INVALID_SINCE: today()}}}
    await server.api("PATCH", f"{CORE}/secrets/held", invalid, MERGE, Authorization="Bearer root")
    await server.state.cache.fresh()
    refused = await server.api("POST", REVIEW, {}, Authorization=f"Bearer {token}")
    assert refused.code == 401
    rows = (await server("root", "GET", "/metrics")).body.splitlines()
    assert "serviceaccount_legacy_auto_token_uses_total 1" in rows
    assert "serviceaccount_invalid_legacy_auto_token_uses_total 1" in rows


async def test_a_config_map_says_since_when(server: Guarded):
    found = await server("root", "GET", f"{SYSTEM}/{TRACKING}")
    assert found["data"] == {"since": found["metadata"]["creationTimestamp"][:10]}
    wrong = {"data": {"since": "long ago"}}
    await server.api("PATCH", f"{SYSTEM}/{TRACKING}", wrong, MERGE, Authorization="Bearer root")
    while True:
        found = await server("root", "GET", f"{SYSTEM}/{TRACKING}")
        if found["data"]["since"] != "long ago":
            break
        await asyncio.sleep(0.01)
    assert found["data"]["since"] <= today()


NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()


def cluster(
    since: str = "2024-01-01",
    *,
    created: str = "2024-01-02T00:00:00Z",
    named: bool = True,
    mounted: dict[str, Any] | None = None,
    **marks: str,
) -> ClusterState:
    """Return a cluster with one token Secret; ``mounted`` goes into the spec of a Pod."""
    names = {"used": LAST_USED, "invalid": INVALID_SINCE}
    meta = {
        "name": "held",
        "namespace": "default",
        "creationTimestamp": created,
        "annotations": {SECRET_NAME: "robot"},
        "labels": {names[name]: day for name, day in marks.items()},
    }
    secrets = [{"name": "held"}] if named else []
    account = {"metadata": {"name": "robot", "namespace": "default"}, "secrets": secrets}
    tracking = {
        "metadata": {"name": TRACKING, "namespace": "kube-system"},
        "data": {"since": since},
    }
    made = ClusterState()
    made[kinds.SECRET].apply(None, Secret.parse({"metadata": meta, "type": SECRET_TYPE}))
    made[kinds.SERVICE_ACCOUNT].apply(None, ServiceAccount.parse(account))
    made[kinds.CONFIG_MAP].apply(None, ConfigMap.parse(tracking))
    if mounted:
        wire = pod(**mounted)
        wire["metadata"]["namespace"] = "default"
        made[kinds.POD].apply(None, Pod.parse(wire))
    return made


_ENV = [{"name": "E", "valueFrom": {"secretKeyRef": {"name": "held", "key": "token"}}}]
_KEPT = {
    "tracked for less than a year": cluster("2025-06-01"),
    "not tracked": cluster("never"),
    "young": cluster(created="2025-06-02T00:00:00Z"),
    "used": cluster(used="2025-06-01"),
    "marked by somebody": cluster(used="yesterday"),
    "made by hand": cluster(named=False),
    "a volume": cluster(mounted={"volumes": [{"name": "v", "secret": {"secretName": "held"}}]}),
    "a variable": cluster(mounted={"containers": [{"name": "c", "image": "i", "env": _ENV}]}),
    "for images": cluster(mounted={"imagePullSecrets": [{"name": "held"}]}),
    "projected": cluster(
        mounted={
            "volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "held"}}]}}]
        }
    ),
    "invalid for less than a year": cluster(invalid="2025-06-01"),
}


@pytest.mark.parametrize("why", _KEPT)
def test_what_may_still_be_used_stays(why: str):
    (again,) = LegacyTokenCleaner().reconcile(_KEPT[why], ("default", "held"), NOW)
    assert again == Again(24 * 3600)


@pytest.mark.parametrize("marks", [{}, {"used": "2025-05-31"}, {"invalid": "soon"}])
def test_what_nobody_used_for_a_year_is_marked(marks: dict[str, str]):
    first, _ = LegacyTokenCleaner().reconcile(cluster(**marks), ("default", "held"), NOW)
    assert isinstance(first, Patch)
    assert first.patch == {"metadata": {"labels": {INVALID_SINCE: "2026-06-01"}}}


def test_what_was_invalid_for_a_year_is_deleted():
    made = cluster(invalid="2025-05-31", mounted={"volumes": []})
    first, _ = LegacyTokenCleaner().reconcile(made, ("default", "held"), NOW)
    assert isinstance(first, Delete) and first.object.metadata.name == "held"
