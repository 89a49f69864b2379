"""The resources that the node has allocated to its Pods, and their checkpoint.

A resize changes a Pod's spec at once; what is allocated follows if the node has room. A later agent
reads from the checkpoint what an earlier one has promised. Source: kubelet's pkg/kubelet/allocation
"""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from control.api.container import Container, ResourceRequirements
from control.api.pod import ContainerStatus, Pod
from control.api.quantity import QuantityError, parse
from control.linux.checkpoint import Checkpoint

logger = logging.getLogger(__name__)

FILE = "allocated_pods_state"
_PODS = "pods"
_RESIZED = ("cpu", "memory")
Wire = dict[str, Any]


class Allocations:
    """What is allocated to each Pod, by its UID."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = Checkpoint(path, _PODS)
        self._pods: dict[str, Wire] = self._file.section(_PODS)

    def applied(self, pod: Pod) -> Pod:
        """Return the Pod with what is allocated to it, in place of what it asks for."""
        held = self._pods.get(pod.metadata.uid)
        if held is None or held == _wire(pod):
            return pod
        update: dict[str, Any] = {
            "containers": [_with(it, held) for it in pod.spec.containers],
            "init_containers": [_with(it, held) for it in pod.spec.init_containers],
            "resources": ResourceRequirements.parse(held["pod"]) if held["pod"] else None,
        }
        return pod.model_copy(update={"spec": pod.spec.model_copy(update=update)})

    def knows(self, uid: str) -> bool:
        """Return True if something is allocated to a Pod."""
        return uid in self._pods

    def is_allocated(self, pod: Pod) -> bool:
        """Return True if a Pod has what it asks for, or if nothing is known of it."""
        held = self._pods.get(pod.metadata.uid)
        return held is None or held == _wire(pod)

    def allocate(self, pod: Pod) -> None:
        """Give a Pod what it asks for. A checkpoint that cannot be written is logged, as upstream:
        the Pod has its resources as long as this agent lives.
        """
        self._save((pod.metadata.uid, _wire(pod)))

    def keep(self, uids: Collection[str]) -> None:
        """Forget all Pods but these."""
        if gone := self._pods.keys() - uids:
            self._save(*((uid, None) for uid in gone))

    def forget(self, uid: str) -> None:
        """Forget a Pod that is gone."""
        if uid in self._pods:
            self._save((uid, None))

    def _save(self, *changes: tuple[str, Wire | None]) -> None:
        try:
            self._file.write((_PODS, *change) for change in changes)
        except OSError as err:
            logger.error("allocations of Pods: %s cannot be written: %s", self._path, err)


def _wire(pod: Pod) -> Wire:
    everyone = (*pod.spec.init_containers, *pod.spec.containers)
    return {
        "pod": pod.spec.resources.wire() if pod.spec.resources else None,
        "containers": {it.name: it.resources.wire() for it in everyone},
    }


def _with(container: Container, held: Mapping[str, Any]) -> Container:
    own = held["containers"].get(container.name)
    if own is None:
        return container
    return container.model_copy(update={"resources": ResourceRequirements.parse(own)})


def held(pod: Pod) -> Pod:
    """Return a Pod that asks for what it has, where that is more: it has not shrunk yet."""
    known = {it.name: it for it in pod.status.container_statuses}
    known |= {it.name: it for it in pod.status.init_container_statuses if it.state.running}
    update = {
        "containers": [_raised(it, known.get(it.name)) for it in pod.spec.containers],
        "init_containers": [_raised(it, known.get(it.name)) for it in pod.spec.init_containers],
    }
    return pod.model_copy(update={"spec": pod.spec.model_copy(update=update)})


def _raised(container: Container, status: ContainerStatus | None) -> Container:
    actual = status.resources.requests if status and status.resources else {}
    own = container.resources.requests
    more = {n: actual[n] for n in _RESIZED if n in actual and _is_more(actual[n], own.get(n))}
    if not more:
        return container
    resources = container.resources.model_copy(update={"requests": own | more})
    return container.model_copy(update={"resources": resources})


def _is_more(one: str | float, other: str | float | None) -> bool:
    try:
        return other is None or parse(one) > parse(other)
    except QuantityError:
        return False
