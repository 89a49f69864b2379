"""The values of this room: Pods, policies and their rules, parsed and checked."""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct

from proxy.model.values import Address, Key, Protocol

LAST_PORT = 65535


class Direction(StrEnum):
    """The side of a Pod that a policy guards. The value is the name in policyTypes."""

    INGRESS = "Ingress"
    EGRESS = "Egress"


class Operator(StrEnum):
    """The operator of a selector's condition (meta/v1 LabelSelectorRequirement)."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Condition(NamedTuple):
    """One condition on a label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()


class Selector(NamedTuple):
    """A label selector. Without conditions it selects all."""

    conditions: frozenset[Condition] = frozenset()


class PodPeer(NamedTuple):
    """The Pods that ``pods`` selects, in one namespace, or in those that ``namespaces`` selects."""

    namespace: str | None
    namespaces: Selector | None
    pods: Selector


class AddressRange(NamedTuple):
    """Addresses of one family, as numbers; both ends belong to it."""

    version: int
    first: int
    last: int


class BlockPeer(NamedTuple):
    """An ipBlock: ranges without their exceptions. They do not overlap, and are in order."""

    ranges: tuple[AddressRange, ...]


Peer = PodPeer | BlockPeer


class PortRange(NamedTuple):
    """The ports from ``first`` to ``last`` of a protocol."""

    protocol: Protocol
    first: int = 0
    last: int = LAST_PORT


class PortName(NamedTuple):
    """The port that a Pod's container has under this name."""

    protocol: Protocol
    name: str


class Rule(Struct, frozen=True):
    """What a policy lets pass. None stands for all peers, or all ports of all protocols."""

    peers: frozenset[Peer] | None
    ports: frozenset[PortRange | PortName] | None


class Policy(Struct, frozen=True):
    """A NetworkPolicy. A direction without an entry in ``rules`` is not isolated by it."""

    key: Key
    selector: Selector
    rules: Mapping[Direction, tuple[Rule, ...]]


class Tier(StrEnum):
    """Where a ClusterNetworkPolicy stands: before all NetworkPolicies, or after them."""

    ADMIN = "Admin"
    BASELINE = "Baseline"


class Action(StrEnum):
    """What a rule of a ClusterNetworkPolicy does. PASS leaves it to the next tier."""

    ACCEPT = "Accept"
    DENY = "Deny"
    PASS = "Pass"  # noqa: S105  # no password


class OrderedRule(Struct, frozen=True):
    """A rule of a ClusterNetworkPolicy: the first that fits a packet decides.

    None stands for everybody, or all ports of all protocols.
    """

    action: Action
    peers: frozenset[Peer] | None
    ports: frozenset[PortRange | PortName] | None
    name: str = ""


class ClusterPolicy(Struct, frozen=True):
    """A ClusterNetworkPolicy. ``subject`` are the Pods that it is about."""

    name: str
    tier: Tier
    priority: int
    subject: PodPeer
    rules: Mapping[Direction, tuple[OrderedRule, ...]]

    @property
    def key(self) -> Key:
        """The name, as of an object without a namespace."""
        return "", self.name

    @property
    def rank(self) -> tuple[int, str]:
        """The order within the tier, the least first. The API leaves equal priorities open."""
        return self.priority, self.name


class Pod(Struct, frozen=True):
    """A Pod with an address of its own, that has not ended.

    ``ports`` maps (protocol, name) to the container's port. ``rank`` orders Pods that have the same
    address: the greatest has it now. ``sandbox`` is the UID that the runtime knows: that of the
    static Pod, if this is a mirror Pod.
    """

    key: Key
    uid: str
    labels: Mapping[str, str]
    addresses: tuple[Address, ...]
    is_local: bool
    ports: Mapping[tuple[Protocol, str], int]
    rank: tuple[bool, str, str] = (True, "", "")
    sandbox: str = ""


class Namespace(Struct, frozen=True):
    """A namespace with its labels."""

    name: str
    labels: Mapping[str, str]
