"""Selectors for a Pod's siblings: the Pods of the same Services and of the same set. Pure."""

from collections import defaultdict

from control.api.pod import Pod
from control.api.selectors import IN, Labels, Requirement, from_model
from control.api.service import Service
from control.api.workload import ReplicaSet, ReplicationController, StatefulSet

Owner = ReplicaSet | ReplicationController | StatefulSet


class SiblingSelectors:
    """Keeps the Services, and the owners of Pods, that select siblings."""

    def __init__(self) -> None:
        self._services: dict[str, dict[str, Service]] = defaultdict(dict)
        self._owners: dict[str, Owner] = {}  # by uid

    def service_changed(self, old: Service | None, new: Service | None) -> None:
        """Take an informer's change of a Service."""
        if old is not None:
            namespace, name = old.key
            self._services[namespace].pop(name, None)
        if new is not None and new.spec.selector:
            namespace, name = new.key
            self._services[namespace][name] = new

    def owner_changed(self, old: Owner | None, new: Owner | None) -> None:
        """Take an informer's change of an owner of Pods."""
        if old is not None:
            self._owners.pop(old.metadata.uid, None)
        if new is not None:
            self._owners[new.metadata.uid] = new

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
        found: list[Requirement] = []
        for owner in pod.metadata.owner_references:
            known = self._owners.get(owner.uid) if owner.controller else None
            if isinstance(known, ReplicationController):
                merged.update(known.spec.selector)
            elif known is not None:
                found += from_model(known.spec.selector).requirements
        found += [Requirement(key, IN, frozenset([value])) for key, value in merged.items()]
        return Labels(tuple(found)) if found else None
