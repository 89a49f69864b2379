"""What upstream's components ask for at their start is answered, under upstream's default roles.

``starts`` has a file for each: a method, a path, and the body in JSON. Sources: the informers and
requests of cmd/kube-scheduler and cmd/kube-controller-manager of Kubernetes 1.36.
"""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control.api.kinds import KINDS
from control.tokens import TokenSigner
from tests.support.control.guarded import Guarded, guarded_server
from tests.support.control.requests import CORE, STRATEGIC, pod

STARTS = Path(__file__).with_name("starts")
# What client-go sends where it prefers protobuf, and takes JSON.
ACCEPT = "application/vnd.kubernetes.protobuf,application/json"
INITIAL = "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
USERS = {
    "scheduler": "system:kube-scheduler",
    "controller-manager": "system:kube-controller-manager",
}


def requests(component: str) -> Iterator[tuple[str, str, Any]]:
    for line in (STARTS / f"{component}.txt").read_text().splitlines():
        if not line.startswith("#"):
            method, path, *body = line.split(" ", 2)
            yield method, path, json.loads(body[0]) if body else None


@pytest.fixture
async def server() -> AsyncIterator[Guarded]:
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    async with guarded_server("Node", "RBAC", tokens=signer) as made:
        account = {"metadata": {"name": "default", "namespace": "default"}}
        await made.make(f"{CORE}/serviceaccounts", account)
        await made.make("/api/v1/nodes", {"metadata": {"name": "n"}})
        await made.make(f"{CORE}/pods", pod("web"))
        yield made


async def is_told_the_end(server: Guarded, user: str, path: str) -> bool:
    """Follow a list from its start as informers do, until the mark that it is complete."""
    headers = {"Authorization": f"Bearer {user}", "Accept": ACCEPT}
    mark = "&" if "?" in path else "?"
    url = f"{path}{mark}watch=true&timeoutSeconds=300&{INITIAL}"
    async with server.api.session.get(url, headers=headers) as answer:
        assert answer.status == 200, (path, await answer.text())
        async for line in answer.content:
            if json.loads(line)["type"] == "BOOKMARK":
                return True
    return False


@pytest.mark.parametrize("component", USERS)
async def test_each_request_of_a_start_is_answered(server: Guarded, component: str):
    user, wrong = USERS[component], []
    for method, path, body in requests(component):
        media = STRATEGIC if method == "PATCH" else "application/json"
        headers = {"Content-Type": media, "Accept": ACCEPT}
        answer = await server(user, method, path, body, **headers)
        if answer.code not in (200, 201):
            wrong.append(f"{method} {path}: {answer.code} {answer.body}")
    assert not wrong, "\n".join(wrong)


async def test_the_schedulers_informers_are_told_when_they_have_everything(server: Guarded):
    user = USERS["scheduler"]
    lists = [path for method, path, _ in requests("scheduler") if method == "GET"]
    for path in (path for path in lists if "/leases/" not in path):
        assert await is_told_the_end(server, user, path), path


async def test_the_controller_manager_lists_every_kind(server: Guarded):
    """Its shared informers and its garbage collector do, with ``*`` of upstream's role."""
    for kind in KINDS:
        base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        path = f"{base}/{kind.plural}?limit=500&resourceVersion=0"
        answer = await server(USERS["controller-manager"], "GET", path, Accept=ACCEPT)
        assert answer.code == 200, (path, answer.body)
