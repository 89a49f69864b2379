"""Makes a lab's specification of a lab file, and a lab file of a specification. Pure."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lab.file.model import ImageEntry, LabFile, Network, NodeEntry, Proxy
from lab.file.read import Place, Text
from lab.members import (
    check_count,
    check_label,
    check_node_name,
    check_taint,
    free_number,
)
from lab.spec import (
    MAX_NODES,
    ZONE,
    LabSpec,
    LabSpecError,
    NodeSpec,
    check_controls,
    check_life,
    check_name,
    make_spec,
)

DEFAULT_NAME = "lab"
# What errors call the options of ``lab up``, and what a file calls them.
_FIELDS = {
    "--pod-cidr": "podCIDRs",
    "--service-cidr": "serviceCIDRs",
    "--name": "name",
    "--hollow": "hollow",
    "--control-planes": "machines",
    "--event-ttl": "eventTTL",
    "--store etcd": "store: etcd",
}


def plan(text: Text, name: str | None = None) -> LabSpec:
    """Return the lab that a file describes; ``name`` goes before the file's own.

    Raises LabFileError, with the line of the value that a lab cannot have.
    """
    file = text.file
    with _at(text, ("nodes",)):
        nodes = _nodes(text)
        check_count(len(nodes), ())
    with _at(text, ("name",)):
        title = check_name(name or file.name or DEFAULT_NAME)
    control = file.control_plane
    with _at(text, ("controlPlane",)):
        check_controls(control.machines, control.store)
    with _at(text, ("controlPlane", "eventTTL")):
        check_life(control.event_ttl or "")
    with _at(text, ("network",)):
        spec = make_spec(
            title,
            nodes=len(nodes),
            proxy=file.proxy.mode,
            overlay=file.network.overlay,
            pod_cidr=",".join(file.network.pod_cidrs) or None,
            service_cidr=",".join(file.network.service_cidrs) or None,
            ip_family=file.network.ip_family,
            dns_upstream=file.dns.upstreams,
            stub_domain=file.dns.stub_domains,
            runtime=file.runtime,
            hollow=file.hollow,
            store=control.store,
            control_planes=control.machines,
            event_ttl=control.event_ttl or "",
        )
    return dataclasses.replace(spec, nodes=nodes, counters=file.proxy.counters)


@contextmanager
def _at(text: Text, place: Place) -> Iterator[None]:
    try:
        yield
    except LabSpecError as err:
        what = str(err)
        for option, field in _FIELDS.items():
            what = what.replace(option, field)
        raise text.fault(place, what) from err


def _nodes(text: Text) -> tuple[NodeSpec, ...]:
    """Return the nodes. Given names and numbers come first, so that no other node takes them."""
    made: list[NodeSpec] = []
    entries = list(enumerate(text.file.nodes))
    for index, entry in entries:
        with _at(text, ("nodes", index)):
            _check_entry(entry)
    taken = _given(text)
    for index, entry in entries:
        for _ in range(entry.count):
            with _at(text, ("nodes", index)):
                made.append(_node(entry, [*made, *taken.values()], taken.get(index)))
                taken.pop(index, None)
    return tuple(made)


def _given(text: Text) -> dict[int, NodeSpec]:
    """Return the nodes that have a name, by their place in the file."""
    found: dict[int, NodeSpec] = {}
    for index, entry in enumerate(text.file.nodes):
        if entry.name is None:
            continue
        others = list(found.values())
        with _at(text, ("nodes", index, "name")):
            check_node_name("name", entry.name, others)
        with _at(text, ("nodes", index, "number")):
            found[index] = NodeSpec(entry.name, _number(entry, others))
    return _settled(found)


def _number(entry: NodeEntry, others: Sequence[NodeSpec]) -> int:
    """Return a named node's own number, that of its name, or 0, if it takes what is left."""
    taken = {node.number for node in others if node.number}
    digits = (entry.name or "").removeprefix("node")
    own = int(digits) if digits.isascii() and digits.isdecimal() and digits[0] != "0" else 0
    number = entry.number or (own if own <= MAX_NODES else 0)
    if number in taken:
        raise LabSpecError(f"another node has number {number}: give another, or remove it")
    return number


def _settled(found: dict[int, NodeSpec]) -> dict[int, NodeSpec]:
    """Give numbers to the named nodes without one."""
    for index, node in found.items():
        if not node.number:
            number = free_number([each for each in found.values() if each.number])
            found[index] = dataclasses.replace(node, number=number)
    return found


def _check_entry(entry: NodeEntry) -> None:
    if entry.count > 1 and (entry.name or entry.number):
        raise LabSpecError("count is for nodes without a name and a number: remove one of them")
    if entry.number and not entry.name:
        raise LabSpecError("a number is for a node with a name: add name")


def _node(entry: NodeEntry, others: Sequence[NodeSpec], given: NodeSpec | None) -> NodeSpec:
    if given is None:
        number = free_number(others)
        given = NodeSpec(f"node{number}", number)
    labels = [check_label("label", key, value) for key, value in entry.labels.items()]
    if entry.zone is not None:
        labels.append(check_label("zone", ZONE, entry.zone))
    taints = tuple(check_taint("taint", each) for each in entry.taints)
    return dataclasses.replace(given, labels=tuple(labels), taints=taints)


def describe(spec: LabSpec, recorded: LabFile | None, publish: Sequence[str] = ()) -> LabFile:
    """Return the file that makes a lab again.

    ``recorded`` is the file of which it was made; its images and manifests are still wanted.
    """
    return LabFile.model_validate(
        {
            "version": 1,
            "name": spec.name,
            "nodes": [_entry(node) for node in spec.nodes],
            "runtime": spec.runtime,
            "hollow": spec.hollow,
            "controlPlane": {
                "machines": spec.control_planes,
                "store": spec.store,
                "eventTTL": spec.event_ttl or None,
            },
            "network": _network(spec),
            "proxy": _wire(Proxy.model_validate({"mode": spec.proxy, "counters": spec.counters})),
            "dns": {"upstreams": spec.dns_upstreams, "stubDomains": spec.stub_domains},
            "images": [_wire(image) for image in recorded.images] if recorded else [],
            "manifests": recorded.manifests if recorded else (),
            "publish": publish,
        }
    )


def _network(spec: LabSpec) -> dict[str, Any]:
    return {
        "ipFamily": spec.ip_family,
        "podCIDRs": spec.pod_cidrs,
        "serviceCIDRs": spec.service_cidrs,
        "overlay": spec.overlay,
    }


def _entry(node: NodeSpec) -> dict[str, Any]:
    labels = dict(node.labels)
    zone = labels.pop(ZONE, None)
    number = None if node.name == f"node{node.number}" else node.number
    shown = {"name": node.name, "number": number, "zone": zone, "labels": labels}
    return {key: value for key, value in shown.items() if value} | {"taints": node.taints}


def _wire(model: ImageEntry | Network | Proxy) -> dict[str, Any]:
    return model.model_dump(by_alias=True, exclude_none=True)
