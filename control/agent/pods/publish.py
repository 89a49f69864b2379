"""Writes a Pod's status to the API: only the newest, only changes, one write at a time."""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from control.agent.pods.context import WorkerContext
from control.agent.pods.resize_status import TYPES
from control.api import kinds
from control.api.pod import Pod, PodStatus
from control.api.types.conform import conform_message
from control.client import ApiError, ClientError
from control.client.cache import version_of

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0
# How long a step on the way to Running waits for the next one, so that both are one write. kubelet
# sees such steps once a second.
_GATHER_SECONDS = 0.2


class Publisher:
    """Writes the status of one Pod."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._wanted: tuple[Pod, PodStatus] | None = None
        self._written: Pod | None = None  # as the server answered the last write
        self._computed: tuple[Pod, PodStatus, dict[str, Any]] | None = None  # the last patch
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def publish(self, pod: Pod, status: PodStatus) -> None:
        """Write a status, unless the object has it already."""
        if not self._patch(pod, status):
            return
        self._wanted = (pod, status)
        self._idle.clear()
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def _newest(self, pod: Pod) -> Pod:
        """Return the newer one of what the informer and what the last write brought.

        The informer hears of a write later than the writer.
        """
        last = self._written
        if last is None or last.metadata.uid != pod.metadata.uid:
            return pod
        return last if version_of(last.resource_version) > version_of(pod.resource_version) else pod

    def _patch(self, pod: Pod, status: PodStatus) -> dict[str, Any]:
        """Return what is to be written now; between two calls seldom something has changed."""
        newest, known = self._newest(pod), self._computed
        if known is None or known[0] is not newest or known[1] is not status:
            known = self._computed = (newest, status, patch_for(newest, status))
        return known[2]

    async def flush(self) -> None:
        """Return when the last status is written, or can no longer be written."""
        await self._idle.wait()

    async def close(self) -> None:
        """Stop; the next agent computes an unwritten status again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._wanted is None:
                continue
            pod, status = self._wanted
            if _is_passing(self._newest(pod), status):
                await self._gather()
            pod, status = self._wanted
            patch, self._computed = self._patch(pod, status), None
            if (not patch or await self._write(pod, patch)) and not self._changed.is_set():
                self._idle.set()

    async def _gather(self) -> None:
        """Wait a moment for a newer status."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), _GATHER_SECONDS)
        self._changed.clear()

    async def _write(self, pod: Pod, changes: dict[str, Any]) -> bool:
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": changes}
        try:
            self._written = await self._context.client.patch(
                kinds.POD,
                meta.namespace,
                meta.name,
                patch,
                type="strategic",
                subresource="status",
            )
        except ApiError as err:
            if err.code in (404, 409, 422):
                logger.info("Pod %s/%s: status not written: %s", meta.namespace, meta.name, err)
                return True  # the Pod is gone, or another one has its name
            await self._retry(err)
            return False
        except ClientError as err:
            await self._retry(err)
            return False
        return True

    async def _retry(self, err: ClientError) -> None:
        logger.debug("status not written, trying again: %s", err)
        await asyncio.sleep(_RETRY_SECONDS)
        self._changed.set()


def _is_passing(pod: Pod, status: PodStatus) -> bool:
    """True for a status between the first one, which says that the Pod has begun, and Running."""
    return status.phase in (None, "Pending") and pod.status.start_time is not None


def _conditions(have: list[dict[str, Any]], want: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the conditions that differ; a removed field is null, as they are merged by type."""
    old = {item["type"]: item for item in have}
    changed = [item for item in want if old.get(item["type"]) != item]
    over = old.keys() - {item["type"] for item in want}
    return [
        *({"$patch": "delete", "type": kind} for kind in TYPES if kind in over),
        *(dict.fromkeys(old.get(item["type"], {}).keys() - item.keys()) | item for item in changed),
    ]


def _complete(status: PodStatus) -> dict[str, Any]:
    return conform_message("core.PodStatus", status.wire())[0]


def patch_for(pod: Pod, status: PodStatus) -> dict[str, Any]:
    """Return the patch from the object's status to this one; a removed field is null.

    It has every field that upstream's JSON always has, such as ``ready`` and ``restartCount``.
    """
    have, want = _complete(pod.status), _complete(status)
    patch: dict[str, Any] = {key: value for key, value in want.items() if have.get(key) != value}
    if "conditions" in patch:
        patch["conditions"] = _conditions(have.get("conditions") or [], patch["conditions"])
    for key in ("reason", "message", "podIP", "podIPs"):
        if have.get(key) and key not in want:
            patch[key] = None
    if patch.keys() & {"podIPs", "hostIPs"}:
        # These lists have a merge key: without "replace" the old addresses would stay in them.
        patch |= {
            key: [{"$patch": "replace"}, *patch[key]]
            for key in ("podIPs", "hostIPs")
            if patch.get(key)
        }
    return patch
