"""The Pod and the claims of each number of a StatefulSet. Pure."""

import re
from collections.abc import Iterator
from typing import Any

from control.api import kinds
from control.api.meta import Object, ObjectMeta
from control.api.persistent import PersistentVolumeClaim
from control.api.pod import Pod
from control.api.volume import Volume
from control.api.workload import ControllerRevision, StatefulSet
from control.controllers.history import REVISION_HASH, template_of
from control.controllers.state import owner_reference

CLAIM = kinds.VOLUME_CLAIM
_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
_INDEX_LABEL = "apps.kubernetes.io/pod-index"
_NUMBERED = re.compile(r"(.*)-([0-9]{1,10})")


def ordinal_of(the_set: StatefulSet, pod: Object) -> int | None:
    """Return the number of a Pod in its name; None if the name is not of this set."""
    found = _NUMBERED.fullmatch(pod.metadata.name)
    return int(found[2]) if found and found[1] == the_set.metadata.name else None


def revision_of(pod: Pod) -> str:
    """Return the name of the revision that a Pod was made of."""
    return pod.metadata.labels.get(REVISION_HASH, "")


def numbered_pod(the_set: StatefulSet, revision: ControllerRevision, ordinal: int) -> Pod:
    """Return the Pod of a number, by the template of a revision."""
    template = template_of(revision)
    name = f"{the_set.metadata.name}-{ordinal}"
    labels = {
        REVISION_HASH: revision.metadata.name,
        _NAME_LABEL: name,
        _INDEX_LABEL: str(ordinal),
    }
    change: dict[str, Any] = {
        "hostname": name,
        "volumes": _volumes(the_set, template.spec, ordinal),
    }
    if the_set.spec.service_name:
        change["subdomain"] = the_set.spec.service_name
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace=the_set.metadata.namespace,
            labels=template.metadata.labels | labels,
            annotations=template.metadata.annotations,
            finalizers=template.metadata.finalizers,
            owner_references=[owner_reference(kinds.STATEFUL_SET, the_set)],
        ),
        spec=template.spec.model_copy(update=change),
    )


def _volumes(the_set: StatefulSet, spec: Any, ordinal: int) -> list[Volume]:
    """Return the volumes of the claims, and those of the template whose names they leave."""
    names = [str(claim["metadata"]["name"]) for claim in the_set.spec.volume_claim_templates]
    made = [
        Volume.parse(
            {
                "name": name,
                "persistentVolumeClaim": {"claimName": _claim_name(the_set, name, ordinal)},
            }
        )
        for name in names
    ]
    return [*made, *(volume for volume in spec.volumes if volume.name not in names)]


def _claim_name(the_set: StatefulSet, template: str, ordinal: int) -> str:
    return f"{template}-{the_set.metadata.name}-{ordinal}"


def claims(the_set: StatefulSet, ordinal: int) -> Iterator[PersistentVolumeClaim]:
    """Yield the claims of a number; they stay when the Pod or the set goes."""
    for template in the_set.spec.volume_claim_templates:
        given = template.get("metadata") or {}
        metadata = given | {
            "name": _claim_name(the_set, str(given["name"]), ordinal),
            "namespace": the_set.metadata.namespace,
            "labels": (given.get("labels") or {}) | the_set.spec.selector.match_labels,
        }
        spec = template.get("spec") or {}
        yield PersistentVolumeClaim.parse({"metadata": metadata, "spec": spec})
