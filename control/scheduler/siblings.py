"""Selectors for a Pod's siblings: the Pods of the same Services and ReplicaSet. Pure."""

from collections import defaultdict

from control.api.pod import Pod
from control.api.selectors import IN, Labels, Requirement, from_model
from control.api.service import Service
from control.api.workload import ReplicaSet


class SiblingSelectors:
    """Keeps the Services and ReplicaSets that select siblings."""

    def __init__(self) -> None:
        self._services: dict[str, dict[str, Service]] = defaultdict(dict)
        self._sets: dict[tuple[str, str], ReplicaSet] = {}

    def service_changed(self, old: Service | None, new: Service | None) -> None:
        """Take an informer's change of a Service."""
        if old is not None:
            namespace, name = old.key
            self._services[namespace].pop(name, None)
        if new is not None and new.spec.selector:
            namespace, name = new.key
            self._services[namespace][name] = new

    def set_changed(self, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        """Take an informer's change of a ReplicaSet."""
        if old is not None:
            self._sets.pop(old.key, None)
        if new is not None:
            self._sets[new.key] = new

    def of(self, pod: Pod) -> Labels | None:
        """Return the selector of a Pod's siblings; None if it has none.

        As upstream's DefaultSelector, it joins the selectors of the Pod's Services and of its
        owner.
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
