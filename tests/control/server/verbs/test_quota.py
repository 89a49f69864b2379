"""ResourceQuotas: what is refused and charged when objects are written."""

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from control.server.access.authn import Authenticator
from control.server.app import serve
from tests.support.control.requests import CORE, MERGE, Api, config_map, pod, service

QUOTAS, PODS, SERVICES, MAPS, CLAIMS = (
    f"{CORE}/{it}"
    for it in ("resourcequotas", "pods", "services", "configmaps", "persistentvolumeclaims")
)


async def make_quota(api: Api, hard: dict[str, Any], **more: Any) -> None:
    """Make a quota, and do what the controller does: say that nothing is used yet."""
    spec = {"hard": hard} | more.pop("spec", {})
    made = await api.make(QUOTAS, {"metadata": {"name": "q"} | more, "spec": spec})
    status = {"hard": made["spec"]["hard"], "used": dict.fromkeys(hard, "0")}
    reply = await api("PUT", f"{QUOTAS}/q/status", made | {"status": status})
    assert reply.code == 200, reply


async def used(api: Api) -> dict[str, str]:
    return dict((await api("GET", f"{QUOTAS}/q"))["status"]["used"])


def asking(name: str, requests: dict[str, str], limits: dict[str, str], **spec: Any) -> Any:
    resources = {"requests": requests, "limits": limits}
    return pod(name, containers=[{"name": "c", "image": "i", "resources": resources}], **spec)


async def test_the_pod_beyond_the_last_is_refused(api: Api):
    await make_quota(api, {"pods": "1", "count/pods": "5"})
    await api.make(PODS, pod("a"))
    reply = await api("POST", PODS, pod("b"))
    assert (reply.code, reply["reason"]) == (403, "Forbidden")
    assert reply["message"] == (
        'pods "b" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1'
    )
    assert await used(api) == {"pods": "1", "count/pods": "1"}


async def test_of_many_creates_at_once_as_many_as_fit_succeed(api: Api):
    await make_quota(api, {"pods": "3"})
    replies = await asyncio.gather(*(api("POST", PODS, pod(f"p{at}")) for at in range(12)))
    assert sorted(reply.code for reply in replies) == [201] * 3 + [403] * 9
    assert await used(api) == {"pods": "3"}


async def test_servers_over_one_store_charge_one_quota(api: Api):
    await make_quota(api, {"pods": "3"})
    bound = socket.create_server(("127.0.0.1", 0))
    trusting = Authenticator(trusting=True)
    async with (
        serve(api.state.store, [bound], authenticator=trusting) as state,
        aiohttp.ClientSession(f"http://127.0.0.1:{bound.getsockname()[1]}") as session,
    ):
        both = (api, Api(session, state))
        replies = await asyncio.gather(
            *(both[at % 2]("POST", PODS, pod(f"p{at}")) for at in range(8))
        )
    assert sorted(reply.code for reply in replies) == [201] * 3 + [403] * 5
    assert await used(api) == {"pods": "3"}


async def test_a_charge_of_another_server_is_counted_before_ones_own(api: Api, monkeypatch):
    """Between a look at the quota and the commit, somebody else takes the last place."""
    await make_quota(api, {"pods": "1"})
    commit, cut_in = api.state.store.commit, []

    async def late(*changes: Any) -> int:
        if not cut_in:
            cut_in.append(True)
            old = (await api("GET", f"{QUOTAS}/q")).body
            taken = old | {"status": old["status"] | {"used": {"pods": "1"}}}
            assert (await api("PUT", f"{QUOTAS}/q/status", taken)).code == 200
        return await commit(*changes)

    monkeypatch.setattr(api.state.store, "commit", late)
    reply = await api("POST", PODS, pod("a"))
    assert reply.code == 403 and "exceeded quota: q" in reply["message"]


