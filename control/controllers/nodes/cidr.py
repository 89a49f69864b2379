"""Allocates Pod CIDRs: each node gets one range of each family, for ever.

Taken ranges are read from the Nodes themselves, and all allocations are decided under one key: so a
restart, or two nodes at a time, cannot allocate a range twice.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import count

from control.api import kinds
from control.api.node import Node
from control.client.cache import Key
from control.controllers.actions import Action, Patch, Report
from control.controllers.loop import Source
from control.controllers.state import ClusterState

Network = IPv4Network | IPv6Network
_ALL: Key = ("", "pod-cidrs")


@dataclass(frozen=True, slots=True)
class ClusterRange:
    """A cluster CIDR that is divided into node CIDRs of ``prefix`` bits."""

    network: Network
    prefix: int


class PodCIDRController:
    """Allocates nodes' Pod CIDRs."""

    component = "cidrAllocator"

    def __init__(self, ranges: Sequence[ClusterRange], reserved: Sequence[Network] = ()) -> None:
        """``reserved`` are ranges that no node may get, such as the Services'."""
        self._ranges = ranges
        self._reserved = reserved
        self.sources = (
            Source(kinds.NODE, lambda *_: [_ALL], lambda old, new: old is None or new is None),
        )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Allocate CIDRs for all nodes that have none, the oldest first."""
        del key, now
        nodes = list(cluster[kinds.NODE])
        waiting = [node for node in nodes if not node.spec.pod_cidr and not node.spec.pod_cidrs]
        if not waiting:
            return
        taken = [*self._reserved, *_networks(nodes)]
        pools = [_free(range_, taken) for range_ in self._ranges]
        for node in sorted(waiting, key=lambda n: (n.metadata.creation_timestamp or "", n.key)):
            yield _allocate(node, [next(pool, None) for pool in pools])


def _allocate(node: Node, cidrs: Sequence[Network | None]) -> Action:
    found = [str(cidr) for cidr in cidrs if cidr is not None]
    if len(found) < len(cidrs):
        text = f"Node {node.metadata.name} status is now: CIDRNotAvailable"
        return Report(node, "Normal", "CIDRNotAvailable", text)
    return Patch(kinds.NODE, node, {"spec": {"podCIDR": found[0], "podCIDRs": found}})


def _networks(nodes: Iterable[Node]) -> Iterator[Network]:
    for node in nodes:
        for text in {*node.spec.pod_cidrs, *filter(None, [node.spec.pod_cidr])}:
            yield ip_network(text, strict=False)


def _free(range_: ClusterRange, taken: Iterable[Network]) -> Iterator[Network]:
    """Yield the node CIDRs of a range that overlap no taken range."""
    network, bits = range_.network, range_.network.max_prefixlen - range_.prefix
    base = int(network.network_address)
    used: set[int] = set()
    for other in taken:
        if other.version == network.version and other.overlaps(network):
            first = (int(other.network_address) - base) >> bits
            last = (int(other.broadcast_address) - base) >> bits
            total = 1 << (range_.prefix - network.prefixlen)
            used.update(range(max(first, 0), min(last, total - 1) + 1))
    for index in count():
        if index >= 1 << (range_.prefix - network.prefixlen):
            return
        if index not in used:
            yield type(network)((base + (index << bits), range_.prefix))
