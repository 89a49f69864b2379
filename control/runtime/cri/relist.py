"""Finds what has changed by itself: lists everything each second, as kubelet's PLEG.

Only objects whose state is another one than the last seen are read again.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from dataclasses import replace

from grpclib.const import Status

from control.runtime.base import Container, ContainerRuntimeError, PodRef, Sandbox
from control.runtime.cri import calls, render, view
from control.runtime.cri.cache import Cache
from control.runtime.cri.calls import CallError, Calls
from control.runtime.cri.records import Records
from control.runtime.cri.v1 import api_pb2 as pb

logger = logging.getLogger(__name__)

RELIST_SECONDS = 1.0  # kubelet's


class Relist:
    """Keeps the cache true."""

    def __init__(self, call: Calls, cache: Cache, records: Records, period: float) -> None:
        self._call, self._cache, self._records, self._period = call, cache, records, period
        self.problem = ""
        self.on_health: Callable[[], None] = lambda: None

    async def run(self, making: Collection[str], changed: Callable[[PodRef], None]) -> None:
        """List for ever; ``making`` has the UIDs of Pods whose sandbox is being made."""
        while True:
            await asyncio.sleep(self._period)
            try:
                pods = await self.once(making)
            except ContainerRuntimeError as err:
                self._note(str(err))
                continue
            self._note("")
            for pod in pods:
                changed(pod)

    def _note(self, problem: str) -> None:
        before, self.problem = self.problem, problem
        if bool(before) == bool(problem):
            return
        if problem:
            logger.warning("%s; Pods keep running, trying again every second", problem)
        else:
            logger.info("the container runtime answers again")
        self.on_health()

    async def once(self, making: Collection[str] = ()) -> set[PodRef]:
        """List once; return the Pods of which something has changed."""
        changed = await self._sandboxes(making)
        return changed | await self._containers()

    async def _sandboxes(self, making: Collection[str]) -> set[PodRef]:
        seen = self._cache.sandboxes
        mark = seen.mark()
        listed = (await self._call(calls.LIST_SANDBOXES, pb.ListPodSandboxRequest())).items
        read = {}
        for item in listed:
            known, ready = seen.get(item.id), item.state == pb.SANDBOX_READY
            if known is None and item.labels.get(render.POD_UID) in making:
                continue  # nobody may remove a sandbox that is being made
            if known is None or known.ready != ready:
                found = await self.sandbox(item.id)
                if found is not None:
                    read[item.id] = found
        return seen.merge([item.id for item in listed], read, mark)

    async def sandbox(self, sandbox_id: str) -> Sandbox | None:
        """Read one sandbox; None if it is gone, or not an agent's."""
        found = await self.read(sandbox_id)
        if found is not None and self._records.config(sandbox_id) is None:
            return replace(found, ready=False, addresses=())  # its agent was killed meanwhile
        return found

    async def read(self, sandbox_id: str) -> Sandbox | None:
        """Read one sandbox as the runtime has it, also one of which nothing is kept yet."""
        request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        try:
            status = (await self._call(calls.SANDBOX_STATUS, request)).status
        except CallError as err:
            if err.status is Status.NOT_FOUND:
                return None
            raise
        return view.sandbox(status, self._records.pod_limits(sandbox_id))

    async def _containers(self) -> set[PodRef]:
        seen = self._cache.containers
        mark = seen.mark()
        listed = (await self._call(calls.LIST_CONTAINERS, pb.ListContainersRequest())).containers
        read = {}
        for item in listed:
            known = seen.get(item.id)
            if known is None or known.phase is not view.phase(item.state):
                found = await self.container(item.id, item.pod_sandbox_id)
                if found is not None:
                    read[item.id] = found
        return seen.merge([item.id for item in listed], read, mark)

    async def container(self, container_id: str, sandbox_id: str) -> Container | None:
        """Read one container; None if it is gone, or not an agent's."""
        request = pb.ContainerStatusRequest(container_id=container_id)
        try:
            status = (await self._call(calls.CONTAINER_STATUS, request)).status
        except CallError as err:
            if err.status is Status.NOT_FOUND:
                return None
            raise
        image = self._records.image(sandbox_id, container_id)
        limits = self._records.limits(sandbox_id, container_id)
        return view.container(status, sandbox_id, image, limits)
