"""The client against a real API server: verbs, errors, Events."""

import pytest

from control.api import kinds
from control.api.cluster import ConfigMap, Namespace
from control.api.rbac import ClusterRole
from control.client import ApiError, UnreachableError
from control.client.errors import InvalidNameError
from control.client.events import EventRecorder
from tests.support.control.cluster import client_of, meta, until


@pytest.fixture
async def client(api_server):
    async with client_of(api_server.url) as client:
        yield client


async def test_every_verb_of_the_client(client):
    made = await client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta("a"), data={"k": "1"}))
    assert made.metadata.uid and made.kind == "ConfigMap"
    assert await client.get(kinds.CONFIG_MAP, "default", "a") == made
    changed = await client.update(kinds.CONFIG_MAP, made.model_copy(update={"data": {"k": "2"}}))
    assert changed.data == {"k": "2"}
    patched = await client.patch(kinds.CONFIG_MAP, "default", "a", {"data": {"l": "3"}})
    assert patched.data == {"k": "2", "l": "3"}
    listing = await client.list(kinds.CONFIG_MAP, "default", field_selector="metadata.name=a")
    assert listing.items == (patched,) and int(listing.resource_version) > 0
    assert await client.delete(kinds.CONFIG_MAP, "default", "a", uid=made.metadata.uid) is None
    with pytest.raises(ApiError) as caught:
        await client.get(kinds.CONFIG_MAP, "default", "a")
    assert caught.value.not_found and "get ConfigMap default/a: 404 NotFound" in str(caught.value)


async def test_a_stale_update_is_a_conflict_and_a_second_create_is_not(client):
    made = await client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta("a")))
    await client.update(kinds.CONFIG_MAP, made.model_copy(update={"data": {"k": "2"}}))
    with pytest.raises(ApiError) as stale:
        await client.update(kinds.CONFIG_MAP, made.model_copy(update={"data": {"k": "3"}}))
    assert stale.value.conflict and not stale.value.already_exists
    with pytest.raises(ApiError) as twice:
        await client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta("a")))
    assert twice.value.already_exists and not twice.value.conflict


async def test_a_delete_of_another_uid_is_refused(client):
    await client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta("a")))
    with pytest.raises(ApiError) as caught:
        await client.delete(kinds.CONFIG_MAP, "default", "a", uid="not-it")
    assert caught.value.conflict


async def test_a_delete_returns_an_object_with_finalizers(client):
    held = ConfigMap(metadata=meta("a", finalizers=["example.com/x"]))
    await client.create(kinds.CONFIG_MAP, held)
    left = await client.delete(kinds.CONFIG_MAP, "default", "a")
    assert left is not None and left.metadata.deletion_timestamp


async def test_a_collection_can_be_deleted(client):
    for name in "ab":
        await client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta(name)))
    await client.delete_collection(kinds.CONFIG_MAP, "default")
    assert not (await client.list(kinds.CONFIG_MAP, "default")).items


async def test_cluster_wide_objects_have_no_namespace(client):
    await client.create(kinds.NAMESPACE, Namespace(metadata=meta("x", None)))
    assert (await client.get(kinds.NAMESPACE, None, "x")).metadata.name == "x"


@pytest.mark.parametrize("name", ["", ".", "..", "../../../namespaces/x", "a/b", "%2e%2e"])
async def test_a_name_cannot_make_another_path(client, name: str):
    """An extension server names its objects; URLs are normalized before they are sent."""
    await client.create(kinds.NAMESPACE, Namespace(metadata=meta("x", None)))
    with pytest.raises(InvalidNameError):
        await client.delete(kinds.CONFIG_MAP, "default", name)
    with pytest.raises(InvalidNameError):
        await client.get(kinds.CONFIG_MAP, name or "..", "a")
    assert not (await client.get(kinds.NAMESPACE, None, "x")).metadata.deletion_timestamp


async def test_a_name_may_have_the_signs_of_a_query(client):
    for name in ("a", "a?b", "a#b", "a b", "system:a@b"):
        await client.create(kinds.CLUSTER_ROLE, ClusterRole(metadata=meta(name, None)))
    for name in ("a?b", "a#b", "a b", "system:a@b"):
        assert (await client.get(kinds.CLUSTER_ROLE, None, name)).metadata.name == name
        await client.delete(kinds.CLUSTER_ROLE, None, name)
    assert (await client.get(kinds.CLUSTER_ROLE, None, "a")).metadata.name == "a"


async def test_a_connection_to_no_server_names_the_cause():
    async with client_of("http://127.0.0.1:1") as client:
        with pytest.raises(UnreachableError, match=r"create ConfigMap default/a at http://127\.0"):
            await client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta("a")))


async def test_events_are_written_and_counted(client):
    about = await client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta("a")))
    async with EventRecorder(client, "tester") as recorder:
        for _ in range(3):
            recorder.record(about, "Warning", "Odd", "it is odd")

        async def counted() -> bool:
            events = (await client.list(kinds.EVENT, "default")).items
            return [event.count for event in events] == [3]

        await until(counted)
    (event,) = (await client.list(kinds.EVENT, "default")).items
    assert event.involved_object.uid == about.metadata.uid
    assert (event.reason, event.message, event.source.component) == ("Odd", "it is odd", "tester")


async def test_an_event_of_a_namespace_that_is_going_is_let_go(client, caplog):
    await client.create(kinds.NAMESPACE, Namespace(metadata=meta("x", None)))
    gone = await client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta("a", "x")))
    await client.delete(kinds.NAMESPACE, None, "x")
    there = await client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta("a")))

    async def written() -> bool:
        return bool((await client.list(kinds.EVENT, "default")).items)

    async with EventRecorder(client, "tester") as recorder:
        for about in (gone, there):  # they are written in their order
            recorder.record(about, "Normal", "Odd", "it is odd")
        await until(written)
    assert "event lost" not in caplog.text


async def test_a_deleted_event_is_created_again(client):
    about = await client.create(kinds.CONFIG_MAP, ConfigMap(metadata=meta("a")))

    async def found() -> int:
        return len((await client.list(kinds.EVENT, "default")).items)

    async def one() -> bool:
        return await found() == 1

    async with EventRecorder(client, "tester") as recorder:
        recorder.record(about, "Normal", "Odd", "it is odd")
        await until(one)
        await client.delete_collection(kinds.EVENT, "default")
        recorder.record(about, "Normal", "Odd", "it is odd")
        await until(one)
