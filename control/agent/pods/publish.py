"""Writes a Pod's status to the API: only the newest, only changes, one write at a time."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from control.agent.pods.context import WorkerContext
from control.agent.pods.resize_status import TYPES
from control.api import kinds
from control.api.pod import Pod, PodStatus
from control.api.types.conform import conform_message
from control.client import ApiError, ClientError

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


class Publisher:
    """Writes the status of one Pod."""

    def __init__(self, context: WorkerContext, wrote: Callable[[], None]) -> None:
        self._context, self._wrote = context, wrote
        self._wanted: tuple[Pod, dict[str, Any]] | None = None  # and its status patch
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def publish(self, pod: Pod, status: PodStatus) -> None:
        """Write a status, unless the object has it already."""
        patch = patch_for(pod, status)
        if not patch:
            return
        self._wanted = (pod, patch)
        self._idle.clear()
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

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
            pod, patch = self._wanted
            if await self._write(pod, patch) and not self._changed.is_set():
                self._idle.set()

    async def _write(self, pod: Pod, changes: dict[str, Any]) -> bool:
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": changes}
        try:
            await self._context.client.patch(
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
