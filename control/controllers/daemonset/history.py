"""The history of a DaemonSet's templates: a ControllerRevision for each. Pure.

A revision's data is the patch that restores its template; ``kubectl rollout undo`` applies it. Its
names are sorted: upstream's controller compares its text, byte for byte, with the one that Go
writes for the template, and rolls every daemon if they differ. Source:
k8s.io/kubernetes/pkg/controller/daemon/update.go (getPatch, Match).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import orjson

from control.api import kinds
from control.api.meta import ObjectMeta
from control.api.workload import ControllerRevision, DaemonSet
from control.controllers.actions import Action, Create, Delete, Update
from control.controllers.daemonset.template import REVISION_HASH
from control.controllers.hashing import safe_hash
from control.controllers.state import owner_reference


@dataclass(frozen=True, slots=True)
class History:
    """The revision of the present template, if there is one, and the others, oldest first."""

    current: ControllerRevision | None
    old: tuple[ControllerRevision, ...]

    @property
    def latest(self) -> int:
        """The highest number of the old revisions."""
        return max((item.revision for item in self.old), default=0)


def history(daemon_set: DaemonSet, owned: Sequence[ControllerRevision]) -> History:
    """Divide revisions into the present one and old ones."""
    ordered = sorted(owned, key=lambda item: (item.revision, item.key))
    wanted = _data(daemon_set)
    current = next((item for item in reversed(ordered) if item.data == wanted), None)
    return History(current, tuple(item for item in ordered if item is not current))


def recorded(daemon_set: DaemonSet, past: History) -> list[Action]:
    """Return the actions that make the present template the latest revision."""
    if past.current is None:
        return [Create(kinds.CONTROLLER_REVISION, _revision(daemon_set, past.latest + 1))]
    if past.current.revision <= past.latest:
        newer = past.current.model_copy(update={"revision": past.latest + 1})
        return [Update(kinds.CONTROLLER_REVISION, newer)]
    return []


def hash_of(revision: ControllerRevision) -> str:
    """Return the hash in the label of a revision's Pods."""
    return revision.metadata.labels.get(REVISION_HASH, "")


def expendable(daemon_set: DaemonSet, past: History, in_use: set[str]) -> list[Action]:
    """Return deletions of the oldest unused revisions beyond the limit."""
    limit = daemon_set.spec.revision_history_limit
    if limit is None:
        return []
    unused = [item for item in past.old if hash_of(item) not in in_use]
    surplus = unused[: max(0, len(unused) - limit)]
    return [Delete(kinds.CONTROLLER_REVISION, item) for item in surplus]


def _revision(daemon_set: DaemonSet, number: int) -> ControllerRevision:
    data = _data(daemon_set)
    text = orjson.dumps(data, option=orjson.OPT_SORT_KEYS)
    digest = safe_hash(text, daemon_set.status.collision_count or 0)
    return ControllerRevision(
        metadata=ObjectMeta(
            name=f"{daemon_set.metadata.name}-{digest}",
            namespace=daemon_set.metadata.namespace,
            labels=daemon_set.spec.template.metadata.labels | {REVISION_HASH: digest},
            annotations=daemon_set.metadata.annotations,
            owner_references=[owner_reference(kinds.DAEMON_SET, daemon_set)],
        ),
        data=data,
        revision=number,
    )


def _data(daemon_set: DaemonSet) -> dict[str, Any]:
    template = daemon_set.spec.template.wire() | {"$patch": "replace"}
    text = orjson.dumps({"spec": {"template": template}}, option=orjson.OPT_SORT_KEYS)
    return cast(dict[str, Any], orjson.loads(text))
