"""Endpoints, the predecessor of EndpointSlice: one object for each Service, of one family.

https://kubernetes.io/docs/concepts/services-networking/service/#endpoints
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from control.api import kinds
from control.api.meta import ObjectMeta
from control.api.service import (
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    ObjectReference,
    Service,
)
from control.client.cache import Key
from control.controllers.actions import Action, Create, Delete, Update
from control.controllers.endpoints.backends import (
    HEADLESS,
    Backend,
    Ports,
    address,
    backends,
    families,
    hostname,
    is_headless,
    is_ours,
    matters,
    services_of,
)
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
_MOST = 1000


class EndpointsController:
    """Writes Endpoints for clients that still read them."""

    component = MANAGER
    sources = (
        Source(kinds.SERVICE, itself),
        Source(kinds.POD, services_of, matters),
        Source(kinds.ENDPOINTS, itself),
    )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Write or delete the Endpoints of the Service ``key``."""
        del now
        service, have = cluster[kinds.SERVICE].get(*key), cluster[kinds.ENDPOINTS].get(*key)
        if service is None:
            if have is not None and have.metadata.labels.get(MANAGED_BY) == MANAGER:
                yield Delete(kinds.ENDPOINTS, have)
            return
        if not is_ours(service):
            return
        want = _endpoints(service, have, backends(cluster, service))
        if have is None:
            yield Create(kinds.ENDPOINTS, want)
        elif want != have:
            yield Update(kinds.ENDPOINTS, want)


def _endpoints(service: Service, have: Endpoints | None, behind: Sequence[Backend]) -> Endpoints:
    fitting, truncated = _fit(service, behind)
    headless = {HEADLESS: ""} if is_headless(service) else {}
    own = {k: v for k, v in service.metadata.labels.items() if k != HEADLESS}
    before = have or Endpoints(
        metadata=ObjectMeta(name=service.metadata.name, namespace=service.metadata.namespace)
    )
    annotations = {k: v for k, v in before.metadata.annotations.items() if k != OVER_CAPACITY}
    if truncated:
        annotations[OVER_CAPACITY] = "truncated"
    labels = own | headless | {MANAGED_BY: MANAGER}
    meta = before.metadata.model_copy(update={"labels": labels, "annotations": annotations})
    return before.model_copy(update={"metadata": meta, "subsets": _subsets(service, fitting)})


def _fit(service: Service, behind: Sequence[Backend]) -> tuple[list[Backend], bool]:
    """Return at most 1000 backends of the primary family, ready ones first, and if that cut any."""
    family = families(service)[0]
    usable = [b for b in behind if address(b.pod, family) and (b.published or not b.terminating)]
    usable.sort(key=lambda backend: not backend.ready)
    return usable[:_MOST], len(usable) > _MOST


def _subsets(service: Service, behind: Sequence[Backend]) -> list[EndpointSubset]:
    """Group Pods by equal ports; the ports alone decide the order."""
    groups: dict[Ports, list[Backend]] = defaultdict(list)
    for backend in behind:
        groups[backend.ports].append(backend)
    ordered = sorted(groups.items(), key=lambda group: [(p.name or "", p.port) for p in group[0]])
    return [_subset(service, ports, members) for ports, members in ordered]


def _subset(service: Service, ports: Ports, members: Sequence[Backend]) -> EndpointSubset:
    return EndpointSubset(
        addresses=_addresses(service, [b for b in members if b.ready]),
        not_ready_addresses=_addresses(service, [b for b in members if not b.ready]),
        ports=[
            EndpointPort(
                name=port.name or None,
                port=port.port or 0,
                protocol=port.protocol,
                app_protocol=port.app_protocol,
            )
            for port in ports
        ],
    )


def _addresses(service: Service, members: Sequence[Backend]) -> list[EndpointAddress]:
    family = families(service)[0]
    found = [
        EndpointAddress(
            ip=address(backend.pod, family) or "",
            hostname=hostname(service, backend.pod),
            node_name=backend.pod.spec.node_name,
            target_ref=ObjectReference(
                kind="Pod",
                namespace=backend.pod.metadata.namespace,
                name=backend.pod.metadata.name,
                uid=backend.pod.metadata.uid,
            ),
        )
        for backend in members
    ]
    return sorted(found, key=lambda item: item.ip)
