"""What was last seen of a runtime's sandboxes and containers. Pure.

A list that was asked for before a call of ours must not undo what that call has shown since: each
object remembers when it was last written, and an older list does not touch it.
"""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

from control.runtime.base import Container, PodRef, RuntimeState, Sandbox

T = TypeVar("T", Sandbox, Container)


class Seen(Generic[T]):
    """The objects of one kind, by ID, in the order in which they were first seen."""

    def __init__(self) -> None:
        self._items: dict[str, T] = {}
        self._written: dict[str, int] = {}
        self._now = 0

    def mark(self) -> int:
        """Return the present moment, for the list that is about to be asked for."""
        return self._now

    def get(self, item_id: str) -> T | None:
        """Return an object, or None if it is not there."""
        return self._items.get(item_id)

    def items(self) -> tuple[T, ...]:
        """Return all objects."""
        return tuple(self._items.values())

    def put(self, item: T) -> None:
        """Note an object as a call has just shown it."""
        self._touch(item.id)
        self._items[item.id] = item

    def drop(self, item_id: str) -> None:
        """Note that an object is gone."""
        self._touch(item_id)
        self._items.pop(item_id, None)

    def _touch(self, item_id: str) -> None:
        self._now += 1
        self._written[item_id] = self._now

    def newer(self, item_id: str, mark: int) -> bool:
        """True if an object was written after a moment."""
        return self._written.get(item_id, 0) > mark

    def merge(self, listed: Iterable[str], read: Mapping[str, T], mark: int) -> set[PodRef]:
        """Take a list that was asked for at ``mark``; return the Pods whose objects have changed.

        ``listed`` has the ID of every object, ``read`` those whose state was read again.
        """
        changed = set()
        present = set(listed)
        for item_id in [known for known in self._items if known not in present]:
            if not self.newer(item_id, mark):
                changed.add(self._items.pop(item_id).pod)
        for item_id, item in read.items():
            if not self.newer(item_id, mark) and self._items.get(item_id) != item:
                self._items[item_id] = item
                changed.add(item.pod)
        gone = [item_id for item_id in self._written if item_id not in self._items]
        for item_id in gone:
            if not self.newer(item_id, mark):
                del self._written[item_id]
        return changed


class Cache:
    """All that was last seen."""

    def __init__(self) -> None:
        self.sandboxes: Seen[Sandbox] = Seen()
        self.containers: Seen[Container] = Seen()

    def state(self) -> RuntimeState:
        """Return it as the agent sees it."""
        return RuntimeState(self.sandboxes.items(), self.containers.items())

    def of(self, sandbox_id: str) -> list[Container]:
        """Return the containers of a sandbox."""
        return [item for item in self.containers.items() if item.sandbox_id == sandbox_id]
