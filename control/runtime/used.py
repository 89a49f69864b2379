"""What containers and the node have used of CPU and memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Usage:
    """What a container or a node has used: seconds of CPU since its start, and bytes in use.

    The bytes are the working set, without file pages that are easily dropped.
    """

    cpu: float
    memory: int


@dataclass(frozen=True, slots=True)
class RuntimeUsage:
    """What the node, and by their IDs the containers that run, have used at a time."""

    at: float  # seconds since the epoch
    node: Usage
    containers: Mapping[str, Usage] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """The bytes of memory that a sandbox's Pod and its containers, by their IDs, use now.

    Unlike ``Usage`` with all file pages: what the kernel holds against a limit. None is unknown.
    """

    pod: int | None = None
    containers: Mapping[str, int] = field(default_factory=dict)
