"""EndpointSlices of Services with a selector.

https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from control.api import kinds
from control.api.meta import ObjectMeta
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
from control.controllers.endpoints.packing import pack
from control.controllers.loop import Source, itself
from control.controllers.world import World, owner_reference

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
US = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"


def _its_service(_: World, slice_: EndpointSlice) -> Iterator[Key]:
    labels = slice_.metadata.labels
    if labels.get(MANAGED_BY) == US and SERVICE_NAME in labels:
        yield slice_.metadata.namespace or "", labels[SERVICE_NAME]


def _all_services(world: World, _: Node) -> Iterator[Key]:
    for service in world[kinds.SERVICE]:
        yield service.key


def _moved(old: Node | None, new: Node | None) -> bool:
    """A node came, went, or changed its zone; its heartbeats are none of ours."""
    if old is None or new is None:
        return True
    return old.metadata.labels.get(ZONE) != new.metadata.labels.get(ZONE)


class EndpointSliceController:
    """Keeps slices of at most `most` endpoints, one series for each family and set of ports."""

    component = "endpoint-slice-controller"
    sources = (
        Source(kinds.SERVICE, itself),
        Source(kinds.POD, services_of, matters),
        Source(kinds.ENDPOINT_SLICE, _its_service),
        Source(kinds.NODE, _all_services, _moved),
    )

    def __init__(self, most: int = 100) -> None:
        self._most = most

    def reconcile(self, world: World, key: Key, now: float) -> Iterator[Action]:
        """Key: a Service. Its slices go with it, by the garbage collector."""
        del now
        service = world[kinds.SERVICE].get(*key)
        if service is None or not is_ours(service):
            return
        have = world[kinds.ENDPOINT_SLICE].controlled_by(service.metadata.uid)
        have = [s for s in have if s.metadata.deletion_timestamp is None]
        behind = backends(world, service)
        changes: list[Action] = []
        for family in families(service):
            slices = [s for s in have if s.address_type == family]
            wanted = _series(world, service, behind, family)
            changes += _reconcile(service, family, slices, wanted, self._most)
        unwanted = [s for s in have if s.address_type not in families(service)]
        changes += [Delete(kinds.ENDPOINT_SLICE, slice_) for slice_ in unwanted]
        # What gives clients endpoints goes first; neighbours of a sort go out together.
        order = (Update, Create, Delete)
        yield from sorted(changes, key=lambda action: order.index(type(action)))


Series = dict[Ports, list[SliceEndpoint]]


def _series(world: World, service: Service, behind: Sequence[Backend], family: str) -> Series:
    found: Series = defaultdict(list)
    for backend in behind:
        node = world[kinds.NODE].get(None, backend.pod.spec.node_name or "")
        text = address(backend.pod, family)
        # A Pod whose node we do not know yet comes with it, unless it is wanted in any case.
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
        node_name=pod.spec.node_name,
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
    """KEP-4444 and KEP-3015: who should prefer this endpoint, by spec.trafficDistribution."""
    wish = service.spec.traffic_distribution
    zones = [ForZone(name=zone)] if zone and backend.ready else []
    node = backend.pod.spec.node_name
    if wish == "PreferSameNode" and backend.ready and node:
        return EndpointHints(for_zones=zones, for_nodes=[ForZone(name=node)])
    if wish in ("PreferClose", "PreferSameZone") and zones:
        return EndpointHints(for_zones=zones)
    return None


# --- from endpoints to slices --------------------------------------------------------------------


def _reconcile(
    service: Service, family: str, have: Sequence[EndpointSlice], want: Series, most: int
) -> list[Action]:
    """The writes that make the slices of one family what they should be."""
    changes: list[Action] = []
    spare = [s for s in have if tuple(s.ports) not in want]
    new: list[tuple[Ports, list[SliceEndpoint]]] = []
    for ports, endpoints in want.items():
        packing = pack([s for s in have if tuple(s.ports) == ports], endpoints, most)
        changes += [_written(service, s, ports, list(e)) for s, e in packing.change]
        changes += [u for s in packing.keep if (u := _labelled(service, s)) is not None]
        spare += packing.drop
        new += [(ports, list(endpoints)) for endpoints in packing.add]
    if not want:  # a Service without endpoints has one empty slice, which says so
        new.append(((), []))
    return changes + _placed(service, family, spare, new)


def _placed(
    service: Service,
    family: str,
    spare: Sequence[EndpointSlice],
    new: Sequence[tuple[Ports, list[SliceEndpoint]]],
) -> list[Action]:
    """Use slices that would be deleted for those that would be created: one write for two."""
    changes: list[Action] = []
    for old, (ports, endpoints) in zip(spare, new, strict=False):
        update = _written(service, old, ports, endpoints)
        if update.object != old:
            changes.append(update)
    for ports, endpoints in new[len(spare) :]:
        changes.append(Create(kinds.ENDPOINT_SLICE, _new(service, family, ports, endpoints)))
    changes += [Delete(kinds.ENDPOINT_SLICE, slice_) for slice_ in spare[len(new) :]]
    return changes


def _new(
    service: Service, family: str, ports: Ports, endpoints: list[SliceEndpoint]
) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(
            generate_name=f"{service.metadata.name}-",
            namespace=service.metadata.namespace,
            labels=_labels(service),
            owner_references=[owner_reference(kinds.SERVICE, service)],
        ),
        address_type=family,
        endpoints=endpoints,
        ports=list(ports),
    )


def _written(
    service: Service, slice_: EndpointSlice, ports: Ports, endpoints: list[SliceEndpoint]
) -> Update:
    meta = slice_.metadata.model_copy(update={"labels": _labels(service)})
    change = {"metadata": meta, "endpoints": endpoints, "ports": list(ports)}
    return Update(kinds.ENDPOINT_SLICE, slice_.model_copy(update=change))


def _labelled(service: Service, slice_: EndpointSlice) -> Update | None:
    """An update of a slice whose Service was labelled anew."""
    if slice_.metadata.labels == _labels(service):
        return None
    return _written(service, slice_, tuple(slice_.ports), slice_.endpoints)


def _labels(service: Service) -> dict[str, str]:
    headless = {HEADLESS: ""} if is_headless(service) else {}
    own = {k: v for k, v in service.metadata.labels.items() if k != HEADLESS}
    return own | headless | {SERVICE_NAME: service.metadata.name, MANAGED_BY: US}
