"""A Deployment's versions and their revisions. Pure.

The wanted version is the ReplicaSet whose Pod template equals the Deployment's, except for the hash
label. An undo restores an old template: its ReplicaSet then gets the next revision.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from control.api import kinds
from control.api.meta import LabelSelector, ObjectMeta
from control.api.workload import Deployment, PodTemplateSpec, ReplicaSet, ReplicaSetSpec
from control.controllers.deployment.limits import Limits
from control.controllers.hashing import safe_hash
from control.controllers.state import owner_reference

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
# Annotations of a Deployment that describe itself, not its wanted version.
_OWN = {
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MOST,
}


@dataclass(frozen=True, slots=True)
class Versions:
    """The ReplicaSets of a Deployment: the wanted version, if it exists, and the others."""

    new: ReplicaSet | None
    old: tuple[ReplicaSet, ...]

    @property
    def all(self) -> tuple[ReplicaSet, ...]:
        """The old versions, then the new one."""
        return (*self.old, self.new) if self.new else self.old


def versions(deployment: Deployment, owned: Iterable[ReplicaSet]) -> Versions:
    """Divide ReplicaSets into the wanted version and others; of two equal ones take the older."""
    ordered = sorted(owned, key=lambda rs: (rs.metadata.creation_timestamp or "", rs.key))
    wanted = _plain(deployment.spec.template)
    new = next((rs for rs in ordered if _plain(rs.spec.template) == wanted), None)
    return Versions(new, tuple(rs for rs in ordered if rs is not new))


def _plain(template: PodTemplateSpec) -> PodTemplateSpec:
    labels = {k: v for k, v in template.metadata.labels.items() if k != HASH_LABEL}
    metadata = template.metadata.model_copy(update={"labels": labels})
    return template.model_copy(update={"metadata": metadata})


def template_hash(template: PodTemplateSpec, collisions: int) -> str:
    """Return the hash label of a template.

    It differs from upstream's, which hashes a rendering by Go. Both find ReplicaSets by comparing
    templates: the hash only has to be stable, and to differ after a collision.
    """
    text = orjson.dumps(_plain(template).wire(), option=orjson.OPT_SORT_KEYS)
    return safe_hash(text, collisions)


def revision(item: ReplicaSet | Deployment) -> int:
    """Return an object's revision; 0 if it has no valid one."""
    text = item.metadata.annotations.get(REVISION, "")
    return int(text) if text.isdigit() else 0


def next_revision(old: Sequence[ReplicaSet]) -> int:
    """Return the revision that follows those of the old versions."""
    return max((revision(rs) for rs in old), default=0) + 1


def first_version(
    deployment: Deployment, old: Sequence[ReplicaSet], replicas: int, bounds: Limits
) -> ReplicaSet:
    """Return the ReplicaSet to create for a Deployment's template."""
    spec = deployment.spec
    digest = template_hash(spec.template, deployment.status.collision_count or 0)
    labels = spec.template.metadata.labels | {HASH_LABEL: digest}
    template_meta = spec.template.metadata.model_copy(update={"labels": labels})
    carried = _carried(deployment) | {REVISION: str(next_revision(old))}
    return ReplicaSet(
        metadata=ObjectMeta(
            name=f"{deployment.metadata.name}-{digest}",
            namespace=deployment.metadata.namespace,
            labels=labels,
            annotations=carried | size_annotations(bounds),
            owner_references=[owner_reference(kinds.DEPLOYMENT, deployment)],
        ),
        spec=ReplicaSetSpec(
            replicas=replicas,
            min_ready_seconds=spec.min_ready_seconds,
            selector=_narrowed(spec.selector, digest),
            template=spec.template.model_copy(update={"metadata": template_meta}),
        ),
    )


def _narrowed(selector: LabelSelector, digest: str) -> LabelSelector:
    labels = selector.match_labels | {HASH_LABEL: digest}
    return selector.model_copy(update={"match_labels": labels})


def _carried(deployment: Deployment) -> dict[str, str]:
    return {k: v for k, v in deployment.metadata.annotations.items() if k not in _OWN}


def size_annotations(bounds: Limits) -> dict[str, str]:
    """Return the annotations that record the Deployment's size at the last scaling."""
    return {DESIRED: str(bounds.replicas), MOST: str(bounds.replicas + bounds.surge)}


def refreshed(deployment: Deployment, found: Versions) -> ReplicaSet | None:
    """Return the wanted version with updated annotations and fields; None if it is up to date."""
    rs = found.new
    if rs is None:
        return None
    annotations = rs.metadata.annotations | _carried(deployment)
    number, have = next_revision(found.old), revision(rs)
    if have < number:
        past = annotations.get(REVISION_HISTORY)
        if have:
            annotations[REVISION_HISTORY] = f"{past},{have}" if past else str(have)
        annotations[REVISION] = str(number)
    change: dict[str, Any] = {}
    if annotations != rs.metadata.annotations:
        change["metadata"] = rs.metadata.model_copy(update={"annotations": annotations})
    if (rs.spec.min_ready_seconds or 0) != (deployment.spec.min_ready_seconds or 0):
        wait = {"min_ready_seconds": deployment.spec.min_ready_seconds}
        change["spec"] = rs.spec.model_copy(update=wait)
    return rs.model_copy(update=change) if change else None


def expendable(deployment: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Return the versions without Pods beyond revisionHistoryLimit, oldest first."""
    limit = deployment.spec.revision_history_limit
    if limit is None:
        return []
    alive = [rs for rs in old if rs.metadata.deletion_timestamp is None]
    surplus = sorted(alive, key=revision)[: max(0, len(alive) - limit)]
    return [rs for rs in surplus if _is_empty(rs)]


def _is_empty(rs: ReplicaSet) -> bool:
    observed = (rs.status.observed_generation or 0) >= (rs.metadata.generation or 0)
    return observed and not rs.spec.replicas and not rs.status.replicas
