"""The fate table's rows as Services and packets, for the evaluator and for real packets."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from msgspec.structs import replace

from proxy.desired.desired import Desired
from proxy.desired.fate import Packet
from proxy.desired.tracker import Tracker
from proxy.model.settings import PodDetector, ProxySettings
from proxy.model.values import (
    Address,
    Endpoint,
    Family,
    Network,
    NodeView,
    Port,
    Protocol,
    Service,
    Slice,
    Target,
    Weight,
)
from tests.support.proxy.fate import Row

PORT, SERVICE_PORT, FIRST_NODE_PORT = 8080, 80, 30000
NODE_ADDRESSES = tuple(
    map(ip_address, ("192.168.0.1", "fd00:1::1", "10.244.1.1", "fd00:10:244:1::1"))
)
SERVICE_RANGES = (ip_network("10.96.0.0/16"), ip_network("fd00:10:96::/112"))
NODE = NodeView(
    "n1",
    zone="z1",
    addresses=NODE_ADDRESSES,
    pod_cidrs=(ip_network("10.244.1.0/24"), ip_network("fd00:10:244:1::/64")),
    service_ranges=SERVICE_RANGES,
)
ENDPOINTS = {
    "A": ("10.244.1.2", "fd00:10:244:1::2"),
    "B": ("10.244.1.3", "fd00:10:244:1::3"),
    "C": ("10.244.2.2", "fd00:10:244:2::2"),
}
# Each source's addresses, and the interface on which the node meets its packets.
SOURCES = {
    "pod": ("10.244.1.9", "fd00:10:244:1::9", "podwire0"),
    "self": ("10.244.1.2", "fd00:10:244:1::2", "podwire0"),
    "node": ("192.168.0.1", "fd00:1::1", ""),
    "remote": ("10.244.2.9", "fd00:10:244:2::9", "eth0"),
    "outside": ("192.168.0.9", "fd00:1::9", "eth0"),
}
_PODS = (ip_network("10.244.0.0/16"), ip_network("fd00:10:244::/56"))
_LAN = (ip_network("192.168.0.0/24"), ip_network("fd00:1::/64"))
_CLUSTER = (ip_address("10.96.0.0"), ip_address("fd00:10:96::"))
_EXTERNAL = (ip_address("198.51.100.0"), ip_address("2001:db8:1::"))
_BALANCER = (ip_address("203.0.113.0"), ip_address("2001:db8:2::"))
_AT = {"node": 0, "bridge": 2}  # where the addresses of a sort begin in NODE_ADDRESSES
_SOURCE_RANGES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "from-outside": (("192.168.0.9/32",), ("fd00:1::9/128",)),
    "from-pods": (("10.244.0.0/16",), ("fd00:10:244::/56",)),
    "from-node": (("192.168.0.1/32",), ("fd00:1::1/128",)),
    "from-nowhere": ((), ()),
}


def _by_interface(name: str) -> Mapping[Family, PodDetector]:
    return {family: PodDetector(interface=name) for family in Family}


DEFAULT = ProxySettings(
    pods={family: PodDetector(network=net) for family, net in zip(Family, _PODS, strict=True)}
)
SETTINGS: Mapping[str, ProxySettings] = {
    "default": DEFAULT,
    "masquerade-all": replace(DEFAULT, masquerade_all=True),
    "no-detection": replace(DEFAULT, pods={}),
    "by-bridge": replace(DEFAULT, pods=_by_interface("podwire0")),
    "by-prefix": replace(DEFAULT, pods=_by_interface("podw+")),
    "lan-nodeports": replace(DEFAULT, node_port_networks=_LAN),
    "no-localhost": replace(DEFAULT, localhost_node_ports=False),
}


@dataclass(frozen=True)
class Case:
    """A row with its Service; ``number`` keeps the Services apart."""

    row: Row
    number: int
    version: int

    @property
    def key(self) -> tuple[str, str]:
        """The Service's key."""
        return "fate", f"row-{self.number}"

    @property
    def _family(self) -> int:
        return 0 if self.version == 4 else 1

    def destination(self) -> tuple[Address, int]:
        """Return the destination of the row's packets."""
        of = self._family
        kind, _, where = self.row.destination.partition("-")
        node_port = FIRST_NODE_PORT + self.number
        if kind == "nodeport":
            places = {
                "": NODE_ADDRESSES[of],
                "bridge": NODE_ADDRESSES[2 + of],
                "loopback": ip_address(("127.0.0.1", "::1")[of]),
                "cluster": _CLUSTER[of] + self.number,
            }
            return places[where], node_port
        if where in _AT:
            return NODE_ADDRESSES[_AT[where] + of], SERVICE_PORT
        base = {"cluster": _CLUSTER, "external": _EXTERNAL, "balancer": _BALANCER}[kind][of]
        if where == "nobody":
            return base + 60_000 + self.number, SERVICE_PORT
        return base + self.number, SERVICE_PORT + (1 if where == "other" else 0)

    def packet(self, source: str, protocol: Protocol) -> Packet:
        """Return the first packet from ``source``. To a loopback address its source is loopback."""
        address, port = self.destination()
        *addresses, interface = SOURCES[source]
        sender = address if address.is_loopback else ip_address(addresses[self._family])
        return Packet(sender, address, port, protocol, interface)

    def service(self) -> Service:
        """Return the row's Service, with ports for TCP, UDP and SCTP."""
        of, policies = self._family, self.row.policies
        ranges = [_SOURCE_RANGES[one][of] for one in policies if one in _SOURCE_RANGES]
        return Service(
            key=self.key,
            ports=tuple(
                Port(proto.lower(), proto, SERVICE_PORT, FIRST_NODE_PORT + self.number)
                for proto in Protocol
            ),
            cluster_ips=(_CLUSTER[of] + self.number,),
            external_ips=(
                _EXTERNAL[of] + self.number,
                *(NODE_ADDRESSES[at + of] for name, at in _AT.items() if f"at-{name}" in policies),
            ),
            load_balancer_ips=(_BALANCER[of] + self.number,),
            sources=tuple(map(_network, ranges[0])) if ranges else None,
            internal_local="internal" in policies,
            external_local="external" in policies,
            weights=tuple(
                Weight(text[0], int(text.partition("=")[2]))
                for text in self.row.endpoints
                if "=" in text
            ),
        )

    def slice(self) -> Slice:
        """Return its endpoints."""
        endpoints = tuple(self._endpoint(text) for text in self.row.endpoints)
        return Slice(self.key, {(proto.lower(), proto): endpoints for proto in Protocol})

    def _endpoint(self, text: str) -> Endpoint:
        name, marks = text[0], text[1:]
        state = {mark for mark in marks if mark in "~!?"}
        hints = re.findall(r"[@%]\w+", marks)
        return Endpoint(
            Target.of(ip_address(ENDPOINTS[name][self._family]), PORT),
            local=name in "AB",
            ready=not state,
            serving=state <= {"~"},
            terminating=bool(state & {"~", "!"}),
            zones=frozenset(hint[1:] for hint in hints if hint[0] == "@"),
            nodes=frozenset(hint[1:] for hint in hints if hint[0] == "%"),
            pod=name,
        )


def _network(text: str) -> Network:
    return ip_network(text)


def desired(cases: list[Case]) -> Desired:
    """Return the desired state that serves all of the cases at once."""
    tracker = Tracker(NODE, tuple(Family))
    for case in cases:
        tracker.set_service(case.key, case.service())
        tracker.set_slice(case.key, case.slice())
    return tracker.desired()
