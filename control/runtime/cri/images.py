"""Images of a CRI runtime: finds, lists and pulls them."""

import asyncio
import shutil
from dataclasses import replace

from control.runtime.base import ContainerRuntimeError, Credentials, DiskSpace, StoredImage
from control.runtime.cri import calls, inspect
from control.runtime.cri.calls import Calls
from control.runtime.cri.v1 import api_pb2 as pb

_PULL_SECONDS = 3600.0


class Images:
    """The runtime's image store."""

    def __init__(self, call: Calls) -> None:
        self._call = call

    async def pull(
        self, reference: str, credentials: Credentials | None, pod: pb.PodSandboxConfig
    ) -> pb.Image:
        """Return an image that the runtime has just pulled; raises ContainerRuntimeError."""
        request = pb.PullImageRequest(image=pb.ImageSpec(image=reference), sandbox_config=pod)
        if credentials is not None:
            who = pb.AuthConfig(username=credentials.user, password=credentials.password)
            request.auth.CopyFrom(who)
        await self._call(calls.PULL_IMAGE, request, _PULL_SECONDS)
        found = await self.find(reference)
        if found is None:
            raise ContainerRuntimeError(
                f'image "{reference}" was pulled, and the runtime does not have it'
            )
        return found

    async def find(self, reference: str) -> pb.Image | None:
        """Return an image that the runtime has; None if it has not."""
        request = pb.ImageStatusRequest(image=pb.ImageSpec(image=reference))
        answer = await self._call(calls.IMAGE_STATUS, request)
        return answer.image if answer.HasField("image") and answer.image.id else None

    async def list(self) -> tuple[StoredImage, ...]:
        """Return every image with its names and size.

        That of sandboxes is pinned; containerd says so itself since 1.7 only.
        """
        own = await inspect.sandbox_image(self._call)
        answer = await self._call(calls.LIST_IMAGES, pb.ListImagesRequest())
        images = [stored(image) for image in answer.images]
        return tuple(
            replace(image, pinned=image.pinned or bool(own and own in image.names))
            for image in images
        )

    async def remove(self, image_id: str) -> None:
        """Remove an image with all of its names; one that is gone is removed."""
        request = pb.RemoveImageRequest(image=pb.ImageSpec(image=image_id))
        await self._call(calls.REMOVE_IMAGE, request)

    async def disk(self) -> DiskSpace:
        """Return the space of the file system with the images; raises ContainerRuntimeError."""
        answer = await self._call(calls.IMAGE_FS, pb.ImageFsInfoRequest())
        folders = [it.fs_id.mountpoint for it in answer.image_filesystems]
        try:
            found = await asyncio.to_thread(shutil.disk_usage, folders[0])
        except (IndexError, OSError) as err:
            why = f"the runtime does not say where its images are: {folders}"
            raise ContainerRuntimeError(why) from err
        return DiskSpace(found.total, found.free)


def stored(image: pb.Image) -> StoredImage:
    """Return an image as the agent sees it."""
    return StoredImage((*image.repo_digests, *image.repo_tags), image.size, image.id, image.pinned)
