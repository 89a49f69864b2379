"""Which node announces which address. Pure.

As MetalLB in layer 2: of the nodes that may, the one whose hash with the address is lowest. So a
node that goes takes only its own addresses with it, and all speakers agree without a talk.
Source: https://metallb.io/concepts/layer2/ and MetalLB's speaker/layer2_controller.go.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Set

from control.cloud.speaker.views import Address, NodeView, ServiceView, SliceView

Candidates = dict[Address, frozenset[str]]


def may_announce(
    service: ServiceView, endpoints: Collection[str], nodes: Iterable[NodeView]
) -> frozenset[str]:
    """Return the nodes that may announce a Service's addresses, dead or alive.

    ``endpoints`` are the nodes with ready endpoints; without any, nobody announces. Nodes whose
    agents do not report are left out, unless no agent does: then the agents are the fault.
    """
    if not endpoints:
        return frozenset()
    usable = [n for n in nodes if n.usable and (not service.local or n.name in endpoints)]
    ready = [node for node in usable if node.ready]
    return frozenset(node.name for node in ready or usable)


def candidates(
    services: Iterable[ServiceView], slices: Iterable[SliceView], nodes: Collection[NodeView]
) -> Candidates:
    """Return the nodes that may announce each address; some addresses have several Services."""
    balanced = [service for service in services if service.addresses]
    wanted = {service.key for service in balanced}
    endpoints: dict[tuple[str, str], set[str]] = defaultdict(set)
    for each in slices:
        if each.service in wanted:
            endpoints[each.service] |= each.nodes
    found: dict[Address, frozenset[str]] = defaultdict(frozenset)
    for service in balanced:
        names = may_announce(service, endpoints[service.key], nodes)
        for address in service.addresses:
            found[address] |= names
    return dict(found)


def leader(address: Address, nodes: Iterable[str]) -> str | None:
    """Return the node that announces an address; None if no node may."""
    return min(nodes, key=lambda node: _weight(node, address), default=None)


def _weight(node: str, address: Address) -> bytes:
    return hashlib.sha256(f"{node}#{address}".encode()).digest()


def leaders(may: Mapping[Address, frozenset[str]], dead: Set[str]) -> dict[Address, str]:
    """Return the leader of each address: a dead node only if no other may."""
    found = {}
    for address, nodes in may.items():
        if (name := leader(address, nodes - dead or nodes)) is not None:
            found[address] = name
    return found