async def test_what_is_charged_of_a_pod(api: Api):
    names = ["cpu", "memory", "requests.cpu", "limits.cpu", "limits.memory", "requests.memory"]
    names += ["requests.ephemeral-storage", "requests.example.com/gpu", "hugepages-2Mi"]
    await make_quota(api, dict.fromkeys(names, "10Gi"))
    requests = {"cpu": "500m", "memory": "1Gi", "ephemeral-storage": "1Gi"}
    requests |= {"example.com/gpu": "2", "hugepages-2Mi": "4Mi"}
    limits = {"cpu": "1", "memory": "1Gi", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"}
    peak = {"requests": {"cpu": "3", "memory": "1Mi"}, "limits": {"cpu": "3", "memory": "1Mi"}}
    init = [{"name": "i", "image": "i", "resources": peak}]
    await api.make(PODS, asking("a", requests, limits, initContainers=init))
    assert await used(api) == {
        "cpu": "3",
        "requests.cpu": "3",
        "limits.cpu": "3",
        "memory": "1Gi",
        "requests.memory": "1Gi",
        "limits.memory": "1Gi",
        "requests.ephemeral-storage": "1Gi",
        "requests.example.com/gpu": "2",
        "hugepages-2Mi": "4Mi",
    }


async def test_what_is_exceeded_is_told_in_order(api: Api):
    await make_quota(api, {"requests.memory": "1Gi", "requests.cpu": "1", "pods": "9"})
    reply = await api("POST", PODS, asking("a", {"cpu": "1500m", "memory": "2Gi"}, {}))
    assert reply["message"] == (
        'pods "a" is forbidden: exceeded quota: q,'
        " requested: requests.cpu=1500m,requests.memory=2Gi,"
        " used: requests.cpu=0,requests.memory=0, limited: requests.cpu=1,requests.memory=1Gi"
    )


async def test_each_container_says_what_is_limited(api: Api):
    await make_quota(api, {"limits.cpu": "1", "requests.memory": "1Gi", "requests.cpu": "1"})
    containers = [
        {"name": "b", "image": "i", "resources": {"requests": {"memory": "1Mi"}}},
        {"name": "a", "image": "i", "resources": {"requests": {"cpu": "1"}}},
    ]
    reply = await api("POST", PODS, pod("p", containers=containers))
    assert reply.code == 403
    assert reply["message"] == (
        'pods "p" is forbidden: failed quota: q: must specify limits.cpu for: a,b;'
        " requests.cpu for: b; requests.memory for: a"
    )


async def test_nothing_is_held_to_a_quota_that_nobody_has_counted(api: Api):
    await api.make(QUOTAS, {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}})
    await api.make(PODS, pod("a"))
    quota = (await api("GET", f"{QUOTAS}/q")).body
    status = {"hard": {"pods": "0"}, "used": {}}
    assert (await api("PUT", f"{QUOTAS}/q/status", quota | {"status": status})).code == 200
    reply = await api("POST", PODS, pod("b"))
    assert reply["message"] == (
        'pods "b" is forbidden: status unknown for quota: q, resources: pods'
    )


async def test_node_ports_are_charged_by_their_difference(api: Api):
    limits = {"services": "2", "services.nodeports": "2", "services.loadbalancers": "1"}
    await make_quota(api, limits)
    await api.make(SERVICES, service("s"))
    assert await used(api) == {
        "services": "1",
        "services.nodeports": "0",
        "services.loadbalancers": "0",
    }
    patch = {"spec": {"type": "NodePort"}}
    assert (await api("PATCH", f"{SERVICES}/s", patch, MERGE)).code == 200
    assert (await used(api))["services.nodeports"] == "1"
    patch = {"metadata": {"labels": {"a": "b"}}}
    assert (await api("PATCH", f"{SERVICES}/s", patch, MERGE)).code == 200
    assert (await used(api))["services.nodeports"] == "1"
    ports = [{"name": f"p{at}", "port": at} for at in (80, 81, 82)]
    reply = await api("PATCH", f"{SERVICES}/s", {"spec": {"ports": ports}}, MERGE)
    assert reply["message"] == (
        'services "s" is forbidden: exceeded quota: q, requested: services.nodeports=2,'
        " used: services.nodeports=1, limited: services.nodeports=2"
    )
    balanced = service("b", type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    await api.make(SERVICES, balanced)
    assert await used(api) == {
        "services": "2",
        "services.nodeports": "1",
        "services.loadbalancers": "1",
    }


async def test_storage_is_charged_by_class(api: Api):
    gold = "gold.storageclass.storage.k8s.io"
    names = ("persistentvolumeclaims", "requests.storage")
    every = [*names, *(f"{gold}/{name}" for name in names)]
    await make_quota(api, dict.fromkeys(every, "5Gi"))
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    await api.make(CLAIMS, {"metadata": {"name": "a"}, "spec": spec})
    golden = {"metadata": {"name": "b"}, "spec": spec | {"storageClassName": "gold"}}
    await api.make(CLAIMS, golden)
    assert await used(api) == {
        "persistentvolumeclaims": "2",
        "requests.storage": "4Gi",
        f"{gold}/persistentvolumeclaims": "1",
        f"{gold}/requests.storage": "2Gi",
    }
    growing = {"provisioner": "example.com/disks", "allowVolumeExpansion": True}
    classes = "/apis/storage.k8s.io/v1/storageclasses"
    await api.make(classes, {"metadata": {"name": "gold"}} | growing)
    await api("PATCH", f"{CLAIMS}/b/status", {"status": {"phase": "Bound"}}, MERGE)
    patch = {"spec": {"resources": {"requests": {"storage": "4Gi"}}}}
    reply = await api("PATCH", f"{CLAIMS}/b", patch, MERGE)
    assert "requested: requests.storage=2Gi, used: requests.storage=4Gi" in reply["message"]


async def test_objects_of_any_kind_are_counted(api: Api):
    await make_quota(api, {"configmaps": "1", "count/deployments.apps": "0", "count/secrets": "1"})
    await api.make(MAPS, config_map("a"))
    reply = await api("POST", MAPS, config_map("b"))
    assert "requested: configmaps=1, used: configmaps=1, limited: configmaps=1" in reply["message"]
    apps = "/apis/apps/v1/namespaces/default/deployments"
    labels = {"app": "d"}
    template = {"metadata": {"labels": labels}, "spec": pod()["spec"]}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    reply = await api("POST", apps, {"metadata": {"name": "d"}, "spec": spec})
    assert "exceeded quota: q, requested: count/deployments.apps=1" in reply["message"]
    patch = {"data": {"a": "b"}}
    assert (await api("PATCH", f"{MAPS}/a", patch, MERGE)).code == 200


async def test_a_dry_run_is_held_and_not_charged(api: Api):
    await make_quota(api, {"configmaps": "1"})
    assert (await api("POST", f"{MAPS}?dryRun=All", config_map("a"))).code == 201
    assert await used(api) == {"configmaps": "0"}
    await api.make(MAPS, config_map("a"))
    assert (await api("POST", f"{MAPS}?dryRun=All", config_map("b"))).code == 403


async def test_a_failed_create_is_not_charged(api: Api):
    await make_quota(api, {"configmaps": "5"})
    await api.make(MAPS, config_map("a"))
    assert (await api("POST", MAPS, config_map("a"))).code == 409
    assert await used(api) == {"configmaps": "1"}


CROSS = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}
TERM = {"topologyKey": "k", "namespaces": ["other"], "labelSelector": {}}
CROSS["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] = [TERM]
BURST = {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}]}


