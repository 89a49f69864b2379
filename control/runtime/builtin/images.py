"""The images of the built-in runtime: those of a folder. It pulls none."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from control.runtime.base import ContainerRuntimeError, Credentials, DiskSpace, StoredImage
from control.runtime.builtin.spec import ImageConfig


class Image(Protocol):
    """One name of an image."""

    @property
    def name(self) -> str:
        """The full name."""

    @property
    def id(self) -> str:
        """The image's ID."""

    @property
    def size(self) -> int:
        """The bytes of its files."""


class Images(Protocol):
    """The source of images."""

    def find(self, reference: str) -> tuple[str, ImageConfig]:
        """Return (image ID, configuration) of a local image; raises ContainerRuntimeError."""

    @property
    def folder(self) -> Path:
        """The folder of the images that can be removed."""

    def remove(self, reference: str) -> bool:
        """Remove an image's name; False if there was none. Raises OSError."""

    def list(self) -> Sequence[Image]:
        """Return all images, by name."""


class LocalImages:
    """The part of ``control.runtime.base.Runtime`` that is about images."""

    pulls = False

    def __init__(self, images: Images) -> None:
        self._images = images

    async def image(self, reference: str) -> StoredImage | None:
        """Return an image that is here; None if it is not."""
        try:
            image_id, _ = self._images.find(reference)
        except ContainerRuntimeError:
            return None
        return StoredImage((reference,), 0, image_id)

    async def images(self) -> tuple[StoredImage, ...]:
        """Return every image that is here, once with all of its names."""
        by_id: dict[str, list[Image]] = {}
        for image in await asyncio.to_thread(self._images.list):
            by_id.setdefault(image.id, []).append(image)
        return tuple(
            StoredImage(tuple(one.name for one in same), same[0].size, image_id)
            for image_id, same in by_id.items()
        )

    async def remove_image(self, image_id: str) -> None:
        """Remove an image with all of its names, as far as they are not in a read-only folder."""
        await asyncio.to_thread(self._remove, image_id)

    def _remove(self, image_id: str) -> None:
        for image in self._images.list():
            if image.id == image_id:
                try:
                    self._images.remove(image.name)
                except OSError as err:
                    raise ContainerRuntimeError(f"image {image.name}: {err}") from err
        if any(image.id == image_id for image in self._images.list()):
            raise ContainerRuntimeError("it is in a folder that is only read")

    async def image_disk(self) -> DiskSpace:
        """Return the space of the file system with the images; raises ContainerRuntimeError."""
        try:
            found = await asyncio.to_thread(shutil.disk_usage, self._images.folder)
        except OSError as err:
            raise ContainerRuntimeError(f"images: {err}") from err
        return DiskSpace(found.total, found.free)

    async def pull_image(
        self, reference: str, _sandbox_id: str, _credentials: Credentials | None
    ) -> StoredImage:
        """Raise ContainerRuntimeError, which says how an absent image can be brought here."""
        image_id, _ = self._images.find(reference)
        return StoredImage((reference,), 0, image_id)
