"""Namespaces are emptied by discovery, Pods first, and say what is left."""

from collections import Counter
from typing import Any, cast

import orjson
import pytest

from control.api import kinds
from control.api.cluster import ConfigMap, Namespace
from control.api.kinds import Kind
from control.api.meta import Object
from control.api.pod import Pod
from control.client import ApiError, Client, ClientConfig, Listing
from control.client.events import EventRecorder
from control.controllers.actions import Empty
from control.controllers.execute import Executor
from control.controllers.garbage.contents import Contents, NotEmptyError, conditions, empty
from tests.support.control.api_server import ApiServer
from tests.support.control.requests import config_map, pod

VERBS = ["delete", "deletecollection", "list"]


def resource(name: str, **changes: Any) -> dict[str, Any]:
    kind = {"kind": name.title()}
    row = {"resource": name, "responseKind": kind, "scope": "Namespaced", "verbs": VERBS}
    return row | changes


def group(name: str, *versions: tuple[str, list[dict[str, Any]] | None]) -> dict[str, Any]:
    """Return a group with its versions; None for the resources of one that is stale."""
    rows = [
        {"version": at, "resources": it, "freshness": "Current"}
        if it is not None
        else {"version": at, "freshness": "Stale"}
        for at, it in versions
    ]
    return {"metadata": {"name": name}, "versions": rows}


class Server:
    """A server with a kind of its own, a group that does not answer, and objects."""

    documents = {
        "/api": [
            group(
                "",
                (
                    "v1",
                    [
                        resource("configmaps"),
                        resource("pods"),
                        resource("nodes", scope="Cluster"),
                        resource("bindings", verbs=["create"]),
                    ],
                ),
            )
        ],
        "/apis": [
            group(
                "x.io",
                ("v2", [resource("widgets"), resource("../../api/v1/namespaces/o/secrets")]),
                ("v1", [resource("widgets"), resource("gadgets", verbs=["delete", "list"])]),
            ),
            group("metrics", ("v1", None)),
        ],
    }

    def __init__(self, **objects: list[dict[str, Any]]) -> None:
        self.objects = objects
        self.deleted: list[str] = []

    async def raw(self, path: str, accept: str) -> bytes:
        assert "as=APIGroupDiscoveryList" in accept
        return orjson.dumps({"kind": "APIGroupDiscoveryList", "items": self.documents[path]})

    async def delete(self, kind: Kind, namespace: str, name: str, propagation: str) -> None:
        self.deleted.append(f"{propagation} {kind.path(namespace, name)}")
        left = [wire for wire in self.objects[kind.plural] if wire["name"] != name]
        self.objects[kind.plural] = left

    async def list(self, kind: Kind, namespace: str) -> Listing[Object]:
        wires = self.objects.get(kind.plural, [])
        return Listing(tuple(Object.parse({"metadata": wire}) for wire in wires), "1")

    async def delete_collection(self, kind: Kind, namespace: str) -> None:
        self.deleted.append(kind.path(namespace))
        held = [wire for wire in self.objects[kind.plural] if wire.get("finalizers")]
        gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
        self.objects[kind.plural] = [wire | gone for wire in held]


async def emptied(server: Server) -> Contents:
    return await empty(cast(Client, server), "n")


async def test_kinds_that_podwire_does_not_know_are_emptied_too():
    server = Server(widgets=[{"name": "w"}], configmaps=[{"name": "c"}])
    contents = await emptied(server)
    assert server.deleted == [
        "/api/v1/namespaces/n/configmaps",
        "/apis/x.io/v2/namespaces/n/widgets",
    ]
    assert contents.left == Counter()
    # A group that does not answer may hold objects: the namespace is not finalized.
    assert not contents.empty and contents.undiscovered == ["metrics/v1"]


