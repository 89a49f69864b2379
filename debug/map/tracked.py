"""Counts the connections that the nodes' kernels track, by what was called and what answers."""

from collections import Counter
from collections.abc import Collection, Mapping
from ipaddress import ip_address

from debug.kernel.conntrack import table
from debug.map.service import Flow
from debug.places import Ground, PlaceError, inside
from proxy.model.values import Protocol, Target

_BALANCED_EARLIER = "sys/fs/bpf/podwire-proxy"  # what a proxy in eBPF mode pins
_BALANCED = {str(one) for one in Protocol}


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


def of_nodes(
    counted: Mapping[str, Mapping[Flow, int]], machines: Collection[str], nodes: Collection[str]
) -> Mapping[str, Mapping[Flow, int]]:
    """Leave out machines that are no Node, as a lab's switch: they balance nothing.

    Where no machine has the name of a Node, all of them count.
    """
    if not set(machines) & set(nodes):
        return counted
    return {name: flows for name, flows in counted.items() if name in nodes}


def _tracked() -> Mapping[Flow, int]:
    """Count what was sent on to another peer than the called one. Raises OSError."""
    counted: Counter[Flow] = Counter()
    for flow in table():
        called = flow.original.destination, flow.original.destination_port
        answering = flow.reply.source, flow.reply.source_port
        if flow.protocol in _BALANCED and called != answering:
            counted[_text(*called), _text(*answering)] += 1
    return counted


def _text(address: str, port: int) -> str:
    return str(Target.of(ip_address(address), port))
