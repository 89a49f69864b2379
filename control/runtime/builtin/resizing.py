"""Changes the resources of what runs: first in the kernel, then in the checkpoint.

An agent that dies in between changes them again: the checkpoint has the old ones.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from control.runtime.base import ContainerRuntimeError, Phase, Resources
from control.runtime.builtin import usage
from control.runtime.builtin.cgroups import Cgroups
from control.runtime.builtin.container import ContainerProcess
from control.runtime.builtin.sandbox import Sandboxes, SandboxRecord
from control.runtime.used import MemoryUse

_REASON = "ResizePodInPlaceError"


def resize_sandbox(
    groups: Cgroups, boxes: Sandboxes, record: SandboxRecord, resources: Resources
) -> SandboxRecord:
    """Change what a Pod's containers may use together; raises ContainerRuntimeError."""
    made = replace(record, config=replace(record.config, resources=resources))
    try:
        groups.limit_pod(record.config.pod.uid, resources)
        boxes.save(made)
    except OSError as err:
        why = f"Pod {record.config.pod}: its resources cannot be changed: {err}"
        raise ContainerRuntimeError(why, _REASON) from err
    return made


def resize_container(groups: Cgroups, process: ContainerProcess, resources: Resources) -> None:
    """Change the requests and limits of a running container; raises ContainerRuntimeError."""
    name = process.identity.config.name
    if process.phase is not Phase.RUNNING:
        raise ContainerRuntimeError(f"container {name} is not running", _REASON)
    try:
        groups.update(process.cgroups, resources)
        process.note(resources)
    except OSError as err:
        why = f"container {name}: its resources cannot be changed: {err}"
        raise ContainerRuntimeError(why, _REASON) from err


def memory_use(groups: Cgroups, uid: str, processes: Iterable[ContainerProcess]) -> MemoryUse:
    """Return how much memory a Pod and those of its containers that run use now."""
    found = {}
    for process in processes:
        if process.phase is Phase.RUNNING:
            used = usage.memory(map(Path, process.cgroups))
            if used is not None:
                found[process.identity.id] = used
    return MemoryUse(groups.pod_memory(uid), found)
