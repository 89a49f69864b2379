"""Decides which slices to write for a set of endpoints. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from control.api import kinds
from control.api.kinds import Kind
from control.api.meta import Object, ObjectMeta
from control.api.service import EndpointSlice, SliceEndpoint
from control.controllers.actions import Action, Create, Delete, Update
from control.controllers.endpoints.backends import Ports
from control.controllers.endpoints.packing import pack
from control.controllers.state import owner_reference

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"

Series = dict[Ports, list[SliceEndpoint]]  # the endpoints of one family, by their ports


@dataclass(frozen=True, slots=True)
class Parent:
    """The owner of slices, and their labels."""

    kind: Kind
    object: Object
    labels: dict[str, str]


def written(
    parent: Parent, have: Sequence[EndpointSlice], want: Mapping[str, Series], most: int
) -> list[Action]:
    """Return the writes that turn ``have`` into slices of ``want`` (by family).

    A slice has at most ``most`` endpoints. A family without endpoints has one empty slice.
    """
    changes: list[Action] = []
    for family, series in want.items():
        slices = [slice_ for slice_ in have if slice_.address_type == family]
        changes += _family(parent, family, slices, series, most)
    unwanted = [slice_ for slice_ in have if slice_.address_type not in want]
    changes += [Delete(kinds.ENDPOINT_SLICE, slice_) for slice_ in unwanted]
    # Writes that give clients endpoints come first; neighbors of a type are sent together.
    order = (Update, Create, Delete)
    return sorted(changes, key=lambda action: order.index(type(action)))


def _family(
    parent: Parent, family: str, have: Sequence[EndpointSlice], want: Series, most: int
) -> list[Action]:
    changes: list[Action] = []
    spare = [slice_ for slice_ in have if tuple(slice_.ports) not in want]
    new: list[tuple[Ports, list[SliceEndpoint]]] = []
    for ports, endpoints in want.items():
        packing = pack([s for s in have if tuple(s.ports) == ports], endpoints, most)
        changes += [_changed(parent, s, ports, list(e)) for s, e in packing.change]
        stale = [s for s in packing.keep if s.metadata.labels != parent.labels]
        changes += [_changed(parent, s, ports, s.endpoints) for s in stale]
        spare += packing.drop
        new += [(ports, list(endpoints)) for endpoints in packing.add]
    return changes + _placed(parent, family, spare, new if want else [((), [])])


def _placed(
    parent: Parent,
    family: str,
    spare: Sequence[EndpointSlice],
    new: Sequence[tuple[Ports, list[SliceEndpoint]]],
) -> list[Action]:
    """Reuse slices that would be deleted for those that would be created: one write, not two."""
    changes: list[Action] = []
    for old, (ports, endpoints) in zip(spare, new, strict=False):
        update = _changed(parent, old, ports, endpoints)
        if update.object != old:
            changes.append(update)
    for ports, endpoints in new[len(spare) :]:
        changes.append(Create(kinds.ENDPOINT_SLICE, _new(parent, family, ports, endpoints)))
    changes += [Delete(kinds.ENDPOINT_SLICE, slice_) for slice_ in spare[len(new) :]]
    return changes


def _new(
    parent: Parent, family: str, ports: Ports, endpoints: list[SliceEndpoint]
) -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(
            generate_name=f"{parent.object.metadata.name}-",
            namespace=parent.object.metadata.namespace,
            labels=parent.labels,
            owner_references=[owner_reference(parent.kind, parent.object)],
        ),
        address_type=family,
        endpoints=endpoints,
        ports=list(ports),
    )


def _changed(
    parent: Parent, slice_: EndpointSlice, ports: Ports, endpoints: list[SliceEndpoint]
) -> Update:
    meta = slice_.metadata.model_copy(update={"labels": parent.labels})
    change = {"metadata": meta, "endpoints": endpoints, "ports": list(ports)}
    return Update(kinds.ENDPOINT_SLICE, slice_.model_copy(update=change))
