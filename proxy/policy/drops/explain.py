"""Why a flow passes, or does not: each policy that isolates one of its Pods, rule by rule. Pure.

It reads the API's text once more, by values alone, for people: rules of the kernel are made by
``profile`` and ``render``. The tests hold both to one table.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from proxy.model.values import Address, Key, Protocol
from proxy.policy.peers.selectors import selects
from proxy.policy.values import (
    Action,
    BlockPeer,
    ClusterPolicy,
    Direction,
    Namespace,
    OrderedRule,
    Peer,
    Pod,
    PodPeer,
    Policy,
    PortName,
    PortRange,
    Rule,
    Tier,
)


class Asked(Struct, frozen=True):
    """The first packet of a flow, with the Pods at its ends, None where there is none.

    ``port`` and ``protocol`` are None for a packet of a protocol without ports, such as ICMP.
    """

    source: Address
    destination: Address
    source_pod: Pod | None
    destination_pod: Pod | None
    port: int | None = None
    protocol: Protocol | None = None
    by_service: bool = False  # a Pod reached itself through a Service

    def end(self, direction: Direction) -> tuple[Pod | None, Pod | None, Address]:
        """Return the Pod that a direction guards, the Pod at the other end, and its address."""
        if direction is Direction.EGRESS:
            return self.source_pod, self.destination_pod, self.destination
        return self.destination_pod, self.source_pod, self.source


class RuleVerdict(Struct, frozen=True):
    """What a rule says; ``number`` is its place in the policy. ``why`` ends the sentence."""

    number: int
    admits: bool
    why: str


class PolicyVerdict(Struct, frozen=True):
    """A policy that isolates the Pod, and its rules."""

    policy: Key
    rules: tuple[RuleVerdict, ...]

    @property
    def admits(self) -> bool:
        """True if one of its rules admits the packet."""
        return any(rule.admits for rule in self.rules)


class TierRuleVerdict(Struct, frozen=True):
    """A rule of a ClusterNetworkPolicy that fits the packet; ``number`` is its place in it."""

    policy: str
    number: int
    rule: OrderedRule

    @property
    def text(self) -> str:
        """The rule, for people."""
        name = f" ({self.rule.name})" if self.rule.name else ""
        return f"rule {self.number}{name} of ClusterNetworkPolicy {self.policy}"


class TierVerdict(Struct, frozen=True):
    """What a tier says: ``policies`` are about the Pod, in order; ``fits`` is the first rule of
    theirs that fits the packet, None if none does.
    """

    tier: Tier
    policies: tuple[str, ...]
    fits: TierRuleVerdict | None

    @property
    def action(self) -> Action:
        """The tier's answer."""
        return self.fits.rule.action if self.fits else Action.PASS


class SideVerdict(Struct, frozen=True):
    """A Pod and a direction. Without policies the Pod is not isolated in it.

    ``admin`` and ``baseline`` are None where no ClusterNetworkPolicy has a say. A Pod always
    reaches itself, as far as NetworkPolicies go: ``is_itself``.
    """

    direction: Direction
    pod: Key
    policies: tuple[PolicyVerdict, ...]
    admin: TierVerdict | None = None
    baseline: TierVerdict | None = None
    is_itself: bool = False

    @property
    def decided_by(self) -> TierVerdict | None:
        """The tier of ClusterNetworkPolicies that decides, None if none does."""
        if self.admin and self.admin.action is not Action.PASS:
            return self.admin
        if not self.policies and self.baseline and self.baseline.action is not Action.PASS:
            return self.baseline
        return None

    @property
    def passes(self) -> bool:
        """True if this side lets the packet pass."""
        if tier := self.decided_by:
            return tier.action is Action.ACCEPT
        return not self.policies or self.is_itself or any(one.admits for one in self.policies)


def explain(
    asked: Asked,
    policies: Iterable[Policy],
    namespaces: Mapping[str, Namespace],
    nodes: Mapping[Key, Iterable[Address]],
    cluster: Iterable[ClusterPolicy] = (),
) -> tuple[SideVerdict, ...]:
    """Return the verdict of each side that has a say; the packet passes if all of them do.

    ``nodes`` are the addresses of the node where a Pod runs. That node always reaches the Pod, and
    the Pod reaches it; a Pod always reaches itself. ``cluster`` are ClusterNetworkPolicies.
    """
    itself = asked.source_pod is not None and asked.source_pod is asked.destination_pod
    if itself and not asked.by_service:
        return ()
    policies = sorted(policies, key=lambda one: one.key)
    ranked = sorted(cluster, key=lambda one: one.rank)
    return tuple(_sides(asked, policies, ranked, namespaces, nodes))


