"""Whether a packet may pass, straight from the policies: pure.

This is the API's text (networking.k8s.io/v1), rule by rule. It shares no code with what renders
rules; where the two differ, real packets decide.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from proxy.model.values import Address, Key, Protocol
from proxy.policy.values import (
    BlockPeer,
    ClusterPolicy,
    Condition,
    Direction,
    Namespace,
    Operator,
    Peer,
    Pod,
    Policy,
    PortName,
    PortRange,
    Rule,
    Selector,
)


@dataclass(frozen=True, slots=True)
class Packet:
    """A flow's first packet, as it is after a Service's address was translated."""

    source: Address
    destination: Address
    port: int
    protocol: Protocol | None = Protocol.TCP  # None: one without ports, such as ICMP


@dataclass(frozen=True, slots=True)
class Side:
    """One direction's answer. Without ``guards`` the Pod is not isolated."""

    direction: Direction
    pod: Key
    guards: tuple[Key, ...]
    admitted_by: tuple[Key, ...]
    ruled_by: tuple[str, str] | None = None  # a ClusterNetworkPolicy that decides, and how
    itself: bool = False  # no NetworkPolicy can keep a Pod from itself

    @property
    def passes(self) -> bool:
        """True if this side lets the packet pass."""
        if self.ruled_by is not None:
            return self.ruled_by[1] == "Accept"
        return self.itself or bool(self.admitted_by) or not self.guards


@dataclass(frozen=True, slots=True)
class Answer:
    """The sides that have a say: the source's egress and the destination's ingress, if Pods."""

    sides: tuple[Side, ...]

    @property
    def passes(self) -> bool:
        """True if every side lets the packet pass."""
        return all(side.passes for side in self.sides)


@dataclass(frozen=True, slots=True)
class Cluster:
    """All that has a say. ``nodes`` are the addresses of the node where a Pod runs, by the Pod."""

    pods: Iterable[Pod]
    namespaces: Mapping[str, Namespace]
    policies: Iterable[Policy]
    nodes: Mapping[Key, frozenset[Address]]
    cluster_policies: Iterable[ClusterPolicy] = ()


def evaluate(cluster: Cluster, packet: Packet) -> Answer:
    """Answer for one packet."""
    source = _pod_at(cluster, packet.source)
    destination = _pod_at(cluster, packet.destination)
    sides = []
    for pod, other, direction in (
        (source, destination, Direction.EGRESS),
        (destination, source, Direction.INGRESS),
    ):
        far = packet.destination if direction is Direction.EGRESS else packet.source
        if pod is not None and far not in cluster.nodes.get(pod.key, ()):
            sides.append(_side(cluster, direction, pod, other, packet))
    return Answer(tuple(sides))


def _pod_at(cluster: Cluster, address: Address) -> Pod | None:
    found = [pod for pod in cluster.pods if address in pod.addresses]
    return sorted(found, key=lambda pod: pod.rank)[-1] if found else None


def _side(
    cluster: Cluster, direction: Direction, pod: Pod, other: Pod | None, packet: Packet
) -> Side:
    guards = [
        policy
        for policy in cluster.policies
        if policy.key[0] == pod.key[0]
        and direction in policy.rules
        and _fits(policy.selector, pod.labels)
    ]
    admitting = [
        policy
        for policy in guards
        if any(_admits(cluster, rule, direction, other, packet) for rule in policy.rules[direction])
    ]
    keys = (tuple(sorted(one.key for one in found)) for found in (guards, admitting))
    ruled = _ruled(cluster, "Admin", direction, pod, other, packet)
    if ruled is None and not guards:
        ruled = _ruled(cluster, "Baseline", direction, pod, other, packet)
    return Side(direction, pod.key, *keys, ruled, pod is other)


def _ruled(
    cluster: Cluster, tier: str, direction: Direction, pod: Pod, other: Pod | None, packet: Packet
) -> tuple[str, str] | None:
    """Return the policy of a tier that accepts or denies, None if the tier leaves it open."""
    far = packet.destination if direction is Direction.EGRESS else packet.source
    for policy in sorted(cluster.cluster_policies, key=lambda one: (one.priority, one.name)):
        if policy.tier.value != tier or not _is(cluster, policy.subject, far, pod):
            continue
        for rule in policy.rules.get(direction, ()):
            who = rule.peers is None or any(_is(cluster, one, far, other) for one in rule.peers)
            if who and (rule.ports is None or any(_has(cluster, p, packet) for p in rule.ports)):
                return None if rule.action.value == "Pass" else (policy.name, rule.action.value)
    return None


def _admits(
    cluster: Cluster, rule: Rule, direction: Direction, other: Pod | None, packet: Packet
) -> bool:
    far = packet.destination if direction is Direction.EGRESS else packet.source
    who = rule.peers is None or any(_is(cluster, peer, far, other) for peer in rule.peers)
    return who and (rule.ports is None or any(_has(cluster, p, packet) for p in rule.ports))


def _is(cluster: Cluster, peer: Peer, address: Address, pod: Pod | None) -> bool:
    if isinstance(peer, BlockPeer):
        number = int.from_bytes(address.packed, "big")
        return any(
            address.version == span.version and number in range(span.first, span.last + 1)
            for span in peer.ranges
        )
    if pod is None or not _fits(peer.pods, pod.labels):
        return False
    if peer.namespaces is None:
        return pod.key[0] == peer.namespace
    namespace = cluster.namespaces.get(pod.key[0])
    return namespace is not None and _fits(peer.namespaces, namespace.labels)


def _has(cluster: Cluster, port: PortRange | PortName, packet: Packet) -> bool:
    if packet.protocol is not port.protocol:
        return False
    if isinstance(port, PortRange):
        return port.first <= packet.port <= port.last
    pod = _pod_at(cluster, packet.destination)
    return pod is not None and pod.ports.get((port.protocol, port.name)) == packet.port


def _fits(selector: Selector, labels: Mapping[str, str]) -> bool:
    return not any(_fails(condition, labels) for condition in selector.conditions)


def _fails(condition: Condition, labels: Mapping[str, str]) -> bool:
    has = condition.key in labels
    listed = has and labels[condition.key] in condition.values
    return {
        Operator.IN: not listed,
        Operator.NOT_IN: listed,
        Operator.EXISTS: not has,
        Operator.DOES_NOT_EXIST: has,
    }[condition.operator]
