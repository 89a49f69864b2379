"""The checks by the names of their faults, in the order in which they are shown."""

from collections.abc import Callable, Iterable

from debug.doctor.checks import (
    filtered,
    filters,
    ipv6,
    nodes,
    pods,
    policies,
    services,
    tracking,
    tunnels,
)
from debug.doctor.look import Look
from debug.model import Finding

Check = Callable[[Look], Iterable[Finding]]

CHECKS: dict[str, Check] = {
    "duplicate-node-ip": nodes.duplicate_node_ip,
    "duplicate-pod-cidr": nodes.duplicate_cidr,
    "duplicate-pod-ip": pods.duplicate_ip,
    "duplicate-mac": pods.duplicate_mac,
    "pod-range": pods.pod_range,
    "pod-link": pods.pod_link,
    "mtu-black-hole": tunnels.mtu,
    "forwarding-off": nodes.forwarding,
    "forward-drop": filters.forward_drop,
    "routes": tunnels.routes,  # and foreign-route
    "tunnel": tunnels.tunnel,
    "overlay-filtered": tunnels.overlay_port,
    "strict-rp-filter": nodes.rp_filter,
    "bridge-filter-off": filters.bridge_filter,
    "hairpin-off": pods.hairpin,
    "proxy-hung": filters.proxy,
    "rules-wiped": filters.rules_wiped,
    "iptables-mixed": filters.mixed_iptables,
    "over-masquerade": filters.over_masquerade,
    "stale-endpoint": services.stale_endpoint,
    "stale-udp": tracking.stale_flows,
    "conntrack-full": tracking.conntrack_full,
    "conntrack-invalid": tracking.conntrack_invalid,
    "snat-race": tracking.snat_race,
    "nodeport-loopback": services.loopback_node_port,
    "service-endpoints": services.service_endpoints,
    "wrong-target-port": services.wrong_target_port,
    "dns-down": services.dns_service,
    "ipam-leak": pods.ipam_leak,
    "neighbor-overflow": nodes.neighbors,
    "local-policy": services.local_policy,
    "pod-filter": filtered.pod_filter,  # and probe-blocked, dead-affinity
    "dns-filter": filtered.dns_filter,  # as dns-down, dns-slow
    "policy-denies": policies.denies,
    "policy-no-dns": policies.no_dns,
    "ipv6-dad": nodes.ipv6_dad,
    "ipv6-disabled": ipv6.disabled,
    "ipv6-accept-ra": ipv6.accept_ra,
    "wrong-neighbor": nodes.wrong_neighbor,
}

ALSO = {
    **{"foreign-route": {"routes"}, "wrong-selector": {"service-endpoints"}},
    **{"probe-blocked": {"pod-filter"}, "dead-affinity": {"pod-filter"}},
    **{"dns-slow": {"dns-filter"}, "dns-down": {"dns-down", "dns-filter"}},
    "duplicate-pod-cidr": {"duplicate-pod-cidr", "routes"},
}
"""Faults that a check of another name finds, and who does."""
