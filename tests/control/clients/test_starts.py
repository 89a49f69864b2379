"""What upstream's components ask for at their start is answered, under upstream's default roles.

``starts`` has a file for each, recorded as kube-scheduler, kube-controller-manager, kube-proxy and
kubelet 1.36.2 started on podwire's API server; its first lines say what a line has.
"""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control.api.kinds import KINDS
from control.pki import create_authority
from control.server import trust
from control.tokens import TokenSigner
from tests.support.control.guarded import Guarded, guarded_server
from tests.support.control.requests import CORE, pod

STARTS = Path(__file__).with_name("starts")
COMPONENTS = ("scheduler", "controller-manager", "proxy", "kubelet")
BEGUN = "sendInitialEvents=true"
DONE = "k8s.io/initial-events-end"
# An access is a path with its own word for a kind; the others are asked for by their plural.
KIND_OF = {kind.plural: kind.name for kind in KINDS} | {"token": "TokenRequest"}
PROTOBUF = "application/vnd.kubernetes.protobuf"


@dataclass(frozen=True)
class Asked:
    """A request of a start, and the code of its answer."""

    user: str
    method: str
    code: int
    path: str
    accept: str
    media: str
    body: Any

    @property
    def headers(self) -> dict[str, str]:
        """Its headers, with bodies in JSON where they were protobuf."""
        media = "application/json" if self.media == PROTOBUF else self.media
        sent = {"Content-Type": media} if media else {}
        as_user = {"Impersonate-User": self.user}
        if self.user.startswith("system:node:"):
            as_user["Impersonate-Group"] = "system:nodes"
        return {"Accept": self.accept} | as_user | sent

    @property
    def kind(self) -> str:
        """The kind of what is asked for; ``PartialObjectMetadata`` if only that is accepted."""
        words = self.path.partition("?")[0].split("/")
        if "as=PartialObjectMetadata" in self.accept:
            return "PartialObjectMetadata"
        return next((KIND_OF[word] for word in reversed(words) if word in KIND_OF), "")


def start(component: str, uid: str = "") -> Iterator[Asked]:
    text = (STARTS / f"{component}.txt").read_text().replace("$UID", uid)
    for line in text.splitlines():
        if not line.startswith("#"):
            user, method, code, path, accept, media, body = (line.split("\t") + [""] * 3)[:7]
            yield Asked(
                user, method, int(code), path, accept, media, json.loads(body) if body else None
            )


@pytest.fixture
async def server() -> AsyncIterator[Guarded]:
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    async with guarded_server("Node", "RBAC", tokens=signer) as made:
        account = {"metadata": {"name": "default", "namespace": "default"}}
        await made.make(f"{CORE}/serviceaccounts", account)
        await made.make("/api/v1/nodes", {"metadata": {"name": "n1"}})
        await made.make(f"{CORE}/pods", pod("web"))
        await made("root", "DELETE", f"{CORE}/serviceaccounts/default")
        pem = create_authority("ca").certificate
        trusted = {
            "metadata": {"name": trust.NAME},
            "data": trust.published(trust.CLIENT, {}, pem, made.state.now()),
        }
        await made.make(f"/api/v1/namespaces/{trust.NAMESPACE}/configmaps", trusted)
        yield made


async def initial_kinds(server: Guarded, asked: Asked) -> set[str]:
    """Follow a list from its start as informers do, until the mark that it is complete."""
    headers = asked.headers | {"Authorization": "Bearer root"}
    async with server.api.session.get(asked.path, headers=headers) as answer:
        assert answer.status == 200, (asked, await answer.text())
        kinds = set()
        async for line in answer.content:
            event = json.loads(line)
            kinds.add(event["object"]["kind"])
            if event["type"] == "BOOKMARK":
                assert event["object"]["metadata"]["annotations"] == {DONE: "true"}, asked
                return kinds
    raise AssertionError(f"{asked}: the watch ended before its initial events did")


async def as_of_now(server: Guarded, asked: Asked) -> Any:
    """Return a request's body; an update names the version that this server has."""
    if asked.method != "PUT":
        return asked.body
    version = (await server("root", "GET", asked.path))["metadata"]["resourceVersion"]
    return asked.body | {"metadata": asked.body["metadata"] | {"resourceVersion": version}}


async def answered(server: Guarded, asked: Asked) -> str:
    """Return what is wrong with the answer to a request; nothing if it is as it should be."""
    if BEGUN in asked.path:
        found = await initial_kinds(server, asked)
        return "" if found == {asked.kind} else f"{asked}: {found}"
    body = await as_of_now(server, asked)
    reply = await server("root", asked.method, asked.path, body, **asked.headers)
    if reply.code != asked.code:
        return f"{asked}: {reply.code} {reply.body}"
    wanted = asked.kind if asked.code < 300 else "Status"
    of_many = asked.path.partition("?")[0].endswith(tuple(KIND_OF))
    if not wanted or (of_many and asked.method in ("GET", "DELETE")):
        return ""  # a page, or a list
    return "" if reply["kind"] == wanted else f"{asked}: {reply.body}"


@pytest.mark.parametrize("component", COMPONENTS)
async def test_each_request_of_a_start_is_answered(server: Guarded, component: str):
    wrong = [why for asked in start(component) if (why := await answered(server, asked))]
    assert not wrong, "\n".join(wrong)


async def test_a_pod_lives_and_ends_under_a_kubelet(server: Guarded):
    """Its status, its token, its Events and its end, as kubelet writes them."""
    await server.make("/api/v1/nodes", {"metadata": {"name": "node2"}})
    await server.make(f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})
    for name in ("settings", "kube-root-ca.crt"):
        await server.make(f"{CORE}/configmaps", {"metadata": {"name": name}, "data": {"a": "1"}})
    wanted = [{"configMapRef": {"name": name}} for name in ("settings", "kube-root-ca.crt")]
    container = {"name": "c", "image": "busybox:1", "envFrom": wanted}
    body = pod("life", nodeName="node2", containers=[container])
    uid = (await server.make(f"{CORE}/pods", body))["metadata"]["uid"]
    phases = []
    for asked in start("kubelet-pod", uid):
        if asked.body and asked.body.get("reason") == "Killing":
            assert (await server("root", "DELETE", f"{CORE}/pods/life")).code == 200
        assert not await answered(server, asked)
        seen = await server("root", "GET", f"{CORE}/pods/life")
        phases.append(seen["status"]["phase"] if seen.code == 200 else "gone")
    assert list(dict.fromkeys(phases)) == ["Pending", "Running", "Failed", "gone"]


async def test_the_controller_manager_lists_every_kind(server: Guarded):
    """Its garbage collector does, by metadata alone."""
    partial = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    headers = {
        "Accept": f"{PROTOBUF};{partial},application/json;{partial},application/json",
        "Impersonate-User": "system:serviceaccount:kube-system:generic-garbage-collector",
    }
    for kind in KINDS:
        base = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        path = f"{base}/{kind.plural}?limit=500&resourceVersion=0"
        answer = await server("root", "GET", path, **headers)
        assert (answer.code, answer["kind"]) == (200, "PartialObjectMetadataList"), path
