"""A Deployment's versions: which ReplicaSet is the wanted one, and what its annotations say. Pure.

The newest version is the ReplicaSet whose Pod template equals the Deployment's but for the hash
label. Going back is putting an old template back: its ReplicaSet then gets the next revision.
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
# A Deployment's annotations that are about itself, not about the version it wants.
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
        """The old ones, then the new one."""
        return (*self.old, self.new) if self.new else self.old


def versions(deployment: Deployment, owned: Iterable[ReplicaSet]) -> Versions:
    """Tell the wanted version from the others; of two equal ones the older is taken."""
    ordered = sorted(owned, key=lambda rs: (rs.metadata.creation_timestamp or "", rs.key))
    wanted = _plain(deployment.spec.template)
    new = next((rs for rs in ordered if _plain(rs.spec.template) == wanted), None)
    return Versions(new, tuple(rs for rs in ordered if rs is not new))


def _plain(template: PodTemplateSpec) -> PodTemplateSpec:
    labels = {k: v for k, v in template.metadata.labels.items() if k != HASH_LABEL}
    metadata = template.metadata.model_copy(update={"labels": labels})
    return template.model_copy(update={"metadata": metadata})


def template_hash(template: PodTemplateSpec, collisions: int) -> str:
    """The hash label of a template.

    Upstream hashes a Go rendering that no other program can repeat; both find their ReplicaSets
    by comparing templates, the hash only has to be stable and to differ after a collision.
    """
    text = orjson.dumps(_plain(template).wire(), option=orjson.OPT_SORT_KEYS)
    return safe_hash(text, collisions)


def revision(item: ReplicaSet | Deployment) -> int:
    """Its revision; 0 if it has none that is a number."""
    text = item.metadata.annotations.get(REVISION, "")
    return int(text) if text.isdigit() else 0


def next_revision(old: Sequence[ReplicaSet]) -> int:
    """The revision of what comes after all these."""
    return max((revision(rs) for rs in old), default=0) + 1


def first_version(
    deployment: Deployment, old: Sequence[ReplicaSet], replicas: int, bounds: Limits
) -> ReplicaSet:
    """The ReplicaSet to create for a Deployment's template."""
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
    """By which a ReplicaSet remembers for which size of the Deployment it was scaled."""
    return {DESIRED: str(bounds.replicas), MOST: str(bounds.replicas + bounds.surge)}


def refreshed(deployment: Deployment, found: Versions) -> ReplicaSet | None:
    """The wanted version as its Deployment would have it; None if it is so."""
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
    """The versions beyond revisionHistoryLimit that have no Pods left, oldest first."""
    limit = deployment.spec.revision_history_limit
    if limit is None:
        return []
    alive = [rs for rs in old if rs.metadata.deletion_timestamp is None]
    surplus = sorted(alive, key=revision)[: max(0, len(alive) - limit)]
    return [rs for rs in surplus if _is_empty(rs)]


def _is_empty(rs: ReplicaSet) -> bool:
    observed = (rs.status.observed_generation or 0) >= (rs.metadata.generation or 0)
    return observed and not rs.spec.replicas and not rs.status.replicas
