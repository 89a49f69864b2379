"""Whose kin a Pod is: the Pods that the same Services and ReplicaSet select. Pure."""

from collections import defaultdict

from control.api.pod import Pod
from control.api.selectors import IN, Labels, Requirement, from_model
from control.api.service import Service
from control.api.workload import ReplicaSet


class Kinship:
    """Knows the Services and ReplicaSets, by namespace."""

    def __init__(self) -> None:
        self._services: dict[str, dict[str, Service]] = defaultdict(dict)
        self._sets: dict[tuple[str, str], ReplicaSet] = {}

    def service_changed(self, old: Service | None, new: Service | None) -> None:
        """An informer's news of a Service."""
        if old is not None:
            namespace, name = old.key
            self._services[namespace].pop(name, None)
        if new is not None and new.spec.selector:
            namespace, name = new.key
            self._services[namespace][name] = new

    def set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        """An informer's news of a ReplicaSet."""
        if old is not None:
            self._sets.pop(old.key, None)
        if new is not None:
            self._sets[new.key] = new

    def of(self, pod: Pod) -> Labels | None:
        """Which Pods a Pod should be spread against; None: it stands alone.

        As upstream's DefaultSelector: all that its Services select, and its owner does.
        """
        namespace, labels = pod.metadata.namespace or "", pod.metadata.labels
        merged: dict[str, str] = {}
        for service in self._services[namespace].values():
            if service.spec.selector.items() <= labels.items():
                merged.update(service.spec.selector)
        found = [Requirement(key, IN, frozenset([value])) for key, value in merged.items()]
        for owner in pod.metadata.owner_references:
            replica_set = self._sets.get((namespace, owner.name))
            if owner.controller and owner.kind == "ReplicaSet" and replica_set:
                found += from_model(replica_set.spec.selector).requirements
        return Labels(tuple(found)) if found else None
