"""Which volumes one node's provisioner makes and removes. Pure.

A volume is a folder of the node, as with rancher's local-path-provisioner, which kind has: a
PersistentVolume with a hostPath that only its node reaches.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from control.api.base import Model
from control.api.binding import reference_to
from control.api.persistent import (
    DELETE,
    PROVISIONED_BY,
    PROVISIONERS,
    SELECTED_NODE,
    PersistentVolume,
    PersistentVolumeClaim,
    StorageClass,
)

PROVISIONER = "podwire.io/host-path"
_HOST = "kubernetes.io/hostname"
_MODES = ("ReadWriteOnce", "ReadWriteOncePod")


def wanted(
    node: str,
    claims: Iterable[PersistentVolumeClaim],
    classes: Mapping[str, StorageClass],
    made: Iterable[str],
) -> Iterator[PersistentVolumeClaim]:
    """Yield the claims for which this node makes a volume; ``made`` names those that exist."""
    made = set(made)
    for claim in claims:
        found = classes.get(claim.storage_class)
        if found is None or found.provisioner != PROVISIONER or claim.spec.volume_name:
            continue
        if claim.metadata.deletion_timestamp is not None or volume_name(claim) in made:
            continue
        annotations = claim.metadata.annotations
        asked = any(annotations.get(name) == PROVISIONER for name in PROVISIONERS)
        # Without a node that was chosen, whoever is first makes it: the name is the same for all.
        if asked and annotations.get(SELECTED_NODE) in (None, node):
            yield claim


def superfluous(node: str, volumes: Iterable[PersistentVolume]) -> Iterator[PersistentVolume]:
    """Yield the volumes that this node has to remove: their claims are gone."""
    for volume in volumes:
        if (
            volume.metadata.annotations.get(PROVISIONED_BY) == PROVISIONER
            and volume.spec.persistent_volume_reclaim_policy == DELETE
            and volume.status.phase == "Released"
            and volume.metadata.deletion_timestamp is None
            and node_of(volume) == node
        ):
            yield volume


def node_of(volume: PersistentVolume) -> str:
    """Return the node of a volume that ``volume_for`` has made; empty for others."""
    required = volume.spec.node_affinity.required if volume.spec.node_affinity else None
    terms = required.node_selector_terms if required else []
    if len(terms) == 1 and len(terms[0].match_expressions) == 1:
        only = terms[0].match_expressions[0]
        if only.key == _HOST and len(only.values) == 1:
            return only.values[0]
    return ""


def volume_name(claim: PersistentVolumeClaim) -> str:
    """Return the name of a claim's volume, as all of upstream's provisioners give it."""
    return f"pvc-{claim.metadata.uid}"


def unsupported(claim: PersistentVolumeClaim) -> str:
    """Return why no folder can be what a claim asks for; empty if one can."""
    if claim.spec.selector is not None:
        return "claim.Spec.Selector is not supported"
    if claim.spec.volume_mode == "Block":
        return "block volume provisioning is not supported"
    if not set(claim.spec.access_modes) <= set(_MODES):
        return "a folder of one node only supports ReadWriteOnce and ReadWriteOncePod access modes"
    return ""


def folder_for(root: Path, claim: PersistentVolumeClaim) -> Path:
    """Return the folder of a claim's volume."""
    return root / f"{volume_name(claim)}_{claim.metadata.namespace}_{claim.metadata.name}"


def volume_for(
    node: str, root: Path, claim: PersistentVolumeClaim, found: StorageClass
) -> PersistentVolume:
    """Return the volume of a claim on this node."""
    terms = [{"matchExpressions": [{"key": _HOST, "operator": "In", "values": [node]}]}]
    return PersistentVolume.parse(
        {
            "metadata": {
                "name": volume_name(claim),
                "annotations": {PROVISIONED_BY: PROVISIONER},
            },
            "spec": {
                "capacity": {"storage": _asked(claim.spec.resources)["requests"]["storage"]},
                "accessModes": claim.spec.access_modes,
                "persistentVolumeReclaimPolicy": found.reclaim_policy or DELETE,
                "storageClassName": found.metadata.name,
                "volumeMode": claim.spec.volume_mode or "Filesystem",
                "claimRef": reference_to(claim).wire(),
                "hostPath": {"path": str(folder_for(root, claim)), "type": "DirectoryOrCreate"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": terms}},
                **({"mountOptions": found.mount_options} if found.mount_options else {}),
            },
        }
    )


def _asked(resources: Model | None) -> dict[str, dict[str, str]]:
    return resources.wire() if resources else {}