def priority(operator: str, *values: str) -> dict[str, Any]:
    needed = {"scopeName": "PriorityClass", "operator": operator, "values": [*values]}
    return {"scopeSelector": {"matchExpressions": [needed]}}


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ({"scopes": ["Terminating"]}, {"activeDeadlineSeconds": 5}, {}),
        ({"scopes": ["NotTerminating"]}, {}, {"activeDeadlineSeconds": 5}),
        ({"scopes": ["BestEffort"]}, {}, BURST),
        ({"scopes": ["NotBestEffort"]}, BURST, {}),
        ({"scopes": ["CrossNamespacePodAffinity"]}, {"affinity": CROSS}, {}),
        (priority("In", "high"), {"priorityClassName": "high"}, {}),
        (priority("NotIn", "high"), {}, {"priorityClassName": "high"}),
        (priority("Exists"), {"priorityClassName": "high"}, {}),
        (priority("DoesNotExist"), {}, {"priorityClassName": "high"}),
    ],
)
async def test_scopes_say_which_pods_count(api: Api, scope, inside, outside):
    high = {"metadata": {"name": "high"}, "value": 5}
    await api.make("/apis/scheduling.k8s.io/v1/priorityclasses", high)
    await make_quota(api, {"pods": "1"}, spec=scope)
    await api.make(PODS, pod("a", **outside))
    assert await used(api) == {"pods": "0"}
    await api.make(PODS, pod("b", **inside))
    assert await used(api) == {"pods": "1"}
    await api.make(PODS, pod("c", **outside))
    assert (await api("POST", PODS, pod("d", **inside))).code == 403


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (
            {"hard": {"foo": "1"}},
            [
                'spec.hard[foo]: Invalid value: "foo": must be a standard resource type or fully'
                " qualified",
                'spec.hard[foo]: Invalid value: "foo": must be a standard resource for quota',
            ],
        ),
        (
            {"hard": {"storage": "1"}},
            ['spec.hard[storage]: Invalid value: "storage": must be a standard resource for quota'],
        ),
        (
            {"hard": {"pods": "-1"}},
            ['spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0'],
        ),
        (
            {"hard": {"pods": "500m"}},
            ['spec.hard[pods]: Invalid value: "500m": must be an integer'],
        ),
        (
            {"hard": {"count/jobs.batch": "500m"}},
            ['spec.hard[count/jobs.batch]: Invalid value: "500m": must be an integer'],
        ),
        (
            {"hard": {"pods": "1"}, "scopes": ["Some"]},
            ['spec.scopes: Invalid value: ["Some"]: unsupported scope'],
        ),
        (
            {"hard": {"services": "1"}, "scopes": ["BestEffort"]},
            ['spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource'],
        ),
        (
            {"hard": {"pods": "1"}, "scopes": ["BestEffort", "NotBestEffort"]},
            [
                'spec.scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes',
            ],
        ),
        (
            {"hard": {"pods": "1"}} | priority("In"),
            [
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one"
                " value when `operator` is 'In' or 'NotIn' for scope selector",
            ],
        ),
        (
            {"hard": {"pods": "1"}} | priority("Gt", "a"),
            [
                'spec.scopeSelector.matchExpressions.operator: Invalid value: "Gt": not a valid'
                " selector operator",
            ],
        ),
    ],
)
async def test_wrong_quotas_are_refused(api: Api, spec, wrong):
    reply = await api("POST", QUOTAS, {"metadata": {"name": "q"}, "spec": spec})
    assert reply.code == 422
    causes = reply["details"]["causes"]
    assert [f"{it['field']}: {it['message']}" for it in causes] == wrong


async def test_scopes_stay(api: Api):
    await make_quota(api, {"pods": "1"}, spec={"scopes": ["BestEffort"]})
    reply = await api("PATCH", f"{QUOTAS}/q", {"spec": {"scopes": ["Terminating"]}}, MERGE)
    assert reply.code == 422 and "spec.scopes: Invalid value" in reply["message"]
    assert "field is immutable" in reply["message"]
