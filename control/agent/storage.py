"""The disk space of Pods against their limits, as kubelet's localStorageEviction sees it.

The space of a container is its layer over the image and its logs; a Pod's is that of its containers
and its emptyDir volumes on disk. An init container counts for its Pod's sum, by upstream's formula,
and is not held to its own limit, as with kubelet. Nothing stops a write: who has too much is
evicted afterwards.
"""

from collections.abc import Mapping
from pathlib import Path

from control.agent.pods.quality import amount, pod_amount
from control.api.pod import Pod
from control.api.quantity import Quantity, QuantityError, parse
from control.linux.usage import disk_usage

_RESOURCE = "ephemeral-storage"


def is_limited(pod: Pod) -> bool:
    """True if a Pod has a limit of disk space."""
    return pod_amount(pod, "limits", _RESOURCE) is not None or any(_volume_limits(pod).values())


def excess(pod: Pod, volumes: Path, containers: Mapping[str, tuple[Path, Path]]) -> str:
    """Return kubelet's message about the first limit that a Pod exceeds; "" if there is none.

    ``volumes`` is the folder of the Pod's volumes, ``containers`` has the folder of each running
    container, and that of its logs, by name. It walks through all of their files.
    """
    sizes = {name: layer(home) + disk_usage(logs) for name, (home, logs) in containers.items()}
    emptied = {name: disk_usage(volumes / name) for name in _volume_limits(pod)}
    for name, limit in _volume_limits(pod).items():
        if limit and emptied[name] > limit.value():
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    whole = pod_amount(pod, "limits", _RESOURCE)
    if whole and sum(sizes.values()) + sum(emptied.values()) > whole.value():
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {whole}. "
    limits = {it.name: amount(it, "limits", _RESOURCE) for it in pod.spec.containers}
    for name, limit in limits.items():
        if limit and limit.nano and sizes.get(name, 0) > limit.value():
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def layer(home: Path) -> int:
    """Return the bytes that a container has written: its overlay, or its copy less the image."""
    try:
        image = int((home / "copy.size").read_text())
    except FileNotFoundError:
        image = 0
    return disk_usage(home / "upper") + max(0, disk_usage(home / "copy") - image)


def _volume_limits(pod: Pod) -> dict[str, Quantity | None]:
    """Return the limits of the emptyDir volumes on disk; one in memory cannot grow beyond its."""
    return {
        volume.name: _quantity(volume.empty_dir.size_limit)
        for volume in pod.spec.volumes
        if volume.empty_dir and volume.empty_dir.medium != "Memory"
    }


def _quantity(text: str | float | None) -> Quantity | None:
    try:
        found = parse(text) if text else None
        return found if found and found.nano > 0 else None  # 0 is no limit, as for kubelet
    except QuantityError:
        return None
