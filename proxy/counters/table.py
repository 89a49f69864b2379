"""The desired table of counters: pure.

Each address and port of a Service is an element with a counter, which the kernel raises when it
looks up a packet's key. The chains decide nothing. They run before and after a backend translates
addresses, so every backend is counted alike, and a change of endpoints leaves the counters alone.

    nat, just before DNAT     sees a connection's first packet only: ``connections``
    filter, just after DNAT   sees every packet in both directions: ``packets``
"""

from collections.abc import Iterator

from proxy.backends.nftables.fixed import to_node_ports
from proxy.backends.nftables.objects import Chain, Element, SetOrMap, TableObject
from proxy.backends.nftables.render import NftablesRenderer, frontend_key
from proxy.desired.portals import Frontend
from proxy.model.settings import CounterDetail
from proxy.model.values import Family, Protocol

TABLE = "podwire-counters"

_BEFORE_DNAT, _AFTER_DNAT = -101, -99
_PLACES = 65536  # room for called node addresses


def stores(detail: CounterDetail) -> tuple[str, ...]:
    """Return the names of the sets that count. Those with ``port-`` are for NodePorts."""
    names = {
        CounterDetail.OFF: (),
        CounterDetail.CONNECTIONS: ("connections",),
        CounterDetail.PACKETS: ("connections", "packets"),
    }
    return tuple(f"{side}{name}" for name in names[detail] for side in ("", "port-"))


def elements(frontend: Frontend, detail: CounterDetail) -> Iterator[Element]:
    """Yield a frontend's elements."""
    is_port = frontend.address is None
    key = frontend_key(frontend)
    for name in stores(detail):
        if name.startswith("port-") is is_port:
            yield Element(name, key)
    if is_port and detail is CounterDetail.PACKETS:
        yield Element("ports", key)


def fixed(renderer: NftablesRenderer, detail: CounterDetail) -> tuple[TableObject, ...]:
    """Return the part of the table that no Service changes."""
    parts = [*_connections(renderer)]
    if detail is CounterDetail.PACKETS:
        parts += [*_places(renderer), *_packets(renderer)]
    return tuple(parts)


def _connections(renderer: NftablesRenderer) -> Iterator[TableObject]:
    yield SetOrMap("set", "connections", f"typeof {renderer.address_key}; counter;")
    yield SetOrMap("set", "port-connections", f"typeof {renderer.port_key}; counter;")
    ports = to_node_ports(renderer, "@port-connections")
    yield Chain("connections", (f"{renderer.address_key} @connections return", *ports))
    for hook in ("prerouting", "output"):
        at = f"type nat hook {hook} priority {_BEFORE_DNAT}; policy accept;"
        yield Chain(f"nat-{hook}", ("jump connections",), at)


def _places(renderer: NftablesRenderer) -> Iterator[TableObject]:
    """Remember the node addresses at which a NodePort was called.

    Later packets are recognized by their connection's first destination. By then that address may
    not be the node's any more.
    """
    yield SetOrMap("set", "ports", f"typeof {renderer.port_key};")
    yield SetOrMap("set", "places", f"typeof {renderer.ip} daddr; flags dynamic; size {_PLACES};")
    remembered = f"@ports add @places {{ {renderer.ip} daddr }}"
    yield Chain("places", tuple(to_node_ports(renderer, remembered)))
    for hook in ("prerouting", "output"):
        at = f"type filter hook {hook} priority {_BEFORE_DNAT}; policy accept;"
        yield Chain(f"places-{hook}", ("ct state new jump places",), at)


def _packets(renderer: NftablesRenderer) -> Iterator[TableObject]:
    address = "ipv4_addr" if renderer.family is Family.V4 else "ipv6_addr"
    yield SetOrMap("set", "packets", f"type {address} . inet_proto . inet_service; counter;")
    yield SetOrMap("set", "port-packets", "type inet_proto . inet_service; counter;")
    called = f"ct original {renderer.ip} daddr"
    key = "meta l4proto . ct original proto-dst"
    protocol_matches = [f"meta l4proto {protocol.lower()}" for protocol in Protocol]
    rules = (
        *(f"{match} {called} . {key} @packets return" for match in protocol_matches),
        *(f"{match} {called} @places {key} @port-packets return" for match in protocol_matches),
    )
    yield Chain("packets", rules)
    for hook in ("prerouting", "output"):
        at = f"type filter hook {hook} priority {_AFTER_DNAT}; policy accept;"
        # Packets from the node to itself were counted on their way out.
        first = 'iifname != "lo" ' if hook == "prerouting" else ""
        yield Chain(f"filter-{hook}", (f"{first}ct status dnat jump packets",), at)
