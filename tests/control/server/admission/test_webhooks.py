"""Admission webhooks: who is asked what, and what becomes of the answers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.control.requests import CORE, Api, config_map
from tests.support.control.webhook import VALIDATING, Webhooks, deny, webhook_server


@pytest.fixture
async def hooks(tmp_path: Path) -> AsyncIterator[Webhooks]:
    async with webhook_server(tmp_path, ("hook.default.svc",)) as server:
        yield server


async def test_a_webhook_denies(api: Api, hooks: Webhooks):
    hooks.answers["/deny"] = deny("not on Mondays", code=403, reason="Forbidden")
    await api.make(VALIDATING, hooks.configuration("a", hooks.hook("/deny")))
    refused = await api("POST", f"{CORE}/configmaps", config_map())
    said = 'admission webhook "deny.example.com" denied the request: not on Mondays'
    assert (refused.code, refused["message"], refused["reason"]) == (403, said, "Forbidden")
    assert (await api("GET", f"{CORE}/configmaps/a")).code == 404
    asked = hooks.asked["/deny"][0]
    assert asked["object"]["metadata"]["name"] == "a" and asked["operation"] == "CREATE"
