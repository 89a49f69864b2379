"""The disk space of Pods against their limits, as kubelet's localStorageEviction sees it.

The space of a container is its layer over the image and its logs; a Pod's is that of its containers
and its emptyDir volumes on disk. Nothing stops a write: who has too much is evicted afterwards.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from control.agent.pods.quality import amount
from control.api.pod import Pod
from control.api.quantity import Quantity, QuantityError, parse, total
from control.linux.files import disk_usage

_RESOURCE = "ephemeral-storage"


def is_limited(pod: Pod) -> bool:
    """True if a Pod has a limit of disk space."""
    limits = [amount(container, "limits", _RESOURCE) for container in pod.spec.containers]
    return any(limits) or any(_volume_limits(pod).values())


def excess(pod: Pod, volumes: Path, layers: Mapping[str, Iterable[Path]]) -> str:
    """Return kubelet's message about the first limit that a Pod exceeds; "" if there is none.

    ``volumes`` is the folder of the Pod's volumes, ``layers`` has the folders of each running
    container by name. It walks through all of their files.
    """
    sizes = {name: sum(map(disk_usage, folders)) for name, folders in layers.items()}
    emptied = {name: disk_usage(volumes / name) for name in _volume_limits(pod)}
    for name, limit in _volume_limits(pod).items():
        if limit and emptied[name] > limit.value():
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    limits = {it.name: amount(it, "limits", _RESOURCE) for it in pod.spec.containers}
    given = [limit for limit in limits.values() if limit is not None]
    if given and sum(sizes.values()) + sum(emptied.values()) > total(given).value():
        whole = total(given)
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {whole}. "
    for name, limit in limits.items():
        if limit is not None and sizes.get(name, 0) > limit.value():
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


def _volume_limits(pod: Pod) -> dict[str, Quantity | None]:
    """Return the limits of the emptyDir volumes on disk; one in memory cannot grow beyond its."""
    return {
        volume.name: _quantity(volume.empty_dir.size_limit)
        for volume in pod.spec.volumes
        if volume.empty_dir and volume.empty_dir.medium != "Memory"
    }


def _quantity(text: str | float | None) -> Quantity | None:
    try:
        return parse(text) if text else None
    except QuantityError:
        return None
