"""The checks by the names of their faults, in the order in which they are shown."""

from collections.abc import Callable, Iterable

from debug.doctor.checks import filters, nodes, pods, services, tracking, tunnels
from debug.doctor.look import Look
from debug.model import Finding

Check = Callable[[Look], Iterable[Finding]]

CHECKS: dict[str, Check] = {
    "duplicate-node-ip": nodes.duplicate_node_ip,
    "duplicate-cidr": nodes.duplicate_cidr,
    "duplicate-ip": pods.duplicate_ip,
    "duplicate-mac": pods.duplicate_mac,
    "pod-range": pods.pod_range,
    "pod-link": pods.pod_link,
    "mtu": tunnels.mtu,
    "forwarding": nodes.forwarding,
    "forward-drop": filters.forward_drop,
    "routes": tunnels.routes,  # and foreign-route
    "tunnel": tunnels.tunnel,
    "overlay-port": tunnels.overlay_port,
    "rp-filter": nodes.rp_filter,
    "bridge-filter": filters.bridge_filter,
    "hairpin": pods.hairpin,
    "proxy": filters.proxy,
    "rules-wiped": filters.rules_wiped,
    "mixed-iptables": filters.mixed_iptables,
    "over-masquerade": filters.over_masquerade,
    "stale-endpoint": services.stale_endpoint,
    "stale-flows": tracking.stale_flows,
    "conntrack-full": tracking.conntrack_full,
    "conntrack-invalid": tracking.conntrack_invalid,
    "snat-race": tracking.snat_race,
    "loopback-nodeport": services.loopback_node_port,
    "service-endpoints": services.service_endpoints,
    "target-port": services.target_port,
    "dns-service": services.dns_service,
    "ipam-leak": pods.ipam_leak,
    "neighbor-table": nodes.neighbors,
    "ipv6-dad": nodes.ipv6_dad,
}
