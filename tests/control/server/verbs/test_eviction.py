"""Evictions and budgets: who may go now, who waits, and what is written."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from control.api import kinds
from control.client import Client
from control.controllers.disruption.controller import DisruptionController
from control.controllers.loop import Manager
from control.controllers.nodes.lifecycle import Grace, NodeLifecycleController
from control.controllers.replicaset import ReplicaSetController
from control.scheduler.loop import Scheduler
from tests.support.control.cluster import Agents, add_node, deployment, ready_node, running, until
from tests.support.control.kubectls import Kubectl
from tests.support.control.requests import Api
from tests.support.control.secured import secured_server

CORE = "/api/v1/namespaces/default"
PDBS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
MERGE = "application/merge-patch+json"
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
UNREADY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}


async def pod(api: Api, name: str, status: Any = READY) -> None:
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    metadata = {"name": name, "labels": {"app": "a"}}
    await api.make(f"{CORE}/pods", {"metadata": metadata, "spec": spec})
    reply = await api("PATCH", f"{CORE}/pods/{name}/status", {"status": status}, MERGE)
    assert reply.code == 200


async def budget(api: Api, allowed: int, *, name: str = "b", **more: Any) -> None:
    spec = {"selector": {"matchLabels": {"app": "a"}}, "minAvailable": 1} | more.pop("spec", {})
    await api.make(PDBS, {"metadata": {"name": name}, "spec": spec})
    status = {"observedGeneration": 1, "disruptionsAllowed": allowed, "desiredHealthy": 1}
    status |= {"currentHealthy": 1 + allowed, "expectedPods": 1 + allowed} | more
    reply = await api("PATCH", f"{PDBS}/{name}/status", {"status": status}, MERGE)
    assert reply.code == 200


async def evict(api: Api, name: str, **options: Any) -> Any:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    return await api("POST", f"{CORE}/pods/{name}/eviction", body | options)


async def is_going(api: Api, name: str) -> bool:
    return "deletionTimestamp" in (await api("GET", f"{CORE}/pods/{name}"))["metadata"]


async def test_a_budget_counts_down_and_then_refuses(api: Api):
    await pod(api, "p")
    await pod(api, "q")
    await budget(api, 1)
    assert (await evict(api, "p")).code == 201
    status = (await api("GET", f"{PDBS}/b"))["status"]
    assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["p"])
    (condition,) = status["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "InsufficientPods")
    conditions = (await api("GET", f"{CORE}/pods/p"))["status"]["conditions"]
    target = next(it for it in conditions if it["type"] == "DisruptionTarget")
    assert (target["status"], target["reason"], target["message"]) == (
        "True",
        "EvictionByEvictionAPI",
        "Eviction API: evicting",
    )
    refused = await evict(api, "q")
    assert (refused.code, refused["reason"]) == (429, "TooManyRequests")
    why = "Cannot evict pod as it would violate the pod's disruption budget."
    assert refused["message"] == why
    text = "The disruption budget b needs 1 healthy pods and has 2 currently"
    assert refused["details"]["causes"] == [{"reason": "DisruptionBudget", "message": text}]
    assert (await is_going(api, "p"), await is_going(api, "q")) == (True, False)


async def test_a_budget_that_was_not_counted_refuses(api: Api):
    await pod(api, "p")
    await budget(api, 1, observedGeneration=0)
    refused = await evict(api, "p")
    assert (refused.code, refused["details"]["retryAfterSeconds"]) == (429, 10)
    (cause,) = refused["details"]["causes"]
    text = "The disruption budget b is still being processed by the server."
    assert cause == {"reason": "DisruptionBudget", "message": text}


@pytest.mark.parametrize(
    ("status", "spec", "numbers", "code"),
    [
        ({"phase": "Pending"}, {}, {}, 201),
        ({"phase": "Succeeded"}, {}, {}, 201),
        (UNREADY, {}, {}, 201),  # enough others are healthy
        (UNREADY, {}, {"currentHealthy": 0}, 429),
        (UNREADY, {"unhealthyPodEvictionPolicy": "AlwaysAllow"}, {"currentHealthy": 0}, 201),
        (READY, {"unhealthyPodEvictionPolicy": "AlwaysAllow"}, {}, 429),
        (READY, {"selector": {"matchLabels": {"app": "x"}}}, {}, 201),
        (READY, {"selector": {}}, {}, 429),
    ],
)
async def test_which_pods_a_spent_budget_holds(
    api: Api, status: Any, spec: Any, numbers: Any, code: int
):
    await pod(api, "p", status)
    await budget(api, 0, spec=spec, **numbers)
    assert (await evict(api, "p")).code == code
    assert (await api("GET", f"{PDBS}/b"))["status"].get("disruptedPods", {}) == {}


async def test_two_budgets_for_one_pod_are_an_error(api: Api):
    await pod(api, "p")
    await budget(api, 1)
    await budget(api, 1, name="c")
    refused = await evict(api, "p")
    assert (refused.code, "more than one PodDisruptionBudget" in refused["message"]) == (500, True)


async def test_a_dry_run_takes_nothing(api: Api):
    await pod(api, "p")
    await budget(api, 1)
    assert (await evict(api, "p", deleteOptions={"dryRun": ["All"]})).code == 201
    assert (await api("GET", f"{PDBS}/b"))["status"]["disruptionsAllowed"] == 1
    assert not await is_going(api, "p")


async def test_an_eviction_names_its_pod(api: Api):
    await pod(api, "p")
    body = {"metadata": {"name": "q"}}
    refused = await api("POST", f"{CORE}/pods/p/eviction", body)
    assert (refused.code, "does not match name in Eviction" in refused["message"]) == (400, True)
    old = {"preconditions": {"resourceVersion": "1"}}
    assert (await evict(api, "p", deleteOptions=old)).code == 409
    assert not await is_going(api, "p")


async def test_evictions_at_once_take_no_more_than_is_allowed(api: Api):
    names = [f"p{at}" for at in range(12)]
    for name in names:
        await pod(api, name)
    await budget(api, 5)
    codes = [reply.code for reply in await asyncio.gather(*(evict(api, name) for name in names))]
    going = [name for name in names if await is_going(api, name)]
    assert set(codes) <= {201, 429}
    assert codes.count(201) == len(going) <= 5
    left = (await api("GET", f"{PDBS}/b"))["status"]
    assert (left["disruptionsAllowed"], len(left["disruptedPods"])) == (5 - len(going), len(going))


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"minAvailable": 1, "maxUnavailable": 1}, "cannot be both set"),
        ({"minAvailable": -1}, "spec.minAvailable: Invalid value: -1: must be greater than or"),
        ({"maxUnavailable": "101%"}, "must not be greater than 100%"),
        ({"maxUnavailable": "1"}, "a valid percent string must be"),
        ({"selector": {"matchLabels": {"a": "-"}}}, "spec.selector.matchLabels"),
        ({"unhealthyPodEvictionPolicy": "Never"}, 'Unsupported value: "Never"'),
    ],
)
async def test_a_wrong_budget_is_refused(api: Api, spec: Any, why: str):
    refused = await api("POST", PDBS, {"metadata": {"name": "b"}, "spec": spec})
    assert (refused.code, why in refused["message"]) == (422, True), refused


async def test_a_status_has_no_negative_numbers(api: Api):
    await budget(api, 1)
    status = {"status": {"disruptionsAllowed": -1}}
    assert (await api("PATCH", f"{PDBS}/b/status", status, MERGE)).code == 422


async def test_kubectl_drain_waits_for_the_budget(tmp_path: Path):
    """One of two Pods goes; the other one goes when its successor is ready elsewhere."""
    async with (
        secured_server(tmp_path) as server,
        Client.from_kubeconfig(server.kubeconfig) as client,
    ):
        kubectl = Kubectl(server, shutil.which("kubectl") or "kubectl")
        for name in ("n1", "n2"):
            await add_node(client, ready_node(name))
        await kubectl("cordon", "n2")
        wire = deployment("d", 2)
        await client.create(kinds.REPLICA_SET, kinds.REPLICA_SET.model.parse(wire))
        await kubectl("create", "pdb", "b", "--selector=app=d", "--max-unavailable=1")
        may_start = asyncio.Event()
        may_start.set()
        agents = Agents(client, ready=lambda _: may_start.is_set())
        patient = NodeLifecycleController(Grace(86400, 86400))
        every = (ReplicaSetController(), DisruptionController(), patient)
        parts = (Manager(client, every).run(), Scheduler(client).run(), agents.run())
        async with running(*parts):
            await until(lambda: shown(kubectl, "1 2 1 2"), "both Pods are healthy", 120)
            may_start.clear()
            await kubectl("uncordon", "n2")
            drain = await kubectl.start("drain", "n1")
            try:
                await until(lambda: shown(kubectl, "0 1 1 2"), "one Pod has gone", 120)
                assert "violate the pod's disruption budget" in await refusal(kubectl)
                assert drain.returncode is None
                may_start.set()
                await kubectl("label", "pods", "--all", "again=true")
                out, err = await asyncio.wait_for(drain.communicate(), 120)
            finally:
                if drain.returncode is None:
                    drain.kill()
                    await drain.communicate()
        assert (drain.returncode, b"node/n1 drained" in out) == (0, True), err


async def shown(kubectl: Kubectl, numbers: str) -> bool:
    names = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    path = " ".join(f"{{.status.{name}}}" for name in names)
    return await kubectl("get", "pdb", "b", "-o", f"jsonpath={path}") == numbers


async def refusal(kubectl: Kubectl) -> str:
    """Return what an eviction of the Pod that is left on the first node says."""

    async def names() -> list[str]:
        node = "--field-selector=spec.nodeName=n1"
        return (await kubectl("get", "pods", node, "-o", "name")).split()

    async def one() -> bool:
        return len(await names()) == 1

    await until(one, "the evicted Pod has ended", 120)
    name = (await names())[0].removeprefix("pod/")
    body = f'{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"name":"{name}"}}}}'
    path = f"/api/v1/namespaces/default/pods/{name}/eviction"
    done = await kubectl.try_("create", "--raw", path, "-f", "-", stdin=body)
    return done.err
