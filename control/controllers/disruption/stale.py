"""Takes back the condition DisruptionTarget of Pods that were to go, and stayed."""

from collections.abc import Iterator

from control.api import kinds
from control.api.times import rfc3339, seconds_of
from control.client.cache import Key
from control.controllers.actions import Action, Again, Patch
from control.controllers.loop import Source, itself
from control.controllers.pods import condition, is_active
from control.controllers.state import ClusterState

_TARGET, _BY_KUBELET = "DisruptionTarget", "TerminationByKubelet"
_STALE = 120.0


class StaleDisruptionController:
    """Sets the condition to False after two minutes; a kubelet's own stays."""

    component = "disruption-controller"
    sources = (Source(kinds.POD, itself),)

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Look at the Pod ``key``."""
        pod = cluster[kinds.POD].get(*key)
        if pod is None or not is_active(pod):
            return
        held = condition(pod.status.conditions, _TARGET)
        if held is None or held.status != "True" or held.reason == _BY_KUBELET:
            return
        left = (seconds_of(held.last_transition_time) or 0) + _STALE - now
        if left > 0:
            yield Again(left)
            return
        over = {"type": _TARGET, "status": "False", "reason": None, "message": None}
        changed = over | {"lastTransitionTime": rfc3339(now)}
        patch = {"status": {"conditions": [changed]}}
        yield Patch(kinds.POD, pod, patch, type="strategic", subresource="status")
