"""Names a dropped packet: the Pod that was guarded, its policies, and the other end. Pure."""

from collections.abc import Callable

from msgspec import Struct

from proxy.model.values import Address, Key, NodeView, Protocol
from proxy.policy.drops.explain import Asked, explain
from proxy.policy.drops.packet import Flow
from proxy.policy.index import PolicyIndex
from proxy.policy.render import DENIED, DROPPED, UNKNOWN_FROM, UNKNOWN_TO
from proxy.policy.values import Direction, Pod, Tier

_DIRECTIONS = {name: direction for direction, name in DROPPED.items()}
_DENIALS = {name: direction for direction, name in DENIED.items()}
_UNKNOWN = {UNKNOWN_FROM: Direction.EGRESS, UNKNOWN_TO: Direction.INGRESS}


class End(Struct, frozen=True):
    """One end of a flow. ``pod`` is None if no Pod has the address now."""

    address: Address
    pod: Key | None
    node: str = ""  # the node whose own address it is

    def __str__(self) -> str:
        if self.pod:
            return "/".join(self.pod)
        return f"node {self.node}" if self.node else str(self.address)


class Drop(Struct, frozen=True):
    """Why a packet was dropped. Equal drops are one line of the list.

    ``policies`` isolate the Pod in the direction, and none of them admits the packet. Without them
    the address was not known as a Pod's. ``rule`` says which rule of a ClusterNetworkPolicy
    denied it, if one did.
    """

    direction: Direction
    guarded: End
    peer: End
    policies: tuple[Key, ...]
    protocol: str
    port: int | None
    rule: str = ""

    @property
    def reason(self) -> str:
        """Why, as a part of a sentence."""
        if self.rule:
            return f"{self.direction.lower()} {self.rule}"
        if not self.policies:
            return f"the node's proxy does not know a Pod with address {self.guarded.address} yet"
        names = ", ".join("/".join(key) for key in self.policies)
        return f"no {self.direction.lower()} rule of {names} admits it"

    @property
    def what(self) -> str:
        """The flow in words, as seen from the guarded Pod."""
        to = self.direction is Direction.EGRESS
        door = "" if self.port is None else f" port {self.port}"
        far = f"to {self.peer}{door}" if to else f"from {self.peer}{f' to{door}' if door else ''}"
        return f"{self.protocol} {far}"


def name_drop(index: PolicyIndex, node: NodeView, prefix: str, flow: Flow) -> Drop | None:
    """Name what a rule with this prefix dropped; None if the rule is none of ours.

    By the policies of now, which a change may have reached some milliseconds before the log.
    """
    denied = _DENIALS.get(prefix)
    direction = _DIRECTIONS.get(prefix) or _UNKNOWN.get(prefix) or denied
    if direction is None:
        return None
    mine, other = flow.source, flow.destination
    if direction is Direction.INGRESS:
        mine, other = other, mine
    guard = index.holder(mine)
    keys: tuple[Key, ...] = ()
    if guard is not None and prefix in _DIRECTIONS:
        keys = tuple(one.key for one in index.guards(guard, direction))
    rule = ""
    if guard is not None and denied:
        keys, rule = _deny(index, guard, direction, flow)
    guarded = End(mine, guard.key) if guard else _end(index.pod_at, node, mine)
    far = _end(index.pod_at, node, other)
    return Drop(direction, guarded, far, keys, flow.protocol, flow.port, rule)


def _deny(
    index: PolicyIndex, pod: Pod, direction: Direction, flow: Flow
) -> tuple[tuple[Key, ...], str]:
    """Return the ClusterNetworkPolicy that denies a packet, and its rule.

    Without a port, of a later fragment, or after a change, it may be known of which they are only.
    """
    protocol = Protocol(flow.protocol) if flow.protocol in Protocol.__members__ else None
    near, far = index.pod_at(flow.source), index.pod_at(flow.destination)
    asked = Asked(flow.source, flow.destination, near, far, flow.port, protocol, by_service=True)
    known = index.denying(pod, direction)
    cluster = [one for tier in Tier for one in index.ranked(pod, tier)]
    for side in explain(asked, index.guards(pod, direction), index.namespaces, {}, cluster):
        tier = side.decided_by
        if side.direction is direction and tier and tier.fits and not side.passes:
            return (("", tier.fits.policy),), f"{tier.fits.text} denies it"
    names = ", ".join(one.name for one in known)
    return tuple(one.key for one in known), f"rules of ClusterNetworkPolicy {names} denied it"


def _end(pod_at: Callable[[Address], Pod | None], node: NodeView, address: Address) -> End:
    pod = pod_at(address)
    if pod is not None:
        return End(address, pod.key)
    return End(address, None, node.name if address in node.addresses else "")
