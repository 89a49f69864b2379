"""What a CRI runtime's agent needs of control groups itself: those of whole Pods."""

from typing import Protocol

from control.runtime.base import Resources
from control.runtime.used import Usage


class PodGroups(Protocol):
    """The control groups of Pods, in which the runtime makes those of containers."""

    def limit_pod(self, uid: str, limits: Resources) -> None:
        """Set what a Pod's containers may use together; raises OSError."""

    def pod_parent(self, uid: str) -> str:
        """Return the path of a Pod's group, as a runtime with the cgroupfs driver takes it."""

    def pod_memory(self, uid: str) -> int | None:
        """Return the bytes that a Pod uses now; None if nobody counts them."""

    def used_by_node(self) -> Usage:
        """Return what the node has used."""

    async def remove_pod(self, uid: str) -> None:
        """Remove a Pod's groups."""
