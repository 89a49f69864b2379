"""Controllers without a server: their actions applied to a ClusterState, as the API server would.

Only effects that controllers can see are simulated: names, uids, generations, finalizers, immediate
deletion.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

from control.api import kinds
from control.api.meta import Condition, Object
from control.api.pod import Pod
from control.api.times import rfc3339
from control.controllers.actions import (
    Action,
    Collect,
    Create,
    Delete,
    Patch,
    Report,
    Update,
    UpdateStatus,
)
from control.controllers.loop import Controller
from control.controllers.state import ClusterState


class Simulation:
    """A ClusterState, its clock, and a log of actions."""

    def __init__(self, *items: Object) -> None:
        self.cluster = ClusterState()
        self.now = 1_000_000.0
        self.reports: list[Report] = []
        self._numbers = count(1)
        for item in items:
            self.create(item)

    def create(self, item: Object) -> Object:
        number = next(self._numbers)
        meta = item.metadata
        change: dict[str, Any] = {
            "uid": meta.uid or f"uid-{number}",
            "name": meta.name or f"{meta.generate_name}{number}",
            "resource_version": str(number),
            "creation_timestamp": meta.creation_timestamp or rfc3339(self.now),
            "generation": 1,
        }
        kind = _kind(item)
        made = item.model_copy(
            update={
                "metadata": meta.model_copy(update=change),
                "kind": kind.name,
                "api_version": kind.api_version,
            }
        )
        assert self.cluster[kind].get(*made.key) is None, f"{made.key} exists"
        self._set(kind, None, made)
        return made

    def delete(self, item: Object) -> None:
        """Remove an object, or mark it while it has finalizers."""
        if not item.metadata.finalizers:
            self.drop(item)
        elif item.metadata.deletion_timestamp is None:
            ending = {"deletion_timestamp": rfc3339(self.now)}
            meta = item.metadata.model_copy(update=ending)
            self.put(item.model_copy(update={"metadata": meta}))

    def put(self, item: Object) -> None:
        """Replace an object; its generation counts changes of its spec."""
        held = self.get(item)
        moved = getattr(held, "spec", None) != getattr(item, "spec", None)
        change = {
            "resource_version": str(next(self._numbers)),
            "generation": (held.metadata.generation or 0) + moved,
        }
        meta = item.metadata.model_copy(update=change)
        self._set(_kind(item), held, item.model_copy(update={"metadata": meta}))

    def drop(self, item: Object) -> None:
        """Remove an object."""
        self._set(_kind(item), self.get(item), None)

    def _set(self, kind: kinds.Kind, old: Object | None, new: Object | None) -> None:
        self.cluster[kind].apply(old, new)

    def get(self, item: Object) -> Any:
        kind = _kind(item)
        return self.cluster[kind].get(*item.key)

    def apply(self, action: Action) -> None:
        """Apply an action as the server does; refuse writes to objects that have changed."""
        match action:
            case Create():
                self.create(action.object)
            case Update() | UpdateStatus():
                held = self.get(action.object)
                assert held.metadata.resource_version == action.object.metadata.resource_version
                self.put(action.object)
            case Patch():
                patched = self._patched(action)
                self.put(patched)
                if patched.metadata.deletion_timestamp and not patched.metadata.finalizers:
                    self.drop(patched)
            case Delete():
                held = self.get(action.object)
                if held is not None and held.metadata.uid == action.object.metadata.uid:
                    self.delete(held)
            case Collect():
                then = action.then
                writes = isinstance(then, Patch | UpdateStatus)
                self.apply(then if writes else Delete(action.kind, action.object))
            case Report():
                self.reports.append(action)

    def _patched(self, action: Patch) -> Object:
        held = self.get(action.object)
        patch = {k: dict(v) for k, v in action.patch.items()}
        patch.get("metadata", {}).pop("resourceVersion", None)
        return type(held).parse(_merged(held.wire(), patch))

    def settle(
        self,
        *controllers: Controller,
        between: Callable[[], None] = lambda: None,
        rounds: int = 300,
    ) -> None:
        """Reconcile until nothing changes; ``between`` is called after each action."""
        for _ in range(300):
            actions = list(self.pending(*controllers))
            if not actions:
                return
            for action in actions[0]:
                self.apply(action)
                between()
        raise AssertionError(f"no end in sight: {actions[:3]}")

    def pending(self, *controllers: Controller) -> Iterator[list[Action]]:
        """Return the due actions of each key of each controller."""
        for controller in controllers:
            for key in self._keys(controller):
                actions = list(controller.reconcile(self.cluster, key, self.now))
                if any(isinstance(action, _WRITES) for action in actions):
                    yield actions

    def _keys(self, controller: Controller) -> Iterable[Any]:
        return dict.fromkeys(
            key
            for source in controller.sources
            for item in self.cluster[source.kind]
            for key in source.keys(self.cluster, item)
        )

    def pods(self) -> list[Pod]:
        return sorted(self.cluster[kinds.POD], key=lambda pod: pod.key)

    def end_pod(self, pod: Pod, code: int = 0) -> None:
        """Mark a Pod's container as ended with an exit code."""
        ended = {"exitCode": code, "finishedAt": rfc3339(self.now)}
        status = {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": "c", "state": {"terminated": ended}}],
        }
        self.put(Pod.parse(pod.wire() | {"status": status}))

    def run_pod(self, pod: Pod, *, node: str = "n1", ready: bool = True, ip: str = "10.0.0.1"):
        """Bind a Pod, and mark it as running."""
        condition = Condition(
            type="Ready",
            status="True" if ready else "False",
            last_transition_time=rfc3339(self.now),
        )
        status = pod.status.model_copy(
            update={
                "phase": "Running",
                "conditions": [condition],
                "pod_ip": ip,
            }
        )
        spec = pod.spec.model_copy(update={"node_name": pod.spec.node_name or node})
        self.put(pod.model_copy(update={"status": status, "spec": spec}))


_WRITES = (Create, Update, UpdateStatus, Patch, Delete, Collect)


def _kind(item: Object) -> kinds.Kind:
    return next(
        kind
        for kind in kinds.KINDS
        if kind.model is type(item) and (kind.model is not Object or kind.name == item.kind)
    )


def _merged(target: Any, patch: Any) -> Any:
    """Merge a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result
