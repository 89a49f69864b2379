"""Names of tables and chains.

They are kube-proxy's, so that every debugging guide and tool applies.
"""

from enum import StrEnum
from typing import NamedTuple

from proxy.desired.portals import Portal
from proxy.model.naming import digest
from proxy.model.values import Target


class Table(StrEnum):
    """The tables that the proxy writes."""

    NAT = "nat"
    FILTER = "filter"


class ChainName(NamedTuple):
    """A chain's table and name."""

    table: Table
    name: str


SERVICES = ChainName(Table.NAT, "KUBE-SERVICES")
NODE_PORTS = ChainName(Table.NAT, "KUBE-NODEPORTS")
MARK_MASQ = ChainName(Table.NAT, "KUBE-MARK-MASQ")
POSTROUTING = ChainName(Table.NAT, "KUBE-POSTROUTING")
NO_INTERNAL = ChainName(Table.FILTER, "KUBE-SERVICES")
NO_EXTERNAL = ChainName(Table.FILTER, "KUBE-EXTERNAL-SERVICES")
FIREWALL = ChainName(Table.FILTER, "KUBE-PROXY-FIREWALL")
HEALTH_PORTS = ChainName(Table.FILTER, "KUBE-NODEPORTS")
FORWARD = ChainName(Table.FILTER, "KUBE-FORWARD")
CLUSTER_IPS = ChainName(Table.FILTER, "KUBE-CLUSTER-IPS")
REFUSE = ChainName(Table.FILTER, "KUBE-REFUSE")
LOCALNET = ChainName(Table.FILTER, "KUBE-FIREWALL")  # kubelet writes the same chain, rule for rule
# Chains to which nothing jumps: what the kernel takes is tried there.
TRIALS = tuple(ChainName(table, "KUBE-TRIAL") for table in Table)
CANARY = "KUBE-PROXY-CANARY"
# What kube-proxy's mode ipvs has beside chains of the names above.
IPVS = (
    ChainName(Table.NAT, "KUBE-NODE-PORT"),
    ChainName(Table.NAT, "KUBE-LOAD-BALANCER"),
    ChainName(Table.FILTER, "KUBE-NODE-PORT"),
    ChainName(Table.FILTER, "KUBE-SOURCE-RANGES-FIREWALL"),
    ChainName(Table.FILTER, "KUBE-IPVS-FILTER"),
    ChainName(Table.FILTER, "KUBE-IPVS-OUT-FILTER"),
)
IPVS_COMMENT = '"kube-proxy firewall rules"'  # of its jumps to KUBE-PROXY-FIREWALL

# Chains in which every Service has lines, and chains that are the same whatever the Services are.
SHARED = (
    SERVICES,
    NODE_PORTS,
    NO_INTERNAL,
    NO_EXTERNAL,
    FIREWALL,
    HEALTH_PORTS,
    CLUSTER_IPS,
)
FIXED = (MARK_MASQ, POSTROUTING, FORWARD, REFUSE, LOCALNET)

# The chains of one Service port. kube-proxy before 1.24 wrote KUBE-XLB-.
_OWN_PREFIXES = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-", "KUBE-XLB-")

_OURS = {*SHARED, *FIXED, *TRIALS, *IPVS}


def is_ours(chain: ChainName) -> bool:
    """Return True if a chain is the proxy's, or was kube-proxy's before it."""
    return chain in _OURS or chain.name == CANARY or is_service_chain(chain)


def is_service_chain(chain: ChainName) -> bool:
    """Return True if a chain belongs to one Service port, of this proxy or of kube-proxy."""
    return chain.table is Table.NAT and chain.name.startswith(_OWN_PREFIXES)


def cluster_chain(portal: Portal) -> str:
    """Name the chain that balances over the endpoints of policy Cluster."""
    return "KUBE-SVC-" + digest(portal.name + portal.protocol.lower())


def local_chain(portal: Portal) -> str:
    """Name the chain that balances over this node's endpoints."""
    return "KUBE-SVL-" + digest(portal.name + portal.protocol.lower())


def external_chain(portal: Portal) -> str:
    """Name the chain for traffic to NodePorts, load balancer addresses and externalIPs."""
    return "KUBE-EXT-" + digest(portal.name + portal.protocol.lower())


def firewall_chain(portal: Portal) -> str:
    """Name the chain that admits a load balancer's source ranges."""
    return "KUBE-FW-" + digest(portal.name + portal.protocol.lower())


def endpoint_chain(portal: Portal, target: Target) -> str:
    """Name the chain that translates to one endpoint."""
    return "KUBE-SEP-" + digest(f"{portal.name}{portal.protocol.lower()}{target}")
