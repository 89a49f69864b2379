"""What the server makes of values that upstream refuses or rewrites."""

import pytest

from control.api import kinds
from control.server.wire.info import storage_key
from control.server.wire.item import encode_object
from control.store.base import Update
from tests.support.control.requests import APPS, CORE, MERGE, STRATEGIC, Api, pod, service

PODS = f"{CORE}/pods"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


async def test_quantities_are_stored_in_canonical_form(api: Api):
    """YAML's ``cpu: 1`` is a number; a typed client reads text only."""
    resources = {"limits": {"cpu": 1, "memory": "1024Mi"}, "requests": {"cpu": 0.5}}
    containers = [{"name": "c", "image": "i", "resources": resources}]
    made = await api.make(PODS, pod(containers=containers, overhead={"cpu": 2}))
    assert made["spec"]["overhead"] == {"cpu": "2"}
    stored = {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}}
    assert made["spec"]["containers"][0]["resources"] == stored
    node = {"metadata": {"name": "n"}, "status": {"capacity": {"cpu": 4}}}
    made = await api.make("/api/v1/nodes", node)
    assert made["status"]["allocatable"] == {"cpu": "4"}
    patch = {"status": {"capacity": {"cpu": 5}}}
    patched = await api("PATCH", "/api/v1/nodes/n/status", patch, STRATEGIC)
    assert patched["status"]["capacity"] == {"cpu": "5"}


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        (PODS, pod(securityContext={"fsGroup": "x"})),
        (PODS, pod(ephemeralContainers=[{"name": 1}])),
        (PODS, pod(volumes=[{"name": "v", "nfs": {"server": 1, "path": "/"}}])),
        (PODS, pod(dnsConfig={"options": [{"name": "a", "value": 1}]})),
        (PODS, {"metadata": {"name": "p", "creationTimestamp": "now"}}),
        (LEASES, {"metadata": {"name": "l"}, "spec": {"renewTime": "2026-01-01T00:00:00Z"}}),
        (f"{CORE}/secrets", {"metadata": {"name": "s"}, "data": {"k": "%"}}),
        (f"{CORE}/events", {"metadata": {"name": "e"}, "series": {"count": "1"}}),
    ],
)
async def test_wrong_types_are_refused_also_where_json_is_kept(api: Api, path: str, wire: object):
    reply = await api("POST", path, wire)
    assert (reply.code, reply["reason"]) == (400, "BadRequest"), reply
    assert "cannot be handled as a" in reply["message"]


async def test_a_patch_cannot_bring_a_wrong_type(api: Api):
    await api.make(PODS, pod())
    patch = {"status": {"containerStatuses": [{"name": "c", "restartCount": "1"}]}}
    assert (await api("PATCH", f"{PODS}/p/status", patch, STRATEGIC)).code == 400


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("pods/p/binding", {"target": {"name": 1}}),
        ("pods/p/binding", {"target": [], "metadata": {}}),
        ("pods/p/eviction", {"deleteOptions": {"preconditions": []}}),
        ("pods/p/eviction", {"deleteOptions": {"gracePeriodSeconds": "1"}}),
    ],
)
async def test_subresources_refuse_wrong_types(api: Api, path: str, wire: object):
    await api.make(PODS, pod())
    assert (await api("POST", f"{CORE}/{path}", wire)).code == 400


async def test_zeros_that_json_always_has_are_there(api: Api):
    """Typed clients (Python's kubernetes, Go) read these fields without asking whether they are."""
    await api.make(PODS, pod())
    patch = {"status": {"containerStatuses": [{"name": "c"}]}}
    patched = await api("PATCH", f"{PODS}/p/status", patch, STRATEGIC)
    assert patched["status"]["containerStatuses"] == [
        {
            "name": "c",
            "state": {},
            "lastState": {},
            "ready": False,
            "restartCount": 0,
            "image": "",
            "imageID": "",
        }
    ]
    assert (await api.make(f"{CORE}/services", service()))["status"] == {"loadBalancer": {}}
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    made = await api.make(slices, {"metadata": {"name": "s"}, "addressType": "IPv4"})
    assert (made["endpoints"], made["ports"]) == ([], [])
    made = await api.make(f"{CORE}/serviceaccounts", {"metadata": {"name": "a"}})
    assert "status" not in made


async def test_a_null_value_of_a_map_is_empty_text(api: Api):
    """YAML's ``KEY:`` without a value."""
    made = await api.make(f"{CORE}/configmaps", {"metadata": {"name": "m"}, "data": {"KEY": None}})
    assert made["data"] == {"KEY": ""}


async def test_an_update_to_the_same_values_in_another_form_changes_nothing(api: Api):
    template = pod()
    template["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "1000m"}}
    spec = {"selector": {"matchLabels": {"app": "p"}}, "template": template}
    wire = {"metadata": {"name": "d"}, "spec": spec}
    made = await api.make(f"{APPS}/deployments", wire)
    template["spec"]["containers"][0]["resources"] = {"limits": {"cpu": 1}}
    again = await api("PUT", f"{APPS}/deployments/d", wire)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_seconds_of_a_toleration_may_change_and_the_default_ones_come_back(api: Api):
    given = {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}
    made = await api.make(PODS, pod(tolerations=[given]))
    assert [item["tolerationSeconds"] for item in made["spec"]["tolerations"]] == [5, 300, 300]
    made["spec"]["tolerations"] = [given | {"tolerationSeconds": 9}]
    changed = await api("PUT", f"{PODS}/p", made)
    assert changed.code == 200, changed
    seconds = [item["tolerationSeconds"] for item in changed["spec"]["tolerations"]]
    assert seconds == [9, 300, 300]
    forever = {name: value for name, value in given.items() if name != "tolerationSeconds"}
    patch = {"spec": {"tolerations": [forever, *changed["spec"]["tolerations"][1:]]}}
    assert (await api("PATCH", f"{PODS}/p", patch, MERGE)).code == 200
    other = {"spec": {"tolerations": [given | {"value": "", "effect": "NoSchedule"}]}}
    refused = await api("PATCH", f"{PODS}/p", other, MERGE)
    assert refused.code == 422
    assert "existing toleration can not be modified except its tolerationSeconds" in refused["message"]


async def test_an_update_without_the_computed_priority_keeps_it(api: Api):
    made = await api.make(PODS, pod())
    del made["spec"]["priority"], made["spec"]["preemptionPolicy"]
    kept = (await api("PUT", f"{PODS}/p", made))["spec"]
    assert (kept["priority"], kept["preemptionPolicy"]) == (0, "PreemptLowerPriority")


async def test_an_object_of_an_older_server_can_be_updated(api: Api):
    """It has values in a form that the server no longer stores."""
    made = await api.make(PODS, pod())
    old = made | {"spec": made["spec"] | {"hostNetwork": False, "overhead": {"cpu": 1}}}
    key = storage_key(kinds.POD, "default", "p")
    version = int(made["metadata"]["resourceVersion"])
    await api.state.store.commit(Update(key, encode_object(old), version))
    labels = {"metadata": {"labels": {"new": "one"}}}
    patched = await api("PATCH", f"{PODS}/p", labels, MERGE)
    assert patched.code == 200, patched
    assert patched["spec"]["overhead"] == {"cpu": "1"} and "hostNetwork" not in patched["spec"]