def _sides(
    asked: Asked,
    policies: Sequence[Policy],
    ranked: Sequence[ClusterPolicy],
    namespaces: Mapping[str, Namespace],
    nodes: Mapping[Key, Iterable[Address]],
) -> Iterator[SideVerdict]:
    for direction in (Direction.EGRESS, Direction.INGRESS):
        pod, other, address = asked.end(direction)
        if pod is None or address in nodes.get(pod.key, ()):
            continue
        reader = _Reader(asked, other, address, namespaces)
        guards = [one for one in policies if _guards(one, pod, direction)]
        found = (
            PolicyVerdict(one.key, tuple(reader.rules(one.rules[direction]))) for one in guards
        )
        mine = [one for one in ranked if one.rules.get(direction) and reader.has(one.subject, pod)]
        admin, baseline = (reader.tier(tier, direction, mine) for tier in Tier)
        yield SideVerdict(direction, pod.key, tuple(found), admin, baseline, other is pod)


def _guards(policy: Policy, pod: Pod, direction: Direction) -> bool:
    is_near = policy.key[0] == pod.key[0] and direction in policy.rules
    return is_near and selects(policy.selector, pod.labels)


class _Reader:
    """Reads rules for one packet and one of its sides."""

    def __init__(
        self,
        asked: Asked,
        other: Pod | None,
        address: Address,
        namespaces: Mapping[str, Namespace],
    ) -> None:
        self._asked = asked
        self._other = other
        self._address = address
        self._namespaces = namespaces

    def rules(self, rules: Iterable[Rule]) -> Iterator[RuleVerdict]:
        """Yield the verdict of each rule."""
        for number, rule in enumerate(rules):
            wrong = [*self._wrong_peer(rule), *self._wrong_port(rule)]
            yield RuleVerdict(number, not wrong, " and ".join(wrong) or "admits it")

    def tier(
        self, tier: Tier, direction: Direction, ranked: Iterable[ClusterPolicy]
    ) -> TierVerdict | None:
        """Return what a tier says, of policies that are about the Pod, in order."""
        mine = [one for one in ranked if one.tier is tier]
        fits = (
            TierRuleVerdict(one.name, number, rule)
            for one in mine
            for number, rule in enumerate(one.rules[direction])
            if not any(self._wrong_peer(rule)) and not any(self._wrong_port(rule))
        )
        first = next(fits, None)
        return TierVerdict(tier, tuple(one.name for one in mine), first) if mine else None

    def _wrong_peer(self, rule: Rule | OrderedRule) -> Iterator[str]:
        if rule.peers is not None and not any(map(self._is, rule.peers)):
            name = "/".join(self._other.key) if self._other else str(self._address)
            yield f"{name} is none of its peers"

    def _wrong_port(self, rule: Rule | OrderedRule) -> Iterator[str]:
        if rule.ports is not None and not any(map(self._has, rule.ports)):
            asked = self._asked
            door = f"{asked.port}/{asked.protocol}" if asked.protocol else "a packet without ports"
            yield f"{door} is none of its ports"

    def _is(self, peer: Peer) -> bool:
        if isinstance(peer, BlockPeer):
            version, number = self._address.version, int(self._address)
            return any(
                span.version == version and span.first <= number <= span.last
                for span in peer.ranges
            )
        return self._other is not None and self.has(peer, self._other)

    def has(self, peer: PodPeer, pod: Pod) -> bool:
        """Return True if a Pod is one of a peer's, or of a subject's."""
        if not selects(peer.pods, pod.labels):
            return False
        if peer.namespaces is None:
            return pod.key[0] == peer.namespace
        namespace = self._namespaces.get(pod.key[0])
        return namespace is not None and selects(peer.namespaces, namespace.labels)

    def _has(self, port: PortRange | PortName) -> bool:
        asked = self._asked
        if asked.protocol is not port.protocol or asked.port is None:
            return False
        if isinstance(port, PortRange):
            return port.first <= asked.port <= port.last
        pod = asked.destination_pod
        return pod is not None and pod.ports.get((port.protocol, port.name)) == asked.port
