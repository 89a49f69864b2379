"""What the server makes of values that upstream refuses or rewrites."""

import pytest

from control.api import kinds
from control.server.wire.info import storage_key
from control.server.wire.item import encode_object
from control.store.base import Update
from tests.support.control.requests import (
    APPS,
    CORE,
    MERGE,
    STRATEGIC,
    Api,
    deployment,
    pod,
    service,
)

PODS = f"{CORE}/pods"
CLASSES = "/apis/node.k8s.io/v1/runtimeclasses"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"


async def test_quantities_are_stored_in_canonical_form(api: Api):
    """YAML's ``cpu: 1`` is a number; a typed client reads text only."""
    resources = {"limits": {"cpu": 1, "memory": "1024Mi"}, "requests": {"cpu": 0.5}}
    containers = [{"name": "c", "image": "i", "resources": resources}]
    of_class = {"overhead": {"podFixed": {"cpu": 2}}, "handler": "h"}
    await api.make(CLASSES, {"metadata": {"name": "c"}, **of_class})
    wanted = {"runtimeClassName": "c", "overhead": {"cpu": 2}}
    made = await api.make(PODS, pod(containers=containers, **wanted))
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
    assert (await api("PATCH", f"{PODS}/p/status", patch, STRATEGIC)).code == 422


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
    assert (
        "existing toleration can not be modified except its tolerationSeconds" in refused["message"]
    )


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


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (
            {"serviceAccountName": "robot"},
            'error looking up service account default/robot: serviceaccount "robot" not found',
        ),
        ({"priorityClassName": "fast"}, "no PriorityClass with name fast was found"),
        ({"priority": 7}, "the integer value of priority (7) must not be provided in pod spec"),
        ({"preemptionPolicy": "Never"}, "the string value of PreemptionPolicy (Never) must not"),
        ({"runtimeClassName": "gvisor"}, 'pod rejected: RuntimeClass "gvisor" not found'),
    ],
)
async def test_what_is_not_there_cannot_be_used(api: Api, spec: dict[str, object], why: str):
    reply = await api("POST", PODS, pod(**spec))
    assert (reply.code, reply["reason"]) == (403, "Forbidden")
    assert reply["message"].startswith(f'pods "p" is forbidden: {why}')


async def test_what_is_there_can_be_used(api: Api):
    await api.make(f"{CORE}/serviceaccounts", {"metadata": {"name": "robot"}})
    critical = {"priorityClassName": "system-node-critical", "priority": 2_000_001_000}
    made = await api.make(PODS, pod(serviceAccountName="robot", **critical))
    assert made["spec"]["serviceAccount"] == "robot"


async def test_a_gated_pod_comes_without_a_node(api: Api):
    gated = pod(schedulingGates=[{"name": "a"}], nodeName="n")
    reply = await api("POST", PODS, gated)
    assert (reply.code, reply["details"]["causes"][0]["field"]) == (422, "spec.nodeName")


async def test_a_pod_does_not_share_the_nodes_processes(api: Api):
    reply = await api("POST", PODS, pod(hostPID=True, shareProcessNamespace=True))
    assert (reply.code, reply["details"]["causes"][0]["field"]) == (
        422,
        "spec.securityContext.shareProcessNamespace",
    )


async def test_ephemeral_containers_come_later(api: Api):
    debug = [{"name": "debug", "image": "i"}]
    reply = await api("POST", PODS, pod(ephemeralContainers=debug))
    assert reply.code == 422
    assert "spec.ephemeralContainers: Forbidden: cannot be set on create" in reply["message"]
    await api.make(PODS, pod())
    patch = {"spec": {"ephemeralContainers": debug}}
    assert (await api("PATCH", f"{PODS}/p", patch, STRATEGIC)).code == 422
    wire = deployment()
    wire["spec"]["template"]["spec"]["ephemeralContainers"] = debug
    reply = await api("POST", f"{APPS}/deployments", wire)
    assert "ephemeral containers not allowed in pod template" in reply["message"]


@pytest.mark.parametrize(
    ("ingress", "why"),
    [
        ({"ip": "192.0.2.1\n10.0.0.1"}, "status.loadBalancer.ingress[0].ip: Invalid value"),
        ({"hostname": "a\nb"}, "status.loadBalancer.ingress[0].hostname: Invalid value"),
        ({"hostname": "192.0.2.1"}, "must be a DNS name, not an IP address"),
        ({"hostname": "a", "ipMode": "VIP"}, "may not be specified when `ip` is not set"),
        ({"ip": "192.0.2.1", "ipMode": "Both"}, 'Unsupported value: "Both"'),
    ],
)
async def test_the_addresses_of_a_load_balancer_are_checked(
    api: Api, ingress: dict[str, str], why: str
):
    await api.make(f"{CORE}/services", service(type="LoadBalancer"))
    path = f"{CORE}/services/s/status"
    patch = {"status": {"loadBalancer": {"ingress": [ingress]}}}
    reply = await api("PATCH", path, patch, MERGE)
    assert reply.code == 422 and why in reply["message"], reply
    good = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "a.b"}]}}}
    assert (await api("PATCH", path, good, MERGE)).code == 200
    await api.make(f"{CORE}/services", service("t"))
    reply = await api("PATCH", f"{CORE}/services/t/status", good, MERGE)
    assert "may only be used when `spec.type` is LoadBalancer" in reply["message"]


async def test_the_addresses_of_a_pod_are_checked(api: Api):
    await api.make(PODS, pod())
    twice = [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]
    wrong = (
        {"podIPs": [{"ip": "10.0.0.1\n"}]},
        {"hostIPs": [{"ip": "x"}]},
        {"podIP": "x"},
        {"podIPs": twice},
    )
    for status in wrong:
        refused = await api("PATCH", f"{PODS}/p/status", {"status": status}, MERGE)
        assert refused.code == 422
    assert refused["message"].endswith("may specify no more than one IP for each IP family")
    both = {"podIP": "192.0.2.1", "podIPs": [{"ip": "192.0.2.1"}, {"ip": "2001:db8::1"}]}
    assert (await api("PATCH", f"{PODS}/p/status", {"status": both}, MERGE)).code == 200
