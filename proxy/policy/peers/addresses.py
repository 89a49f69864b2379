"""Which Pod has which address, and so which peers: the answers that renderers ask for. Pure."""

from collections.abc import Iterable, Iterator

from proxy.model.values import Address, Key, Protocol
from proxy.policy.peers.members import Members
from proxy.policy.profile import Group, NamedDoor
from proxy.policy.tiers.ranking import Ladder, Ranking
from proxy.policy.values import (
    Action,
    BlockPeer,
    Namespace,
    OrderedRule,
    Peer,
    Pod,
    PodPeer,
    PortName,
    PortRange,
)


class PodAddresses:
    """The Pods with their addresses, and the peers that they belong to."""

    def __init__(self) -> None:
        self.pods: dict[Key, Pod] = {}
        self.namespaces: dict[str, Namespace] = {}
        self._members = Members(self.pods, self.namespaces)
        self._holders: dict[Address, set[Key]] = {}  # this node's Pods that claim an address
        self._claimants: dict[Address, set[Key]] = {}  # all Pods that do

    def holder(self, address: Address) -> Pod | None:
        """Return this node's Pod at an address: of several, the one that is not being deleted."""
        return self._latest(self._holders.get(address))

    def pod_at(self, address: Address) -> Pod | None:
        """Return the Pod at an address, of any node; see ``holder``."""
        return self._latest(self._claimants.get(address))

    def _latest(self, keys: Iterable[Key] | None) -> Pod | None:
        return max((self.pods[key] for key in keys or ()), key=lambda pod: pod.rank, default=None)

    def addresses(self, group: Group) -> frozenset[Address]:
        """Return the Pods' addresses in a group."""
        return frozenset(self._places(group))

    def has(self, group: Group, address: Address) -> bool:
        """Return True if the Pod at an address is in a group."""
        pod = self.pod_at(address)
        return pod is not None and self._is_member(pod.key, group)

    def rungs(self, ladder: Ladder) -> dict[Address, Action]:
        """Return the answer for each Pod's address that a ladder's groups of Pods have.

        It holds also against steps of networks; see ``Ladder``.
        """
        groups = [group for group, _ in ladder.steps if group]
        found = {place: self.rung(ladder, place) for place in self._places(set().union(*groups))}
        return {place: action for place, action in found.items() if action is not None}

    def rung(self, ladder: Ladder, address: Address) -> Action | None:
        """Return the answer for an address; None if no group of Pods has it."""
        pod = self.pod_at(address)
        if pod is None:
            return None
        key = pod.key
        if not any(self._is_member(key, group) for group, _ in ladder.steps if group):
            return None
        fits = (action for group, action in ladder.steps if self._reaches(group, key, address))
        return next(fits, Action.PASS)

    def exact(self, ranking: Ranking) -> dict[tuple[Address, Protocol, int], Action]:
        """Return the answer for each named port of a Pod that a ranking's rules name."""
        found: dict[tuple[Address, Protocol, int], Action] = {}
        for rule in ranking.exact:
            for port in rule.ports or ():
                if isinstance(port, PortName):
                    for address, number in self.doors(NamedDoor(rule.peers, port)):
                        door = (address, port.protocol, number)
                        if door not in found:
                            found[door] = self._first(ranking.exact, *door)
        return found

    def _first(
        self, rules: Iterable[OrderedRule], address: Address, protocol: Protocol, number: int
    ) -> Action:
        """Return the action of the first rule that fits a packet to a Pod."""
        pod = self.pod_at(address)
        for rule in rules:
            if pod is None or not self._reaches(rule.peers, pod.key, address):
                continue
            if rule.ports is None or any(
                port.protocol is protocol
                and (
                    port.first <= number <= port.last
                    if isinstance(port, PortRange)
                    else pod.ports.get((protocol, port.name)) == number
                )
                for port in rule.ports
            ):
                return rule.action
        return Action.PASS

    def _places(self, peers: Iterable[Peer]) -> Iterator[Address]:
        """Yield the addresses that Pods of some peers have now; see ``pod_at``."""
        found = (self._members.of(peer) for peer in peers if isinstance(peer, PodPeer))
        for key in set[Key]().union(*found):
            yield from (one for one in self.pods[key].addresses if self._has_now(key, one))

    def _has_now(self, key: Key, address: Address) -> bool:
        if len(self._claimants[address]) == 1:
            return True
        pod = self.pod_at(address)
        return pod is not None and pod.key == key

    def _is_member(self, key: Key, group: Group) -> bool:
        return any(key in self._members.of(one) for one in group if isinstance(one, PodPeer))

    def _reaches(self, group: Group | None, key: Key, address: Address) -> bool:
        """Return True if a group has a Pod, or its address."""
        if group is None or self._is_member(key, group):
            return True
        return any(_is_within(one, address) for one in group if isinstance(one, BlockPeer))

    def doors(self, door: NamedDoor) -> frozenset[tuple[Address, int]]:
        """Return where a named port is: each Pod's address, with its number there."""
        port = (door.port.protocol, door.port.name)
        pods = self._at(door.peers)
        return frozenset((address, pod.ports[port]) for pod, address in pods if port in pod.ports)

    def _at(self, peers: Group | None) -> Iterator[tuple[Pod, Address]]:
        """Yield the Pods' addresses that a group admits; a block may admit one of a Pod's."""
        for peer in peers or ():
            if isinstance(peer, PodPeer):
                yield from self._addresses_of(self._members.of(peer))
            else:
                found = self._addresses_of(self.pods)
                yield from ((pod, address) for pod, address in found if _is_within(peer, address))
        if peers is None:
            yield from self._addresses_of(self.pods)

    def _addresses_of(self, keys: Iterable[Key]) -> Iterator[tuple[Pod, Address]]:
        return (
            (pod, address) for pod in map(self.pods.__getitem__, keys) for address in pod.addresses
        )

    def _claim(self, pod: Pod, claims: bool) -> None:
        for address in pod.addresses:
            _note(self._claimants, address, pod.key, claims)
            if pod.is_local:
                _note(self._holders, address, pod.key, claims)

    def _rivals(self, places: Iterable[Address]) -> set[Key]:
        """Return the Pods that claim one of some addresses."""
        return {key for address in places for key in self._claimants.get(address, ())}


def _note(where: dict[Address, set[Key]], address: Address, key: Key, claims: bool) -> None:
    keys = where.setdefault(address, set())
    (keys.add if claims else keys.discard)(key)
    if not keys:
        del where[address]


def _is_within(block: BlockPeer, address: Address) -> bool:
    return any(
        span.version == address.version and span.first <= int(address) <= span.last
        for span in block.ranges
    )
