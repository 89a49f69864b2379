"""What an operator decides for one node's proxy; frozen, and the same for every backend."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from proxy.model.values import Address, Family, Network, family_of


class CounterDetail(StrEnum):
    """What is counted for each Service; each level costs more than the one before."""

    OFF = "off"
    CONNECTIONS = "connections"
    PACKETS = "packets"


@dataclass(frozen=True, slots=True)
class PodDetector:
    """How to tell that a packet comes from one of this node's own pods (or of the cluster's).

    Either by source ``network``, or by the name of the ``interface`` it came in on; a name ending
    in ``+`` is a prefix. This is upstream's --detect-local-mode, one family of it.
    """

    network: Network | None = None
    interface: str = ""

    def covers(self, source: Address, interface: str) -> bool:
        """Whether a packet from ``source``, in on ``interface``, counts as a pod's."""
        if self.network is not None:
            return source in self.network
        if self.interface.endswith("+"):
            return interface.startswith(self.interface[:-1])
        return interface == self.interface


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Masquerading, node ports, and the families in use.

    ``pods`` is absent for a family whose pods cannot be told: then no traffic is treated as a
    pod's. ``node_port_networks`` limits the node addresses that serve NodePorts; None means all,
    and so does, for a family, that none of them is of that family.
    """

    families: tuple[Family, ...] = (Family.V4, Family.V6)
    pods: Mapping[Family, PodDetector] = field(default_factory=dict)
    masquerade_all: bool = False
    mark_bit: int = 14
    localhost_node_ports: bool = True
    node_port_networks: tuple[Network, ...] | None = None
    tcp_be_liberal: bool = False  # the kernel does not call out-of-window segments INVALID

    @property
    def mark(self) -> int:
        """The packet mark that asks for masquerading."""
        return 1 << self.mark_bit

    def is_node_port_address(self, address: Address) -> bool:
        """Whether NodePorts are served at this address, if it is the node's.

        Loopback is IPv4's alone: the kernel routes no packet from ::1 to another host.
        """
        if address.is_loopback and (
            family_of(address) is Family.V6 or not self.localhost_node_ports
        ):
            return False
        networks = self.node_port_networks_of(family_of(address))
        return networks is None or any(address in network for network in networks)

    def node_port_networks_of(self, family: Family) -> tuple[Network, ...] | None:
        """One family's networks, None for all of its addresses (upstream's NodePortAddresses)."""
        ours = tuple(one for one in self.node_port_networks or () if one.version == family)
        return None if not ours or any(not one.prefixlen for one in ours) else ours
