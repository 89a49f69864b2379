"""The history of a workload's templates: a ControllerRevision for each. Pure.

A revision's data is the patch that restores its template; ``kubectl rollout undo`` applies it. Its
names are sorted: upstream's controllers compare its text, byte for byte, with the one that Go
writes for the template, and roll every Pod if they differ. Source:
k8s.io/kubernetes/pkg/controller/daemon/update.go (getPatch, Match),
and pkg/controller/statefulset/stateful_set_utils.go (getPatch).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from control.api import kinds
from control.api.kinds import Kind
from control.api.meta import ObjectMeta
from control.api.workload import ControllerRevision, DaemonSet, PodTemplateSpec, StatefulSet
from control.controllers.actions import Action, Create, Delete, Update
from control.controllers.hashing import safe_hash
from control.controllers.state import owner_reference

REVISION_HASH = "controller-revision-hash"
# The label of a revision with its hash, of each kind; a StatefulSet's Pods have the whole name.
_HASH_LABELS = {"DaemonSet": REVISION_HASH, "StatefulSet": "controller.kubernetes.io/hash"}

Templated = DaemonSet | StatefulSet


@dataclass(frozen=True, slots=True)
class History:
    """The revision of the present template, if there is one, and the others, oldest first."""

    current: ControllerRevision | None
    old: tuple[ControllerRevision, ...]

    @property
    def latest(self) -> int:
        """The highest number of the old revisions."""
        return max((item.revision for item in self.old), default=0)


def history(owner: Templated, owned: Sequence[ControllerRevision]) -> History:
    """Divide revisions into the present one and old ones."""
    ordered = sorted(owned, key=lambda item: (item.revision, item.key))
    wanted = _data(owner)
    current = next((item for item in reversed(ordered) if item.data == wanted), None)
    return History(current, tuple(item for item in ordered if item is not current))


def recorded(owner: Templated, past: History) -> list[Action]:
    """Return the actions that make the present template the latest revision."""
    if past.current is None:
        return [Create(kinds.CONTROLLER_REVISION, _revision(owner, past.latest + 1))]
    if past.current.revision <= past.latest:
        newer = past.current.model_copy(update={"revision": past.latest + 1})
        return [Update(kinds.CONTROLLER_REVISION, newer)]
    return []


def hash_of(revision: ControllerRevision) -> str:
    """Return the hash in the label of a revision's Pods."""
    return revision.metadata.labels.get(REVISION_HASH, "")


def template_of(revision: ControllerRevision) -> PodTemplateSpec:
    """Return the template that a revision restores."""
    wire = dict((revision.data or {}).get("spec", {}).get("template", {}))
    wire.pop("$patch", None)
    return PodTemplateSpec.parse(wire)


def expendable(owner: Templated, past: History, in_use: set[str]) -> list[Action]:
    """Return deletions of the oldest revisions beyond the limit; of ``in_use``, hash or name."""
    limit = owner.spec.revision_history_limit
    if limit is None:
        return []
    unused = [item for item in past.old if in_use.isdisjoint((hash_of(item), item.metadata.name))]
    surplus = unused[: max(0, len(unused) - limit)]
    return [Delete(kinds.CONTROLLER_REVISION, item) for item in surplus]


def _kind(owner: Templated) -> Kind:
    return kinds.STATEFUL_SET if isinstance(owner, StatefulSet) else kinds.DAEMON_SET


def _revision(owner: Templated, number: int) -> ControllerRevision:
    kind = _kind(owner)
    data = _data(owner)
    text = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    digest = safe_hash(text, owner.status.collision_count or 0)
    return ControllerRevision(
        metadata=ObjectMeta(
            name=f"{owner.metadata.name}-{digest}",
            namespace=owner.metadata.namespace,
            labels=owner.spec.template.metadata.labels | {_HASH_LABELS[kind.name]: digest},
            annotations=owner.metadata.annotations,
            owner_references=[owner_reference(kind, owner)],
        ),
        data=data,
        revision=number,
    )


def _data(owner: Templated) -> dict[str, Any]:
    template = owner.spec.template.wire() | {"$patch": "replace"}
    text = orjson.dumps({"spec": {"template": template}}, option=orjson.OPT_SORT_KEYS)
    return cast(dict[str, Any], orjson.loads(text))
