"""Quotas: when their usage has to be counted again. Pure.

Source: k8s.io/kubernetes/pkg/controller/resourcequota and pkg/quota/v1/install (update filters)
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

from control.api import kinds
from control.api.cluster import CustomResourceDefinition
from control.api.kinds import Kind
from control.api.meta import Object
from control.api.pod import Pod
from control.api.quota.model import ResourceQuota
from control.api.quota.usage import CLAIMS, is_counted, matching, resource_of
from control.client.cache import Key
from control.controllers.actions import Action, Again, Recount
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState

_RESYNC, _SOON = 300.0, 1.0
_CLAIM = next(kind for kind in kinds.KINDS if resource_of(kind) == CLAIMS)


def _limits_changed(old: ResourceQuota | None, new: ResourceQuota | None) -> bool:
    """True if limits are new, or in force since now: what was made in between is not charged."""
    if old is None or new is None:
        return True
    return old.spec.hard != new.spec.hard or old.status.hard != new.status.hard


def _removed(old: Object | None, new: Object | None) -> bool:
    return old is not None and new is None


def _pod_freed(old: Pod | None, new: Pod | None) -> bool:
    if old is None or new is None:
        return _removed(old, new)
    return not _has_ended(old) and _has_ended(new)


def _has_ended(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def _use_changed(old: Object | None, new: Object | None) -> bool:
    """True for a Service of another type, and for a claim that has another size or class."""
    if old is None or new is None:
        return _removed(old, new)
    return any(_part(old, name) != _part(new, name) for name in ("spec", "status"))


def _part(item: Object, name: str) -> Any:
    return item.wire().get(name)


_WHEN: Mapping[Kind, Callable[[Any, Any], bool]] = {
    kinds.POD: _pod_freed,
    kinds.SERVICE: _use_changed,
    _CLAIM: _use_changed,
}


def _source(kind: Kind) -> Source:
    def keys(cluster: ClusterState, item: Object) -> Iterator[Key]:
        for quota in cluster[kinds.RESOURCE_QUOTA].within(item.metadata.namespace):
            if matching(resource_of(kind), quota.spec.hard):
                yield quota.key

    return Source(kind, keys, _WHEN.get(kind, _removed))


def _of_definition(cluster: ClusterState, definition: Object) -> Iterator[Key]:
    for quota in cluster[kinds.RESOURCE_QUOTA]:
        if f"count/{definition.metadata.name}" in quota.spec.hard:
            yield quota.key


def _comes(cluster: ClusterState, quota: ResourceQuota, known: Collection[str]) -> bool:
    """True if a custom kind that a quota limits is served, and its objects are not known yet."""
    for name in quota.spec.hard:
        resource = name.removeprefix("count/")
        definition = cluster[kinds.DEFINITION].get("", resource)
        if definition is not None and resource not in known and _is_served(definition):
            return True
    return False


def _is_served(definition: CustomResourceDefinition) -> bool:
    conditions = definition.status.get("conditions") or ()
    established = any((it["type"], it["status"]) == ("Established", "True") for it in conditions)
    return established and definition.spec.get("scope") == "Namespaced"


class QuotaController:
    """Has the usage of quotas counted."""

    component = "resourcequota-controller"
    sources = (
        Source(kinds.RESOURCE_QUOTA, itself, _limits_changed),
        Source(kinds.DEFINITION, _of_definition),
        *(_source(kind) for kind in kinds.KINDS if is_counted(kind)),
    )

    def custom_source(self, kind: Kind) -> Source:
        """Follow the objects of a custom kind, too."""
        return _source(kind)

    def waiting_for(self, _: Kind) -> Iterable[Key]:
        """Return nothing: each object that is listed names its quotas."""
        return ()

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterable[Action]:
        """Count what the objects of the quota ``key`` use, of every kind that it limits."""
        quota = cluster[kinds.RESOURCE_QUOTA].get(*key)
        if quota is None:
            return ()
        limited = {
            resource_of(kind): kind
            for kind in cluster.tables
            if is_counted(kind) and matching(resource_of(kind), quota.spec.hard)
        }
        again = Again(_SOON if _comes(cluster, quota, limited) else _RESYNC)
        return Recount(quota, tuple(limited.values()), now), again
