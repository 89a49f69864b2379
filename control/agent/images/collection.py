"""Removes images that no container uses when their disk is full, the longest unused first.

Source: k8s.io/kubernetes/pkg/kubelet/images/image_gc_manager.go
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from control.agent.images.pulled import PulledImages
from control.runtime.base import ContainerRuntimeError, DiskSpace, RuntimeState, StoredImage

logger = logging.getLogger(__name__)

_PERIOD_SECONDS = 300.0
_DISABLED = 100


@dataclass(frozen=True, slots=True)
class CollectionPolicy:
    """From ``high`` percent of the disk on images go until ``low`` is reached.

    ``least_age``: seconds since an image was first seen. ``most_age``: seconds since its last use,
    after which it goes anyway; 0 is never. The values are kubelet's; a ``high`` of 100 is never.
    """

    high: int = 85
    low: int = 80
    least_age: float = 120.0
    most_age: float = 0.0


DEFAULT_COLLECTION = CollectionPolicy()
NO_COLLECTION = CollectionPolicy(high=_DISABLED)


class ImageRuntime(Protocol):
    """The calls of a runtime that are needed; see ``control.runtime.base.Runtime``."""

    def observe(self) -> RuntimeState:
        """Return all containers."""

    async def images(self) -> tuple[StoredImage, ...]:
        """Return every image."""

    async def remove_image(self, image_id: str) -> None:
        """Remove an image."""

    async def image_disk(self) -> DiskSpace:
        """Return the space of the images' disk."""


class CollectionError(Exception):
    """Too little could be removed; the text is kubelet's Event."""


class LastUses:
    """When each image was first seen, and last used. Pure."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._last: dict[str, float] = {}

    def note(self, images: Iterable[StoredImage], used: Iterable[str], now: float) -> None:
        """Take the present images, and the names and IDs that containers have."""
        marks, present = set(used), {image.id: image for image in images}
        self._first = {it: self._first.get(it, now) for it in present}
        self._last = {it: self._last.get(it, 0.0) for it in present}
        for image in present.values():
            if marks & {image.id, *image.names}:
                self._last[image.id] = now

    def old(self, images: Iterable[StoredImage], now: float, most_age: float) -> list[StoredImage]:
        """Return the images without a use for longer; one that never had any is old at once."""
        return [it for it in self.unused(images, now, 0.0) if now - self._last[it.id] > most_age]

    def unused(
        self, images: Iterable[StoredImage], now: float, least_age: float
    ) -> list[StoredImage]:
        """Return the images that may go, in the order in which they do."""
        free = [
            image
            for image in images
            if not image.pinned
            and self._last[image.id] < now
            and now - self._first[image.id] >= least_age
        ]
        return sorted(free, key=lambda it: (self._last[it.id], self._first[it.id], it.id))


class ImageCollector:
    """Keeps the images' disk below its limit."""

    def __init__(
        self,
        runtime: ImageRuntime,
        policy: CollectionPolicy,
        pulled: PulledImages,
        warn: Callable[[str, str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``warn`` records an Event about the node, by its reason and message."""
        self._runtime, self._policy, self._pulled = runtime, policy, pulled
        self._warn, self._clock = warn, clock
        self._uses = LastUses()
        self._failed = False
        self._began = clock()

    async def run(self) -> None:
        """Look at the disk every five minutes, until cancelled."""
        while self._policy.high < _DISABLED or self._policy.most_age:
            await self.once()
            await asyncio.sleep(_PERIOD_SECONDS)

    async def once(self) -> None:
        """Look once; a second failure in a row is an Event, as kubelet's."""
        try:
            await self._collect()
            self._failed = False
        except (CollectionError, ContainerRuntimeError, OSError) as err:
            logger.warning("image garbage collection: %s", err)
            if self._failed:
                self._warn("ImageGCFailed", str(err))
            self._failed = True

    async def _collect(self) -> None:
        now, policy, mark = self._clock(), self._policy, self._pulled.mark()
        images = await self._runtime.images()
        containers = self._runtime.observe().containers
        used = [mark for it in containers for mark in (it.image_id, it.image)]
        self._uses.note(images, used, now)
        images = await self._forget_old(images, now, mark)
        disk = await self._runtime.image_disk()
        if disk.capacity <= 0:
            self._warn("InvalidDiskCapacity", "invalid capacity 0 on image filesystem")
            raise CollectionError("invalid capacity 0 on image filesystem")
        percent = 100 - min(disk.available, disk.capacity) * 100 // disk.capacity
        if percent < policy.high or policy.high >= _DISABLED:
            return
        wanted = disk.capacity * (100 - policy.low) // 100 - disk.available
        unused = self._uses.unused(images, now, policy.least_age)
        gone = await self._free(unused, wanted, "the disk is full")
        self._pulled.keep(frozenset(it.id for it in images) - {it.id for it in gone}, mark)
        freed = sum(image.size for image in gone)
        if freed < wanted:
            text = _too_little(percent, disk.capacity, freed)
            self._warn("FreeDiskSpaceFailed", text)
            raise CollectionError(text)

    async def _forget_old(
        self, images: tuple[StoredImage, ...], now: float, mark: int
    ) -> tuple[StoredImage, ...]:
        """Remove the images that nobody has used for long; return the others.

        As kubelet, not before the agent itself is as old: it does not know of uses before.
        """
        most = self._policy.most_age
        if not most or now - self._began <= most:
            return images
        old = self._uses.old(images, now, most)
        gone = await self._free(old, sum(it.size for it in old) + 1, "nobody uses it")
        left = tuple(it for it in images if it not in gone)
        self._pulled.keep(frozenset(it.id for it in left), mark)
        return left

    async def _free(
        self, images: Iterable[StoredImage], wanted: int, why: str
    ) -> list[StoredImage]:
        """Remove images until ``wanted`` bytes are free; one that cannot be removed stays."""
        gone: list[StoredImage] = []
        for image in images:
            if sum(it.size for it in gone) >= wanted:
                break
            try:
                await self._runtime.remove_image(image.id)
            except ContainerRuntimeError as err:
                logger.warning("image %s: cannot be removed: %s", image.names[:1], err)
                continue
            logger.info("image %s: removed, %s (%d bytes)", image.names, why, image.size)
            gone.append(image)
        return gone


def _too_little(percent: int, capacity: int, freed: int) -> str:
    return (
        f"Insufficient free disk space on the node's image filesystem ({percent}% of "
        f"{size_text(capacity)} used). Failed to free sufficient space by deleting unused images "
        f"(freed {freed} bytes). Investigate disk usage, as it could be used by active images, "
        "logs, volumes, or other data."
    )


def size_text(size: float) -> str:
    """Write bytes for people: 12 B, 1.5 KiB, 20.0 GiB."""
    if size < 1024:
        return f"{int(size)} B"
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"
