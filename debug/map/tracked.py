"""Counts the connections that the nodes' kernels track, by what was called and what answers."""

from collections import Counter
from collections.abc import Mapping
from ipaddress import ip_address

from debug.map.service import Flow
from debug.places import Ground, PlaceError, inside
from proxy.flows.stale import FlowPeer
from proxy.flows.table import flows
from proxy.model.values import Family, Protocol, Target

_BALANCED_EARLIER = "sys/fs/bpf/podwire-proxy"  # what a proxy in eBPF mode pins


def connections(ground: Ground) -> tuple[dict[str, Mapping[Flow, int]], list[str]]:
    """Return each node's connections, and of the nodes without them why they are not known."""
    found: dict[str, Mapping[Flow, int]] = {}
    unread = []
    for place in ground.nodes():
        if (place.root / _BALANCED_EARLIER).exists():
            why = "eBPF gives connections their endpoint before the kernel tracks them"
            unread.append(f"connections of {place.node}: {why}")
            continue
        try:
            found[place.node] = inside(place, _tracked)
        except (OSError, PlaceError) as err:
            unread.append(f"connections of {place.node}: {err}")
    return found, unread


def _tracked() -> Mapping[Flow, int]:
    """Count what was sent on to another peer than the called one. Raises OSError."""
    counted: Counter[Flow] = Counter()
    for family in Family:
        for protocol in Protocol:
            for flow in flows(family, protocol):
                if flow.called != flow.answering:
                    counted[_text(flow.called), _text(flow.answering)] += 1
    return counted


def _text(peer: FlowPeer) -> str:
    return str(Target(ip_address(peer.address), peer.port))
