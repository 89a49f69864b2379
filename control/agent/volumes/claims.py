"""The folders behind the claims of a Pod. Texts are kubelet's.

Source: k8s.io/kubernetes/pkg/kubelet/volumemanager/populator (getPVCExtractPV).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from control.api import kinds
from control.api.binding import reaches
from control.api.persistent import PersistentVolume, ephemeral_claim
from control.api.pod import Pod
from control.api.volume import Volume
from control.client import ApiError, Client
from control.runtime.base import ContainerRuntimeError


@dataclass(frozen=True, slots=True)
class Claimed:
    """The folder of one volume; ``owned`` if it is a disk of the node, to which fsGroup applies."""

    path: Path
    read_only: bool = False
    owned: bool = False


class Claims:
    """Reads the claims of a node's Pods; a bound claim keeps its volume, so each is read once."""

    def __init__(self, client: Client, node: str) -> None:
        self._client, self._node = client, node
        self._known: dict[str, dict[str, Claimed]] = {}  # by uid of the Pod, by volume

    async def of(self, pod: Pod) -> Mapping[str, Claimed]:
        """Return the folders of a Pod's claims by volume.

        Raises ContainerRuntimeError if one has none, and ClientError.
        """
        known = self._known.setdefault(pod.metadata.uid, {})
        for volume in pod.spec.volumes:
            name = claim_name(pod, volume)
            if name and volume.name not in known:
                known[volume.name] = await self._find(pod, volume, name)
        return known

    def forget(self, uid: str) -> None:
        """Drop what is known of a Pod."""
        self._known.pop(uid, None)

    async def _find(self, pod: Pod, volume: Volume, name: str) -> Claimed:
        try:
            found = await self._volume(pod, name)
        except ApiError as err:
            if not err.not_found:
                raise
            raise _broken(f"failed to fetch PVC or PV from API server: {err}", pod, name) from err
        source = volume.persistent_volume_claim
        read_only = bool(source and source.read_only)
        if found.spec.host_path is not None:
            return Claimed(Path(found.spec.host_path.path), read_only)
        if found.spec.local is not None:
            return Claimed(Path(found.spec.local.path), read_only, owned=True)
        why = "podwire mounts volumes of the kinds hostPath and local, not of this one"
        raise _broken(f'PV "{found.metadata.name}": {why}', pod, name)

    async def _volume(self, pod: Pod, name: str) -> PersistentVolume:
        namespace = pod.metadata.namespace
        claim = await self._client.get(kinds.VOLUME_CLAIM, namespace, name)
        if claim.metadata.deletion_timestamp is not None:
            raise _broken("PVC is being deleted", pod, name)
        if claim.status.phase != "Bound" or not claim.spec.volume_name:
            raise _broken("PVC is not bound", pod, name)
        volume = await self._client.get(kinds.PERSISTENT_VOLUME, None, claim.spec.volume_name)
        ref = volume.spec.claim_ref
        if ref is None or ref.uid != claim.metadata.uid:
            raise _broken(f'PV "{volume.metadata.name}" is bound to another PVC', pod, name)
        if volume.spec.node_affinity is not None:
            node = await self._client.get(kinds.NODE, None, self._node)
            if not reaches(volume, node):
                raise ContainerRuntimeError(
                    f'MountVolume.NodeAffinity check failed for volume "{volume.metadata.name}" :'
                    " no matching NodeSelectorTerms",
                    "FailedMount",
                )
        return volume


def _broken(why: str, pod: Pod, name: str) -> ContainerRuntimeError:
    text = f"error processing PVC {pod.metadata.namespace}/{name}: {why}"
    return ContainerRuntimeError(text, "FailedMount")


def claim_name(pod: Pod, volume: Volume) -> str:
    """Return the name of the claim behind a volume; empty if there is none."""
    if volume.persistent_volume_claim is not None:
        return volume.persistent_volume_claim.claim_name
    return ephemeral_claim(pod.metadata.name, volume.name) if volume.ephemeral else ""
