"""ServiceCIDRs and IPAddresses: where ClusterIPs come from, and who has them."""

import json

import pytest

from control.api import kinds
from control.server.verbs.allocation.repair import repair_addresses
from control.server.wire.info import storage_key
from control.store.base import Create, Delete
from tests.support.control.requests import CORE, MERGE, Api, service

NET = "/apis/networking.k8s.io/v1"
RANGES, ADDRESSES = f"{NET}/servicecidrs", f"{NET}/ipaddresses"
SERVICES = f"{CORE}/services"


async def _range(api: Api, name: str, *cidrs: str) -> None:
    await api.make(RANGES, {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs)}})


async def test_each_cluster_ip_is_an_address_of_its_service(api: Api):
    made = await api.make(SERVICES, service("s", clusterIP="10.96.0.7"))
    shown = (await api("GET", f"{ADDRESSES}/10.96.0.7")).body
    assert shown["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    parent = {"resource": "services", "namespace": "default", "name": "s"}
    assert shown["spec"] == {"parentRef": parent}
    assert shown["metadata"]["creationTimestamp"] >= made["metadata"]["creationTimestamp"]
    selected = await api("GET", f"{ADDRESSES}?fieldSelector=metadata.name%3D10.96.0.1")
    assert [each["metadata"]["name"] for each in selected["items"]] == ["10.96.0.1"]
    await api("PATCH", f"{SERVICES}/s", {"spec": {"type": "NodePort"}}, MERGE)
    assert (await api("GET", f"{ADDRESSES}/10.96.0.7")).body == shown
    assert (await api("DELETE", f"{SERVICES}/s")).code == 200
    assert (await api("GET", f"{ADDRESSES}/10.96.0.7")).code == 404


async def test_an_address_that_is_taken_by_hand_is_given_to_nobody(api: Api):
    spec = {"parentRef": {"resource": "widgets", "namespace": "default", "name": "w"}}
    await api.make(ADDRESSES, {"metadata": {"name": "10.96.0.7"}, "spec": spec})
    reply = await api("POST", SERVICES, service("s", clusterIP="10.96.0.7"))
    assert reply.code == 422
    assert "failed to allocate IP 10.96.0.7: provided IP is already allocated" in reply["message"]
    await _range(api, "one", "10.0.0.0/30")
    for ip in ("10.0.0.1", "10.0.0.2"):
        await api.make(ADDRESSES, {"metadata": {"name": ip}, "spec": spec})
    reply = await api("POST", SERVICES, service("s", clusterIP="10.0.0.1"))
    assert reply.code == 422
    assert (await api("DELETE", f"{ADDRESSES}/10.0.0.1")).code == 200
    await api.make(SERVICES, service("s", clusterIP="10.0.0.1"))


async def test_addresses_come_of_all_ready_ranges(api: Api):
    shown = (await api("GET", f"{RANGES}/kubernetes")).body
    assert shown["spec"] == {"cidrs": ["10.96.0.0/16"]}
    assert [(each["type"], each["status"]) for each in shown["status"]["conditions"]] == [
        ("Ready", "True")
    ]
    outside = service("s", clusterIP="10.200.0.9")
    reply = await api("POST", SERVICES, outside)
    why = "failed to allocate IP 10.200.0.9: the provided network does not match the current range"
    assert why in reply["message"]
    await _range(api, "more", "10.200.0.0/28")
    await api.make(SERVICES, outside)
    condition = {"type": "Ready", "status": "False", "reason": "Terminating", "message": "m"}
    status = {"conditions": [condition | {"lastTransitionTime": "2026-11-29T10:00:00Z"}]}
    await api("PATCH", f"{RANGES}/more/status", {"status": status}, MERGE)
    reply = await api("POST", SERVICES, service("t", clusterIP="10.200.0.10"))
    assert "does not match the current range" in reply["message"]


async def test_a_second_range_is_used_when_the_first_is_full(api: Api):
    # The default range goes; what is left has two addresses.
    condition = {"type": "Ready", "status": "False", "reason": "Full", "message": "m"}
    status = {"conditions": [condition | {"lastTransitionTime": "2026-11-29T10:00:00Z"}]}
    await api("PATCH", f"{RANGES}/kubernetes/status", {"status": status}, MERGE)
    await _range(api, "a", "10.0.0.0/31")
    await _range(api, "b", "10.0.1.0/30")
    given = {(await api.make(SERVICES, service(f"s{n}")))["spec"]["clusterIP"] for n in range(2)}
    assert given == {"10.0.1.1", "10.0.1.2"}
    reply = await api("POST", SERVICES, service("last"))
    assert (reply.code, "range is full" in reply["message"]) == (500, True)


async def test_what_an_older_server_or_a_user_has_left_is_repaired(api: Api):
    state = api.state
    await api.make(SERVICES, service("s", clusterIP="10.96.0.7"))
    key = storage_key(kinds.SERVICE_ADDRESS, "", "10.96.0.7")
    stale = storage_key(kinds.SERVICE_ADDRESS, "", "10.96.0.8")
    item = state.cache.of(kinds.SERVICE_ADDRESS).get(key)
    left = item.raw.replace(b"10.96.0.7", b"10.96.0.8").replace(b'"s"', b'"gone"')
    left = left.replace(b'"resourceVersion":"%d",' % item.revision, b"")
    await state.store.commit(
        Delete(key, item.revision), Create(stale, left), Create("/claims/ip/10.96.0.7", b"u")
    )
    await repair_addresses(state)
    await state.cache.fresh()
    assert (await api("GET", f"{ADDRESSES}/10.96.0.7"))["spec"]["parentRef"]["name"] == "s"
    assert (await api("GET", f"{ADDRESSES}/10.96.0.8")).code == 404
    assert "/claims/ip/10.96.0.7" not in state.cache.claims


async def test_an_address_that_is_deleted_by_hand_comes_back(api: Api):
    await api.make(SERVICES, service("s", clusterIP="10.96.0.7"))
    start = (await api("GET", ADDRESSES))["metadata"]["resourceVersion"]
    async with api.session.get(f"{ADDRESSES}?watch=1&resourceVersion={start}") as events:
        assert (await api("DELETE", f"{ADDRESSES}/10.96.0.7")).code == 200
        seen = [json.loads(await events.content.readline()) for _ in range(2)]
        assert [each["type"] for each in seen] == ["DELETED", "ADDED"]
        assert seen[1]["object"]["spec"] == seen[0]["object"]["spec"]
        # With its Service it goes for good.
        assert (await api("DELETE", f"{SERVICES}/s")).code == 200
        await api.make(SERVICES, service("t", clusterIP="10.96.0.8"))
        seen = [json.loads(await events.content.readline()) for _ in range(2)]
        assert [each["type"] for each in seen] == ["DELETED", "ADDED"]
        assert seen[1]["object"]["metadata"]["name"] == "10.96.0.8"


@pytest.mark.parametrize("dry", [True, False])
async def test_a_dry_run_takes_no_address(api: Api, dry):
    query = "?dryRun=All" if dry else ""
    made = await api.make(f"{SERVICES}{query}", service("s"))
    found = await api("GET", f"{ADDRESSES}/{made['spec']['clusterIP']}")
    assert found.code == (404 if dry else 200)
