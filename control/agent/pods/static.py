"""What tells a static Pod, which a file of the node makes, from one of the API."""

from control.api.pod import Pod

CONFIG_HASH = "kubernetes.io/config.hash"
CONFIG_MIRROR = "kubernetes.io/config.mirror"
CONFIG_SEEN = "kubernetes.io/config.seen"
CONFIG_SOURCE = "kubernetes.io/config.source"


class StaticPod(Pod):
    """A Pod of a file. Annotations do not tell it: anybody may write them into other Pods."""


def is_mirror(pod: Pod) -> bool:
    """Return True for the object that shows a static Pod in the API."""
    return CONFIG_MIRROR in pod.metadata.annotations


def is_mirror_of(mirror: Pod, pod: Pod) -> bool:
    """Return True if a mirror shows this version of a static Pod."""
    notes = pod.metadata.annotations
    return mirror.metadata.annotations.get(CONFIG_MIRROR) == notes.get(CONFIG_HASH)
