"""What containers use, as the runtime counts it."""

import asyncio
import time

from control.runtime.base import Phase
from control.runtime.cri import calls
from control.runtime.cri.cache import Cache
from control.runtime.cri.calls import Calls
from control.runtime.cri.groups import PodGroups
from control.runtime.cri.v1 import api_pb2 as pb
from control.runtime.used import MemoryUse, RuntimeUsage, Usage


async def of_node(call: Calls, cache: Cache, groups: PodGroups) -> RuntimeUsage:
    """Return what the node and its running containers have used; raises ContainerRuntimeError."""
    answer = await call(calls.LIST_STATS, pb.ListContainerStatsRequest())
    used = {
        item.attributes.id: Usage(
            item.cpu.usage_core_nano_seconds.value / 1e9, item.memory.working_set_bytes.value
        )
        for item in answer.stats
    }
    running = [it.id for it in cache.containers.items() if it.phase is Phase.RUNNING]
    found = {item_id: used[item_id] for item_id in running if item_id in used}
    node = await asyncio.to_thread(groups.used_by_node)
    return RuntimeUsage(time.time(), node, found)


async def memory(call: Calls, cache: Cache, groups: PodGroups, sandbox_id: str) -> MemoryUse:
    """Return how much memory a Pod and its containers use; raises ContainerRuntimeError."""
    filters = pb.ContainerStatsFilter(pod_sandbox_id=sandbox_id)
    answer = await call(calls.LIST_STATS, pb.ListContainerStatsRequest(filter=filters))
    found = {
        item.attributes.id: item.memory.usage_bytes.value or item.memory.working_set_bytes.value
        for item in answer.stats
    }
    box = cache.sandboxes.get(sandbox_id)
    return MemoryUse(groups.pod_memory(box.pod.uid) if box else None, found)
