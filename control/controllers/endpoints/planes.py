"""Marks the endpoints of what runs beside an API server as ready while that serves.

The cluster DNS of several control planes is no Pod, whose readiness its node would tell. Its
EndpointSlices say in an annotation beside which API server they are; those that serve are in the
endpoints of the Service ``kubernetes``.
"""

from collections.abc import Iterator

from control.api import kinds
from control.api.service import EndpointConditions, EndpointSlice
from control.client.cache import Key
from control.controllers.actions import Action, Update
from control.controllers.endpoints.writing import SERVICE_NAME
from control.controllers.loop import Source
from control.controllers.state import ClusterState

BESIDE = "podwire.dev/beside-api-server"  # an annotation: the server's address
_NAMESPACE, _SERVERS = "default", "kubernetes"


def _is_of_servers(slice_: EndpointSlice) -> bool:
    meta = slice_.metadata
    return meta.namespace == _NAMESPACE and meta.labels.get(SERVICE_NAME) == _SERVERS


def _beside(cluster: ClusterState, slice_: EndpointSlice) -> Iterator[Key]:
    if _is_of_servers(slice_):
        every = cluster[kinds.ENDPOINT_SLICE]
        yield from (each.key for each in every if BESIDE in each.metadata.annotations)
    elif BESIDE in slice_.metadata.annotations:
        yield slice_.key


class BesideServersController:
    """Writes ``conditions.ready`` of EndpointSlices that have the annotation."""

    component = "beside-apiserver-endpoints-controller"
    sources = (Source(kinds.ENDPOINT_SLICE, _beside),)

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Correct the slice ``key``, if it is known which servers serve."""
        del now
        held = cluster[kinds.ENDPOINT_SLICE].get(*key)
        serving = {
            address
            for each in cluster[kinds.ENDPOINT_SLICE]
            if _is_of_servers(each)
            for endpoint in each.endpoints
            for address in endpoint.addresses
        }
        if held is None or held.metadata.deletion_timestamp is not None or not serving:
            return
        ready = held.metadata.annotations.get(BESIDE) in serving
        if all(each.conditions.ready is ready for each in held.endpoints):
            return
        changed = {"conditions": EndpointConditions(ready=ready)}
        endpoints = [each.model_copy(update=changed) for each in held.endpoints]
        yield Update(kinds.ENDPOINT_SLICE, held.model_copy(update={"endpoints": endpoints}))
