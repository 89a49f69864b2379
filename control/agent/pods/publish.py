"""Writing a Pod's status: the newest wins, one write at a time, and nothing without a change."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from control.agent.pods.surroundings import Surroundings
from control.api import kinds
from control.api.pod import Pod, PodStatus
from control.client import ApiError, ClientError

logger = logging.getLogger(__name__)

_RETRY_SECONDS = 1.0


class Publisher:
    """The status of one Pod on its way to the API server."""

    def __init__(self, around: Surroundings, wrote: Callable[[], None]) -> None:
        self._around, self._wrote = around, wrote
        self._wanted: tuple[Pod, PodStatus] | None = None
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    def publish(self, pod: Pod, status: PodStatus) -> None:
        """Write this status, unless the object has it already."""
        if not patch_for(pod, status):
            return
        self._wanted = (pod, status)
        self._idle.clear()
        self._changed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def flush(self) -> None:
        """Return when the last status is written (or cannot be any more)."""
        await self._idle.wait()

    async def close(self) -> None:
        """Stop; what is not written is computed again by whoever comes next."""
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
            if await self._write(pod, status) and not self._changed.is_set():
                self._idle.set()

    async def _write(self, pod: Pod, status: PodStatus) -> bool:
        meta = pod.metadata
        patch = {"metadata": {"uid": meta.uid}, "status": patch_for(pod, status)}
        try:
            await self._around.client.patch(
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
                return True  # it is gone, or another Pod by now
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
    """The conditions that differ; they are merged by type, so what is no more is a null."""
    old = {item["type"]: item for item in have}
    changed = [item for item in want if old.get(item["type"]) != item]
    return [
        dict.fromkeys(old.get(item["type"], {}).keys() - item.keys()) | item for item in changed
    ]


def patch_for(pod: Pod, status: PodStatus) -> dict[str, Any]:
    """What of a status differs from the object's, nulls for what is no more; empty when nothing."""
    have = pod.status.wire()
    want = {key: value for key, value in status.wire().items() if value not in ([], "")}
    patch: dict[str, Any] = {key: value for key, value in want.items() if have.get(key) != value}
    if "conditions" in patch:
        patch["conditions"] = _conditions(have.get("conditions") or [], patch["conditions"])
    for key in ("reason", "message", "podIP", "podIPs"):
        if have.get(key) and key not in want:
            patch[key] = None
    if patch.keys() & {"podIPs", "hostIPs"}:
        # Lists with a merge key: without this the old addresses would stay in them.
        patch |= {
            key: [{"$patch": "replace"}, *patch[key]]
            for key in ("podIPs", "hostIPs")
            if patch.get(key)
        }
    return patch
