"""ClusterNetworkPolicies become this room's values here, and nowhere else.

What cannot be read fails closed, as the API's text asks (network-policy-api, apis/v1alpha2): an
Accept rule then fits nothing, and a Deny or Pass rule becomes one that denies everything. Fields of
the experimental channel, ``nodes`` and ``domainNames``, are such.
"""

from collections.abc import Iterator

from proxy.model.values import Protocol
from proxy.objects.parse import Complaints
from proxy.policy import wire as api
from proxy.policy.parse import parse_range, parse_selector
from proxy.policy.values import (
    LAST_PORT,
    Action,
    BlockPeer,
    ClusterPolicy,
    Direction,
    OrderedRule,
    Peer,
    PodPeer,
    PortName,
    PortRange,
    Selector,
    Tier,
)

_LAST_PRIORITY = 1000
_ALL_PODS = Selector()


def parse_cluster_policy(
    wire: api.ClusterNetworkPolicy, complaints: Complaints
) -> ClusterPolicy | None:
    """Parse a policy; None if it cannot be known where it stands, or whom it is about."""
    spec = wire.spec
    try:
        tier = _tier(spec.tier)
        if not 0 <= spec.priority <= _LAST_PRIORITY:
            raise ValueError(f"spec.priority {spec.priority} is not from 0 to {_LAST_PRIORITY}")
        subject = _subject(spec.subject)
    except ValueError as err:
        complaints.add("the policy", err)
        return None
    rules = {
        direction: tuple(_rules(direction, given, complaints))
        for direction, given in (
            (Direction.INGRESS, spec.ingress),
            (Direction.EGRESS, spec.egress),
        )
        if given
    }
    return ClusterPolicy(wire.metadata.name, tier, spec.priority, subject, rules)


def _tier(text: str) -> Tier:
    try:
        return Tier(text)
    except ValueError:
        raise ValueError(f"spec.tier {text[:40]!r} is neither Admin nor Baseline") from None


def _subject(wire: api.ClusterPeer) -> PodPeer:
    try:
        found = _pods(wire)
    except ValueError as err:
        raise ValueError(f"spec.subject: {err}") from None
    if found is None:
        raise ValueError("spec.subject has neither namespaces nor pods")
    return found


def _rules(
    direction: Direction, given: list[api.ClusterRule], complaints: Complaints
) -> Iterator[OrderedRule]:
    for number, wire in enumerate(given):
        where = f"spec.{direction.lower()}[{number}]"
        try:
            action = Action(wire.action)
        except ValueError:
            # An action of a later version; what it does nobody here knows.
            complaints.add(where, f"action {wire.action[:40]!r} is unknown; the rule denies all")
            yield OrderedRule(Action.DENY, None, None, wire.name)
            continue
        try:
            yield _rule(direction, action, wire)
        except ValueError as err:
            closed = action is Action.ACCEPT
            complaints.add(where, f"{err}; the rule {'fits nothing' if closed else 'denies all'}")
            nothing: frozenset[Peer] = frozenset()
            peers = nothing if closed else None
            yield OrderedRule(action if closed else Action.DENY, peers, None, wire.name)


def _rule(direction: Direction, action: Action, wire: api.ClusterRule) -> OrderedRule:
    """Read a rule. Raises ValueError."""
    given = wire.from_ if direction is Direction.INGRESS else wire.to
    peers = {peer for one in given for peer in _peers(direction, one)}
    if wire.protocols is None:
        return OrderedRule(action, frozenset(peers), None, wire.name)
    ports = {port for one in wire.protocols for port in _ports(one)}
    return OrderedRule(action, frozenset(peers), frozenset(ports), wire.name)


def _peers(direction: Direction, wire: api.ClusterPeer) -> Iterator[Peer]:
    """Yield what a peer names: a list of networks is one peer each. Raises ValueError."""
    pods = _pods(wire)
    if wire.networks is not None and direction is Direction.EGRESS:
        if pods is not None:
            raise ValueError("a peer has networks and Pods")
        for text in wire.networks:
            yield BlockPeer((parse_range(text),))
    elif pods is None:
        raise ValueError("a peer has no field that this version knows")
    else:
        yield pods


def _pods(wire: api.ClusterPeer) -> PodPeer | None:
    """Read the Pods that a peer or a subject names. Raises ValueError."""
    if wire.namespaces is not None and wire.pods is not None:
        raise ValueError("both namespaces and pods are set")
    if wire.namespaces is not None:
        return PodPeer(None, parse_selector(wire.namespaces), _ALL_PODS)
    if wire.pods is not None:
        spaces, pods = wire.pods.namespace_selector, wire.pods.pod_selector
        return PodPeer(None, parse_selector(spaces), parse_selector(pods))
    return None


def _ports(wire: api.ClusterProtocol) -> Iterator[PortRange | PortName]:
    """Yield the ports of one entry. Raises ValueError."""
    given = {Protocol.TCP: wire.tcp, Protocol.UDP: wire.udp, Protocol.SCTP: wire.sctp}
    found = [(protocol, one) for protocol, one in given.items() if one is not None]
    if len(found) + (wire.destination_named_port is not None) != 1:
        raise ValueError("an entry of protocols has not exactly one field that this version knows")
    if wire.destination_named_port is not None:  # of whatever protocol that port is
        yield from (PortName(protocol, wire.destination_named_port) for protocol in Protocol)
    for protocol, one in found:
        yield _range_of(protocol, one.destination_port)


def _range_of(protocol: Protocol, wire: api.DestinationPort | None) -> PortRange:
    if wire is None:
        raise ValueError(f"{protocol} has no destinationPort")
    if (wire.number is None) is (wire.range_ is None):
        raise ValueError("a destinationPort has not exactly one of number and range")
    first = last = wire.number or 0
    if wire.range_ is not None:
        first, last = wire.range_.start, wire.range_.end
    if not 1 <= first <= last <= LAST_PORT:
        raise ValueError(f"{first} to {last} are not ports")
    return PortRange(protocol, first, last)