async def test_a_kind_without_deletecollection_loses_its_objects_one_by_one():
    server = Server(gadgets=[{"name": "a"}, {"name": "b"}])
    contents = await emptied(server)
    base = "Background /apis/x.io/v1/namespaces/n/gadgets"
    assert server.deleted == [f"{base}/a", f"{base}/b"]
    assert contents.left == Counter() and not contents.failures


async def test_other_kinds_wait_for_pods():
    server = Server(pods=[{"name": "p", "finalizers": ["x/y"]}], configmaps=[{"name": "c"}])
    contents = await emptied(server)
    assert server.deleted == ["/api/v1/namespaces/n/pods"]
    assert contents.left == Counter({"pods.": 1})
    server.objects["pods"] = []
    await emptied(server)
    assert server.deleted[1:] == ["/api/v1/namespaces/n/configmaps"]


async def test_what_is_on_its_way_out_is_not_deleted_again():
    server = Server(pods=[{"name": "p", "finalizers": ["x/y"]}])
    await emptied(server)
    await emptied(server)
    assert server.deleted == ["/api/v1/namespaces/n/pods"]


def test_conditions_have_upstreams_words_and_keep_their_times():
    contents = Contents(
        Counter({"pods.": 2, "deployments.apps": 1}), Counter({"x/y": 1}), ["a/v1"], ["b: no"]
    )
    first = conditions([], contents, 0.0)
    assert [(item.type, item.status, item.reason, item.message) for item in first] == [
        (
            "NamespaceDeletionDiscoveryFailure",
            "True",
            "DiscoveryFailed",
            "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of"
            " server APIs: a/v1: stale GroupVersion discovery: a/v1",
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            "True",
            "ContentDeletionFailed",
            "Failed to delete all resource types, 1 remaining: b: no",
        ),
        (
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            "Some resources are remaining: deployments.apps has 1 resource instances,"
            " pods. has 2 resource instances",
        ),
        (
            "NamespaceFinalizersRemaining",
            "True",
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: x/y in 1 resource instances",
        ),
    ]
    assert conditions(first, contents, 60.0) == first
    well = conditions(first, Contents(), 60.0)
    assert {(item.status, item.last_transition_time) for item in well} == {
        ("False", "1970-01-01T00:01:00Z"),
        ("False", "1970-01-01T00:00:00Z"),  # it was False before
    }
    assert well[-1].message == "All content-preserving finalizers finished"


async def test_a_namespace_of_a_real_server_is_emptied_reported_and_finalized(
    api_server: ApiServer,
):
    async with Client(ClientConfig(api_server.url)) as client:
        await client.create(kinds.NAMESPACE, Namespace.parse({"metadata": {"name": "n"}}))
        held = pod()
        held["metadata"] |= {"namespace": "n", "finalizers": ["x/y"]}
        await client.create(kinds.POD, Pod.parse(held))
        other = config_map() | {"metadata": {"name": "a", "namespace": "n"}}
        await client.create(kinds.CONFIG_MAP, ConfigMap.parse(other))
        await client.delete(kinds.NAMESPACE, None, "n")

        async def work() -> None:
            namespace = await client.get(kinds.NAMESPACE, None, "n")
            async with EventRecorder(client, "test") as recorder:
                await Executor(client, {}, recorder).carry_out([Empty(namespace, (), 0.0)])

        with pytest.raises(NotEmptyError):
            await work()
        assert (await client.get(kinds.CONFIG_MAP, "n", "a")).metadata.deletion_timestamp is None
        stuck = await client.get(kinds.NAMESPACE, None, "n")
        assert [it.message for it in stuck.status.conditions if it.status == "True"] == [
            "Some resources are remaining: pods. has 1 resource instances",
            "Some content in the namespace has finalizers remaining: x/y in 1 resource instances",
        ]
        patch = {"metadata": {"finalizers": None}}
        await client.patch(kinds.POD, "n", "p", patch, type="merge")
        await work()
        with pytest.raises(ApiError, match="not found"):
            await client.get(kinds.NAMESPACE, None, "n")
