"""The operator's settings for one node's proxy; frozen, and the same for every backend."""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from proxy.model.values import Address, Family, Network, family_of


class CounterDetail(StrEnum):
    """The level of counting for each Service. Each level costs more than the one before."""

    OFF = "off"
    CONNECTIONS = "connections"
    PACKETS = "packets"


class PodDetector(Struct, frozen=True):
    """Tells whether a packet comes from a Pod: of this node, or of the cluster.

    It does so by the source ``network``, or by the name of the incoming ``interface``; a name that
    ends in ``+`` is a prefix. This is upstream's --detect-local-mode, for one family.
    """

    network: Network | None = None
    interface: str = ""

    def covers(self, source: Address, interface: str) -> bool:
        """Return True if a packet from ``source``, in by ``interface``, is a Pod's."""
        if self.network is not None:
            return source in self.network
        if self.interface.endswith("+"):
            return interface.startswith(self.interface[:-1])
        return interface == self.interface


class ProxySettings(Struct, frozen=True):
    """Masquerading, NodePorts, and the IP families in use.

    ``pods`` lacks a family whose Pods cannot be detected; then no packet of it counts as a Pod's.
    ``node_port_networks`` limits the node addresses that serve NodePorts. None means all addresses.
    A family without any network in it means all addresses of that family.
    """

    families: tuple[Family, ...] = (Family.V4, Family.V6)
    pods: Mapping[Family, PodDetector] = {}
    masquerade_all: bool = False
    mark_bit: int = 14
    localhost_node_ports: bool = True
    node_port_networks: tuple[Network, ...] | None = None
    tcp_be_liberal: bool = False  # conntrack does not call out-of-window segments INVALID
    packet_counters: frozenset[str] = frozenset()  # the kernel's, which rules may raise

    @property
    def mark(self) -> int:
        """The packet mark that asks for masquerading."""
        return 1 << self.mark_bit

    def is_node_port_address(self, address: Address) -> bool:
        """Return True if NodePorts are served at this address, if it is the node's.

        Loopback serves them for IPv4 only: the kernel routes no packet from ::1 to another host.
        """
        if address.is_loopback and (
            family_of(address) is Family.V6 or not self.localhost_node_ports
        ):
            return False
        networks = self.node_port_networks_of(family_of(address))
        return networks is None or any(address in network for network in networks)

    def node_port_networks_of(self, family: Family) -> tuple[Network, ...] | None:
        """Return one family's networks; None for all addresses (upstream's NodePortAddresses)."""
        ours = tuple(
            network for network in self.node_port_networks or () if network.version == family
        )
        return None if not ours or any(not network.prefixlen for network in ours) else ours
