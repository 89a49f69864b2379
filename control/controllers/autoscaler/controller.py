"""Autoscalers: when to look at one. It remembers what each asked for."""

from collections.abc import Iterable
from functools import partial

from control.api import kinds
from control.api.autoscaling import HorizontalPodAutoscaler, ScaleTarget
from control.api.kinds import Kind
from control.client.cache import Key
from control.controllers.actions import Action, Again, Autoscale
from control.controllers.autoscaler.rates import Memory
from control.controllers.autoscaler.settings import DEFAULT, AutoscalerSettings
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState


def _asks_anew(old: HorizontalPodAutoscaler | None, new: HorizontalPodAutoscaler | None) -> bool:
    return old is None or new is None or old.spec != new.spec


class AutoscalerController:
    """Scales workloads by what their Pods use."""

    component = "horizontal-pod-autoscaler"
    sources = (
        Source(kinds.HORIZONTAL_POD_AUTOSCALER, itself, _asks_anew),
        Source(kinds.POD, lambda *_: ()),
    )

    def __init__(self, settings: AutoscalerSettings = DEFAULT) -> None:
        self._settings = settings
        self._memories: dict[Key, tuple[str, Memory]] = {}

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterable[Action]:
        """Look at the autoscaler ``key``, and again after a while."""
        autoscaler = cluster[kinds.HORIZONTAL_POD_AUTOSCALER].get(*key)
        if autoscaler is None:
            self._memories.pop(key, None)
            return ()
        uid = autoscaler.metadata.uid
        known, memory = self._memories.get(key, ("", Memory()))
        if known != uid:
            memory = Memory()
            self._memories[key] = uid, memory
        pods = tuple(cluster[kinds.POD].within(autoscaler.metadata.namespace))
        kind_of = partial(_kind_of, cluster)
        others = {
            f"{namespace}/{name}": other
            for (namespace, name), (_, other) in self._memories.items()
            if namespace == key[0] and name != key[1]
        }
        look = Autoscale(autoscaler, kind_of, pods, memory, now, self._settings, others)
        return look, Again(self._settings.period)


def _kind_of(cluster: ClusterState, ref: ScaleTarget) -> Kind | None:
    """Return the kind that a reference names; None for one that is not served."""
    group = (ref.api_version or "").rpartition("/")[0]
    every = (*kinds.KINDS, *(kind for kind in cluster.tables if kind.custom is not None))
    found = (kind for kind in every if (kind.group, kind.name) == (group, ref.kind))
    return next(found, None)
