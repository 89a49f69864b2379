"""The desired state of one node's policies, kept up to date object by object: pure.

A change computes again only what it touches: the memberships of one Pod, the profiles of the Pods
that one policy selects. Whoever renders the state asks ``take`` what has changed since.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from proxy.model.values import Address, Key, Protocol
from proxy.policy.members import Members
from proxy.policy.profile import Group, NamedDoor, Profile, profile
from proxy.policy.selectors import selects
from proxy.policy.values import BlockPeer, Direction, Namespace, Pod, PodPeer, Policy, Rule

Counted = TypeVar("Counted", bound=Hashable)


class Post(NamedTuple):
    """What guards one address of this node's: a profile for each direction, None if it is open."""

    pod: Key
    ingress: Profile | None
    egress: Profile | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a renderer has to look at again.

    ``groups`` came or went as a whole. Of the others, ``moved`` has the addresses that may have
    come or gone: a group may have thousands, and there may be a thousand groups.
    """

    addresses: frozenset[Address]
    profiles: frozenset[Profile]
    groups: frozenset[Group]
    named: frozenset[NamedDoor]
    moved: Mapping[Group, Set[Address]]


class PolicyIndex:
    """Pods, namespaces and policies, and what follows from them for this node."""

    def __init__(self) -> None:
        self.policies: dict[Key, Policy] = {}
        self.pods: dict[Key, Pod] = {}
        self.namespaces: dict[str, Namespace] = {}
        self._by_namespace: dict[str, dict[Key, Policy]] = {}
        self._members = Members(self.pods, self.namespaces)
        self._holders: dict[Address, set[Key]] = {}  # this node's Pods that claim an address
        self._claimants: dict[Address, set[Key]] = {}  # all Pods that do
        self.posts: dict[Address, Post] = {}
        self._profiles: _Uses[Profile] = _Uses()
        self._groups: _Uses[Group] = _Uses()
        self._named: _Uses[NamedDoor] = _Uses()
        self._peers: _Uses[PodPeer] = _Uses()
        self._of_peer: dict[PodPeer, set[Group | NamedDoor]] = {}
        self._pod_doors: set[NamedDoor] = set()  # those to which any Pod may belong
        self._stale: set[Address] = set()
        self._touched: set[Group | NamedDoor] = set()
        self._moved: dict[Group, set[Address]] = {}

    def set_policy(self, key: Key, policy: Policy | None) -> None:
        """Take a policy that came, changed or went."""
        old = self.policies.pop(key, None)
        here = self._by_namespace.setdefault(key[0], {})
        here.pop(key, None)
        if policy is not None:
            self.policies[key] = here[key] = policy
        for pod in self._local_in(key[0]):
            if any(one and selects(one.selector, pod.labels) for one in (old, policy)):
                self._stale.update(pod.addresses)

    def set_namespace(self, name: str, namespace: Namespace | None) -> None:
        """Take a namespace that came, changed or went."""
        if namespace is None:
            self.namespaces.pop(name, None)
        else:
            self.namespaces[name] = namespace
        peers = self._members.renew_namespace(name)
        if peers:
            pods = (pod for key, pod in self.pods.items() if key[0] == name)
            self._touch(peers, {address for pod in pods for address in pod.addresses})

    def set_pod(self, key: Key, pod: Pod | None) -> None:
        """Take a Pod that came, changed or went."""
        old = self.pods.pop(key, None)
        if pod is not None:
            self.pods[key] = pod
        changed = (
            old is None
            or pod is None
            or (old.addresses, old.ports)
            != (
                pod.addresses,
                pod.ports,
            )
        )
        places = {address for one in (old, pod) if one for address in one.addresses}
        self._touch(self._members.renew(key, pod, changed), places)
        if changed:
            self._touched |= self._pod_doors
        for one in (old, pod):
            if one is not None:
                self._claim(one, one is pod)

    def forget_pods(self) -> None:
        """Forget all Pods and namespaces."""
        for key in list(self.pods):
            self.set_pod(key, None)
        for name in list(self.namespaces):
            self.set_namespace(name, None)
        self.take()

    def _claim(self, pod: Pod, claims: bool) -> None:
        for address in pod.addresses:
            _note(self._claimants, address, pod.key, claims)
            if pod.is_local:
                self._stale.add(address)
                _note(self._holders, address, pod.key, claims)

    def _touch(self, peers: Iterable[PodPeer], addresses: Set[Address]) -> None:
        for peer in peers:
            for one in self._of_peer.get(peer, ()):
                if isinstance(one, frozenset):
                    self._moved.setdefault(one, set()).update(addresses)
                else:
                    self._touched.add(one)

    def _local_in(self, namespace: str) -> Iterator[Pod]:
        keys = {key for holders in self._holders.values() for key in holders}
        return (self.pods[key] for key in keys if key[0] == namespace)

    def take(self) -> Changes:
        """Return what changed since the last call."""
        profiles: set[Profile] = set()
        for address in self._stale:
            before, after = self.posts.pop(address, None), self._post(address)
            if after is not None:
                self.posts[address] = after
                profiles |= self._hold(after)
            if before is not None:
                profiles |= self._release(before)
        stale, touched, moved = frozenset(self._stale), self._touched, self._moved
        self._stale, self._touched, self._moved = set(), set(), {}
        groups = {one for one in touched if isinstance(one, frozenset)}
        named = {one for one in touched if isinstance(one, NamedDoor)}
        moved = {one: places for one, places in moved.items() if one not in groups}
        return Changes(stale, frozenset(profiles), frozenset(groups), frozenset(named), moved)

    def everything(self) -> Changes:
        """Return all that there is, for a renderer that begins anew."""
        self.take()
        return Changes(
            frozenset(self.posts),
            frozenset(self._profiles),
            frozenset(self._groups),
            frozenset(self._named),
            {},
        )

    def is_used(self, what: Profile | Group | NamedDoor) -> bool:
        """Return True if an address of this node's needs it."""
        uses: _Uses[Profile] | _Uses[Group] | _Uses[NamedDoor]
        uses = (
            self._groups
            if isinstance(what, frozenset)
            else (self._profiles if isinstance(what, Profile) else self._named)
        )
        return what in uses

    def addresses(self, group: Group) -> frozenset[Address]:
        """Return the Pods' addresses in a group."""
        found = (self._members.of(peer) for peer in group if isinstance(peer, PodPeer))
        keys = set[Key]().union(*found)
        return frozenset(address for key in keys for address in self.pods[key].addresses)

    def has(self, group: Group, address: Address) -> bool:
        """Return True if a Pod at an address is in a group."""
        keys = self._claimants.get(address, ())
        peers = (peer for peer in group if isinstance(peer, PodPeer))
        return any(key in self._members.of(peer) for peer in peers for key in keys)

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

    def guards(self, pod: Pod, direction: Direction) -> list[Policy]:
        """Return the policies that isolate a Pod in a direction, by their names."""
        here = self._by_namespace.get(pod.key[0], {})
        found = (one for one in here.values() if direction in one.rules)
        return sorted(
            (one for one in found if selects(one.selector, pod.labels)), key=lambda one: one.key
        )

    def holder(self, address: Address) -> Pod | None:
        """Return this node's Pod at an address: of several, the one that is not being deleted."""
        return self._latest(self._holders.get(address))

    def pod_at(self, address: Address) -> Pod | None:
        """Return the Pod at an address, of any node; see ``holder``."""
        return self._latest(self._claimants.get(address))

    def _latest(self, keys: Iterable[Key] | None) -> Pod | None:
        return max((self.pods[key] for key in keys or ()), key=lambda pod: pod.rank, default=None)

    def _post(self, address: Address) -> Post | None:
        pod = self.holder(address)
        if pod is None:
            return None
        ingress, egress = (self._profile(pod, direction) for direction in Direction)
        return Post(pod.key, ingress, egress)

    def _profile(self, pod: Pod, direction: Direction) -> Profile | None:
        guards = self.guards(pod, direction)
        if not guards:
            return None
        rules: set[Rule] = {rule for one in guards for rule in one.rules[direction]}
        own: dict[tuple[Protocol, str], int] = dict(pod.ports)
        return profile(direction, rules, own)

    def _hold(self, post: Post) -> set[Profile]:
        """Hold a post's profiles; return those that were not needed before."""
        new = {one for one in post[1:] if one is not None and self._profiles.hold(one)}
        for one in new:
            for group in one.groups():
                if self._groups.hold(group):
                    self._touched.add(group)
                    self._watch(group, group)
            for door in one.named:
                if self._named.hold(door):
                    self._touched.add(door)
                    self._watch(door, door.peers or ())
                    if _needs_all_pods(door):
                        self._pod_doors.add(door)
        return new

    def _release(self, post: Post) -> set[Profile]:
        """Release a post's profiles; return those that nobody needs any more."""
        gone = {one for one in post[1:] if one is not None and self._profiles.release(one)}
        for one in gone:
            for group in one.groups():
                if self._groups.release(group):
                    self._touched.add(group)
                    self._forget(group, group)
            for door in one.named:
                if self._named.release(door):
                    self._touched.add(door)
                    self._forget(door, door.peers or ())
                    self._pod_doors.discard(door)
        return gone

    def _watch(self, what: Group | NamedDoor, peers: Iterable[object]) -> None:
        for peer in peers:
            if isinstance(peer, PodPeer):
                self._of_peer.setdefault(peer, set()).add(what)
                if self._peers.hold(peer):
                    self._members.follow(peer)

    def _forget(self, what: Group | NamedDoor, peers: Iterable[object]) -> None:
        for peer in peers:
            if isinstance(peer, PodPeer):
                self._of_peer[peer].discard(what)
                if self._peers.release(peer):
                    del self._of_peer[peer]
                    self._members.leave(peer)


def _note(where: dict[Address, set[Key]], address: Address, key: Key, claims: bool) -> None:
    keys = where.setdefault(address, set())
    (keys.add if claims else keys.discard)(key)
    if not keys:
        del where[address]


def _needs_all_pods(door: NamedDoor) -> bool:
    return door.peers is None or any(isinstance(peer, BlockPeer) for peer in door.peers)


def _is_within(block: BlockPeer, address: Address) -> bool:
    return any(
        span.version == address.version and span.first <= int(address) <= span.last
        for span in block.ranges
    )


class _Uses(dict[Counted, int], Generic[Counted]):
    """How many need each value."""

    def hold(self, one: Counted) -> bool:
        """Count one more; return True if it is the first."""
        self[one] = self.get(one, 0) + 1
        return self[one] == 1

    def release(self, one: Counted) -> bool:
        """Count one less; return True if it was the last."""
        self[one] -= 1
        if self[one]:
            return False
        del self[one]
        return True
