"""The checks by the names of their faults, in the order in which they are shown."""

from collections.abc import Callable, Iterable

from debug.doctor.checks import nodes, tunnels
from debug.doctor.look import Look
from debug.model import Finding

Check = Callable[[Look], Iterable[Finding]]

CHECKS: dict[str, Check] = {
    "duplicate-node-ip": nodes.duplicate_node_ip,
    "duplicate-cidr": nodes.duplicate_cidr,
    "mtu": tunnels.mtu,
    "forwarding": nodes.forwarding,
    "routes": tunnels.routes,
    "tunnel": tunnels.tunnel,
    "overlay-port": tunnels.overlay_port,
    "rp-filter": nodes.rp_filter,
    "neighbor-table": nodes.neighbors,
    "ipv6-dad": nodes.ipv6_dad,
}
