"""The images that a Node reports, as kubelet does (pkg/kubelet/nodestatus, Images): pure."""

from collections.abc import Iterable

from control.api.node import ContainerImage
from control.runtime.base import StoredImage

_MOST_IMAGES = 50  # kubelet's nodeStatusMaxImages
_MOST_NAMES = 5  # of one image


def reported(images: Iterable[StoredImage]) -> list[ContainerImage]:
    """Return the entries of images with all of their names; the largest images first."""
    found = sorted(images, key=lambda image: (-image.size, image.names[:1]))
    return [
        ContainerImage(names=list(image.names[:_MOST_NAMES]), size_bytes=image.size)
        for image in found[:_MOST_IMAGES]
    ]
