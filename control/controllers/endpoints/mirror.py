"""Mirrors Endpoints that users write for Services without a selector into EndpointSlices.

https://kubernetes.io/docs/concepts/services-networking/service/#endpointslice-mirroring
"""

from collections import defaultdict
from collections.abc import Iterator

from control.api import kinds
from control.api.service import (
    EndpointAddress,
    EndpointConditions,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    SliceEndpoint,
    SlicePort,
)
from control.client.cache import Key
from control.controllers.actions import Action, Delete
from control.controllers.endpoints.backends import family_of
from control.controllers.endpoints.writing import (
    MANAGED_BY,
    SERVICE_NAME,
    Parent,
    Series,
    written,
)
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_MOST = 1000  # addresses of a subset that are mirrored, as upstream


def _its_service(_: ClusterState, slice_: EndpointSlice) -> Iterator[Key]:
    labels = slice_.metadata.labels
    if labels.get(MANAGED_BY) == MANAGER and SERVICE_NAME in labels:
        yield slice_.metadata.namespace or "", labels[SERVICE_NAME]


class MirroringController:
    """Writes slices of users' Endpoints for clients that read only slices, such as proxies."""

    component = "endpoint-slice-mirroring-controller"
    sources = (
        Source(kinds.ENDPOINTS, itself),
        Source(kinds.SERVICE, itself),
        Source(kinds.ENDPOINT_SLICE, _its_service),
    )

    def __init__(self, most: int = 100) -> None:
        self._most = most

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Mirror the Endpoints ``key``; the garbage collector deletes the slices with them."""
        del now
        endpoints = cluster[kinds.ENDPOINTS].get(*key)
        if endpoints is None:
            return
        have = cluster[kinds.ENDPOINT_SLICE].controlled_by(endpoints.metadata.uid)
        have = [s for s in have if s.metadata.deletion_timestamp is None]
        if not _is_mirrored(cluster, endpoints):
            yield from (Delete(kinds.ENDPOINT_SLICE, slice_) for slice_ in have)
            return
        name = {SERVICE_NAME: endpoints.metadata.name, MANAGED_BY: MANAGER}
        parent = Parent(kinds.ENDPOINTS, endpoints, endpoints.metadata.labels | name)
        yield from written(parent, have, _wanted(endpoints), self._most)


def _is_mirrored(cluster: ClusterState, endpoints: Endpoints) -> bool:
    meta = endpoints.metadata
    if meta.deletion_timestamp or meta.labels.get(SKIP) == "true" or _LEADER in meta.annotations:
        return False
    service = cluster[kinds.SERVICE].get(*endpoints.key)
    return service is not None and not service.spec.selector


def _wanted(endpoints: Endpoints) -> dict[str, Series]:
    families: dict[str, Series] = defaultdict(lambda: defaultdict(list))
    for subset in endpoints.subsets:
        ports = tuple(
            SlicePort(
                name=port.name or "",
                protocol=port.protocol,
                port=port.port,
                app_protocol=port.app_protocol,
            )
            for port in subset.ports
        )
        for family, endpoint in _endpoints(subset):
            families[family][ports].append(endpoint)
    return {family: dict(series) for family, series in families.items()}


def _endpoints(subset: EndpointSubset) -> Iterator[tuple[str, SliceEndpoint]]:
    both = [(a, True) for a in subset.addresses] + [(a, False) for a in subset.not_ready_addresses]
    for address, ready in both[:_MOST]:
        family = family_of(address.ip)
        if family is not None:
            yield family, _endpoint(address, ready)


def _endpoint(address: EndpointAddress, ready: bool) -> SliceEndpoint:
    return SliceEndpoint(
        addresses=[address.ip],
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname,
        node_name=address.node_name,
        target_ref=address.target_ref,
    )
