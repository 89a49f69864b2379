"""Writes EndpointSlices of Services with a selector.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from control.api import kinds
from control.api.node import Node
from control.api.service import (
    EndpointConditions,
    EndpointHints,
    EndpointSlice,
    ForZone,
    ObjectReference,
    Service,
    SliceEndpoint,
)
from control.client.cache import Key
from control.controllers.actions import Action
from control.controllers.endpoints.backends import (
    HEADLESS,
    Backend,
    address,
    backends,
    families,
    hostname,
    is_headless,
    is_ours,
    matters,
    services_of,
)
from control.controllers.endpoints.writing import MANAGED_BY, SERVICE_NAME, Parent, Series, written
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState

MANAGER = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"


def _its_service(_: ClusterState, slice_: EndpointSlice) -> Iterator[Key]:
    labels = slice_.metadata.labels
    if labels.get(MANAGED_BY) == MANAGER and SERVICE_NAME in labels:
        yield slice_.metadata.namespace or "", labels[SERVICE_NAME]


def _all_services(cluster: ClusterState, _: Node) -> Iterator[Key]:
    for service in cluster[kinds.SERVICE]:
        yield service.key


def _moved(old: Node | None, new: Node | None) -> bool:
    """True if a node was created, deleted or moved to another zone; heartbeats do not count."""
    if old is None or new is None:
        return True
    return old.metadata.labels.get(ZONE) != new.metadata.labels.get(ZONE)


class EndpointSliceController:
    """Writes slices of at most ``most`` endpoints, for each family and set of ports."""

    component = "endpoint-slice-controller"
    sources = (
        Source(kinds.SERVICE, itself),
        Source(kinds.POD, services_of, matters),
        Source(kinds.ENDPOINT_SLICE, _its_service),
        Source(kinds.NODE, _all_services, _moved),
    )

    def __init__(self, most: int = 100) -> None:
        self._most = most

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Write the slices of the Service ``key``; the garbage collector deletes them with it."""
        del now
        service = cluster[kinds.SERVICE].get(*key)
        if service is None or not is_ours(service):
            return
        have = cluster[kinds.ENDPOINT_SLICE].controlled_by(service.metadata.uid)
        have = [s for s in have if s.metadata.deletion_timestamp is None]
        behind = backends(cluster, service)
        wanted = {family: _series(cluster, service, behind, family) for family in families(service)}
        parent = Parent(kinds.SERVICE, service, _labels(service))
        yield from written(parent, have, wanted, self._most)


def _labels(service: Service) -> dict[str, str]:
    headless = {HEADLESS: ""} if is_headless(service) else {}
    own = {k: v for k, v in service.metadata.labels.items() if k != HEADLESS}
    return own | headless | {SERVICE_NAME: service.metadata.name, MANAGED_BY: MANAGER}


def _series(
    cluster: ClusterState, service: Service, behind: Sequence[Backend], family: str
) -> Series:
    found: Series = defaultdict(list)
    for backend in behind:
        node = cluster[kinds.NODE].get(None, backend.pod.spec.node_name or "")
        text = address(backend.pod, family)
        # A Pod whose node is not known yet waits for it, unless the Service publishes every Pod.
        if text is not None and (node is not None or backend.published):
            found[backend.ports].append(_endpoint(service, backend, text, node))
    return dict(found)


def _endpoint(service: Service, backend: Backend, text: str, node: Node | None) -> SliceEndpoint:
    pod = backend.pod
    zone = node.metadata.labels.get(ZONE) if node else None
    return SliceEndpoint(
        addresses=[text],
        conditions=EndpointConditions(
            ready=backend.ready, serving=backend.serving, terminating=backend.terminating
        ),
        hostname=hostname(service, pod),
        node_name=pod.spec.node_name or None,
        zone=zone,
        hints=_hints(service, backend, zone),
        target_ref=ObjectReference(
            kind="Pod",
            namespace=pod.metadata.namespace,
            name=pod.metadata.name,
            uid=pod.metadata.uid,
        ),
    )


def _hints(service: Service, backend: Backend, zone: str | None) -> EndpointHints | None:
    """Return the zones and nodes that should prefer an endpoint (KEP-4444 and KEP-3015)."""
    wish = service.spec.traffic_distribution
    zones = [ForZone(name=zone)] if zone and backend.ready else []
    node = backend.pod.spec.node_name
    if wish == "PreferSameNode" and backend.ready and node:
        return EndpointHints(for_zones=zones, for_nodes=[ForZone(name=node)])
    if wish in ("PreferClose", "PreferSameZone") and zones:
        return EndpointHints(for_zones=zones)
    return None
