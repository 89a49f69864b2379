"""Takes a node out of a lab: its Pods move, its machine ends, its Node and files are removed."""

import asyncio
import dataclasses
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from control.api import kinds
from control.api.pod import Pod
from control.client import ApiError, Client
from control.cloud.lab.rows import SCHEME
from control.reported import ReportedError
from lab.cgroups import remove_cgroups
from lab.cloud import write_machines
from lab.halt import end_nodes, report_silent
from lab.link import cable
from lab.report import Say
from lab.spec import LabSpec, LabSpecError
from lab.state import LabDir

_RETRY_SECONDS = 0.5
_CLOUD_SECONDS = 10.0
_TOO_MANY = 429  # a PodDisruptionBudget does not allow an eviction now
_DONE = ("Succeeded", "Failed")


class DrainError(ReportedError):
    """Pods of a node cannot be moved; the text names them, the cause, and the remedy."""


def drain(lab: LabDir, name: str, seconds: float, say: Say) -> None:
    """Let no new Pod come to a node, and evict its Pods, as ``kubectl drain`` does.

    Pods of DaemonSets stay. Raises DrainError, ClientError.
    """
    asyncio.run(_drain(lab.kubeconfig, name, seconds, say))


def remove_node(lab: LabDir, spec: LabSpec, name: str) -> None:
    """End a node's machine, and remove it from the API and from the lab; raises ClientError."""
    if len(spec.nodes) == 1:
        raise LabSpecError(f"{name} is the only node of lab {lab.name}: it stays")
    rest = tuple(node for node in spec.nodes if node.name != name)
    smaller = dataclasses.replace(spec, nodes=rest)
    end_nodes(lab, [name])
    write_machines(lab, smaller)
    asyncio.run(_forget(lab.kubeconfig, name))
    lab.write_spec(smaller)
    cable.forget(lab, name)
    remove_cgroups(lab, name)
    shutil.rmtree(lab.machine(name), ignore_errors=True)
    for log in lab.logs.glob(f"{name}-*.log*"):
        log.unlink()


async def _drain(kubeconfig: Path, name: str, seconds: float, say: Say) -> None:
    async with Client.from_kubeconfig(kubeconfig) as client:
        pods = movable(await _pods(client, name))
        if alone := [_title(pod) for pod in pods if not pod.metadata.owner_references]:
            raise DrainError(
                f"node {name} has Pods that no controller makes anew: {', '.join(alone)}; delete "
                "them, or remove the node with --force"
            )
        await client.patch(kinds.NODE, None, name, {"spec": {"unschedulable": True}})
        waiting: dict[str, str] = {}
        try:
            async with asyncio.timeout(seconds):
                while pods := movable(await _pods(client, name)):
                    say(f"drain {name}: {len(pods)} Pods left")
                    waiting = await _evict(client, pods)
                    await asyncio.sleep(_RETRY_SECONDS)
        except TimeoutError:
            why = "; ".join(f"{pod}: {cause}" for pod, cause in sorted(waiting.items()))
            raise DrainError(
                f"node {name} is not drained after {seconds:.0f} s: {why}; it takes no new Pods: "
                f"try again, remove it with --force, or keep it with: kubectl uncordon {name}"
            ) from None
    say(f"drain {name}: no Pod left")


async def _evict(client: Client, pods: Iterable[Pod]) -> dict[str, str]:
    """Ask for the end of Pods; return those that are still there, and why."""
    left = {}
    for pod in pods:
        meta = pod.metadata
        left[_title(pod)] = "it is ending"
        if meta.deletion_timestamp is not None:
            continue
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": meta.name, "namespace": meta.namespace},
        }
        try:
            await client.post(kinds.POD, meta.namespace, meta.name, "eviction", body)
        except ApiError as err:
            if err.code == _TOO_MANY:
                left[_title(pod)] = err.status.message or str(err)
            elif not err.not_found:
                raise
    return left


async def _pods(client: Client, node: str) -> Sequence[Pod]:
    return (await client.list(kinds.POD, field_selector=f"spec.nodeName={node}")).items


def movable(pods: Iterable[Pod]) -> list[Pod]:
    """Return the Pods that a drain evicts: not those of DaemonSets, and none that is done."""
    return [
        pod
        for pod in pods
        if pod.status.phase not in _DONE
        and not any(owner.kind == "DaemonSet" for owner in pod.metadata.owner_references)
    ]


def _title(pod: Pod) -> str:
    return f"{pod.metadata.namespace}/{pod.metadata.name}"


async def _forget(kubeconfig: Path, name: str) -> None:
    """See that a Node ends, and its Pods, which have no agent any more."""
    async with Client.from_kubeconfig(kubeconfig) as client:
        await _leave_to_the_cloud(client, name)
        await _delete(client, kinds.NODE, None, name)
        for pod in await _pods(client, name):
            await _delete(client, kinds.POD, pod.metadata.namespace, pod.metadata.name)


async def _leave_to_the_cloud(client: Client, name: str) -> None:
    """Let the cloud delete a Node whose machine is gone, with its Event; wait a while for it."""
    try:
        async with asyncio.timeout(_CLOUD_SECONDS):
            await report_silent(client, name)
            node = await client.get(kinds.NODE, None, name)
            while (node.spec.provider_id or "").startswith(SCHEME):
                await asyncio.sleep(_RETRY_SECONDS / 10)
                node = await client.get(kinds.NODE, None, name)
    except TimeoutError:  # the cloud's process was killed, say
        return
    except ApiError as err:
        if not err.not_found:
            raise


async def _delete(
    client: Client, kind: kinds.Kind[kinds.M], namespace: str | None, name: str
) -> None:
    try:
        await client.delete(kind, namespace, name, grace_period_seconds=0)
    except ApiError as err:
        if not err.not_found:
            raise
