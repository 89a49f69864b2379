"""The desired state of one node's policies, kept up to date object by object: pure.

A change computes again only what it touches: the memberships of one Pod, the profiles of the Pods
that one policy selects. Whoever renders the state asks ``take`` what has changed since.
"""

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from proxy.model.values import Address, Key, Protocol
from proxy.policy.peers.addresses import PodAddresses
from proxy.policy.peers.holdings import Holdings
from proxy.policy.peers.selectors import selects
from proxy.policy.posts import Changes, Post, Shared, course
from proxy.policy.profile import NamedDoor, Profile, profile
from proxy.policy.tiers.ranking import Course, Ladder, Ranking
from proxy.policy.values import (
    Action,
    ClusterPolicy,
    Direction,
    Namespace,
    Pod,
    PodPeer,
    Policy,
    Rule,
    Tier,
)


class PolicyIndex(PodAddresses):
    """Pods, namespaces and policies, and what follows from them for this node."""

    def __init__(self) -> None:
        super().__init__()
        self.policies: dict[Key, Policy] = {}
        self.cluster_policies: dict[str, ClusterPolicy] = {}
        self._by_namespace: dict[str, dict[Key, Policy]] = {}
        self._subjects: dict[PodPeer, set[str]] = {}  # of ClusterNetworkPolicies, by their names
        self.posts: dict[Address, Post] = {}
        self._holdings = Holdings(self._members)
        self._stale: set[Address] = set()
        # The addresses that Pods which are being deleted have lost to others, by the Pods' UIDs.
        self._ended: dict[str, set[Address]] = {}
        self._owners: dict[Address, str] = {}  # by ``Pod.sandbox``: nobody else has the address

    @property
    def is_empty(self) -> bool:
        """True without any policy."""
        return not self.policies and not self.cluster_policies

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

    def set_cluster_policy(self, name: str, policy: ClusterPolicy | None) -> None:
        """Take a ClusterNetworkPolicy that came, changed or went."""
        old = self.cluster_policies.pop(name, None)
        if old is not None:
            self._stale_subjects(old.subject)
            names = self._subjects[old.subject]
            names.discard(name)
            if not names:
                del self._subjects[old.subject]
            self._holdings.unfollow(old.subject)
        if policy is not None:
            self.cluster_policies[name] = policy
            self._subjects.setdefault(policy.subject, set()).add(name)
            self._holdings.follow(policy.subject)
            self._stale_subjects(policy.subject)

    def _stale_subjects(self, subject: PodPeer) -> None:
        for key in self._members.of(subject):
            if self.pods[key].is_local:
                self._stale.update(self.pods[key].addresses)

    def set_namespace(self, name: str, namespace: Namespace | None) -> None:
        """Take a namespace that came, changed or went."""
        if namespace is None:
            self.namespaces.pop(name, None)
        else:
            self.namespaces[name] = namespace
        peers = self._members.renew_namespace(name)
        if peers:
            pods = [pod for key, pod in self.pods.items() if key[0] == name]
            self._holdings.touch(peers, {address for pod in pods for address in pod.addresses})
            if not peers.isdisjoint(self._subjects):
                near = (pod for pod in pods if pod.is_local)
                self._stale.update(address for pod in near for address in pod.addresses)

    def set_pod(self, key: Key, pod: Pod | None) -> None:
        """Take a Pod that came, changed or went."""
        old = self.pods.pop(key, None)
        if old is not None and (pod is None or pod.uid != old.uid):
            self._ended.pop(old.uid, None)
        if old is not None:
            self._disown(old, pod)
        if pod is not None:
            pod = self.pods[key] = self._own(pod)
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
        rivals = self._rivals(places) if changed else set()
        self._holdings.touch(self._members.renew(key, pod, changed), places)
        if changed:
            self._holdings.touch_doors()
        for one in (old, pod):
            if one is not None:
                self._claim(one, one is pod)
                self._stale.update(one.addresses if one.is_local else ())
        for rival in rivals - {key}:
            self._holdings.touch(self._members.peers_with(rival), places)

    def _own(self, pod: Pod) -> Pod:
        """Return a Pod without the addresses that are another's by now."""
        lost = self._ended.get(pod.uid, ())
        owners, mine = self._owners, pod.sandbox
        rest = tuple(
            one for one in pod.addresses if one not in lost and owners.get(one, mine) == mine
        )
        return pod if rest == pod.addresses else replace(pod, addresses=rest)

    def _disown(self, old: Pod, new: Pod | None) -> None:
        """Forget that a Pod was an address' only owner, once it has it no more."""
        same = new is not None and new.sandbox == old.sandbox
        kept = new.addresses if new is not None and same else ()
        for one in old.addresses:
            if one not in kept and self._owners.get(one) == old.sandbox:
                del self._owners[one]

    def is_owned(self, address: Address) -> bool:
        """Return True if an address has one owner; see ``release``."""
        return address in self._owners

    def forget_owner(self, sandbox: str) -> None:
        """Take the addresses from a Pod that has ended, which may never have told of them."""
        for one in [one for one, owner in self._owners.items() if owner == sandbox]:
            del self._owners[one]

    def release(self, address: Address, owner: str = "") -> None:
        """Take an address from the Pods that have it so far: a new container has got it.

        ``owner`` is its Pod, see ``Pod.sandbox``: nobody else may have it from now on, whatever the
        API says later. Without, a Pod that is not being deleted may have the address again with its
        next change.
        """
        self._owners.pop(address, None)
        if owner:
            self._owners[address] = owner
        for key in sorted(self._claimants.get(address, ())):
            pod = self.pods[key]
            if owner and pod.sandbox == owner:
                continue
            if pod.rank[0] is False:
                self._ended.setdefault(pod.uid, set()).add(address)
            rest = tuple(one for one in pod.addresses if one != address)
            self.set_pod(key, replace(pod, addresses=rest))

    def forget_pods(self) -> None:
        """Forget all Pods and namespaces."""
        for key in list(self.pods):
            self.set_pod(key, None)
        for name in list(self.namespaces):
            self.set_namespace(name, None)
        self._owners.clear()
        self.take()

    def _local_in(self, namespace: str) -> Iterator[Pod]:
        keys = {key for holders in self._holders.values() for key in holders}
        return (self.pods[key] for key in keys if key[0] == namespace)

    def take(self) -> Changes:
        """Return what changed since the last call."""
        for address in self._stale:
            before, after = self.posts.pop(address, None), self._post(address)
            if after is not None:
                self.posts[address] = after
                self._holdings.hold(after)
            if before is not None:
                self._holdings.release(before)
        stale, self._stale = frozenset(self._stale), set()
        touched, moved = self._holdings.take()
        return Changes(
            stale,
            frozenset(one for one in touched if isinstance(one, Profile)),
            frozenset(one for one in touched if isinstance(one, frozenset)),
            frozenset(one for one in touched if isinstance(one, NamedDoor)),
            moved,
            frozenset(one for one in touched if isinstance(one, Ladder)),
            frozenset(one for one in touched if isinstance(one, Ranking)),
            frozenset(one for one in touched if isinstance(one, Course)),
        )

    def everything(self) -> Changes:
        """Return all that there is, for a renderer that begins anew."""
        self.take()
        held = self._holdings
        return Changes(
            frozenset(self.posts),
            frozenset(held.profiles),
            frozenset(held.groups),
            frozenset(held.named),
            {},
            frozenset(held.ladders),
            frozenset(held.rankings),
            frozenset(held.courses),
        )

    def is_used(self, what: Shared) -> bool:
        """Return True if an address of this node's needs it."""
        return self._holdings.is_used(what)

    def guards(self, pod: Pod, direction: Direction) -> list[Policy]:
        """Return the policies that isolate a Pod in a direction, by their names."""
        here = self._by_namespace.get(pod.key[0], {})
        found = (one for one in here.values() if direction in one.rules)
        return sorted(
            (one for one in found if selects(one.selector, pod.labels)), key=lambda one: one.key
        )

    def ranked(self, pod: Pod, tier: Tier) -> list[ClusterPolicy]:
        """Return the ClusterNetworkPolicies of a tier that are about a Pod, in their order."""
        names = (
            name
            for subject, found in self._subjects.items()
            if pod.key in self._members.of(subject)
            for name in found
        )
        mine = (self.cluster_policies[name] for name in names)
        return sorted((one for one in mine if one.tier is tier), key=lambda one: one.rank)

    def denying(self, pod: Pod, direction: Direction) -> list[ClusterPolicy]:
        """Return the ClusterNetworkPolicies about a Pod that have a Deny rule, in their order."""
        mine = (one for tier in Tier for one in self.ranked(pod, tier))
        return [
            one
            for one in mine
            if any(rule.action is Action.DENY for rule in one.rules.get(direction, ()))
        ]

    def _post(self, address: Address) -> Post | None:
        pod = self.holder(address)
        if pod is None:
            return None
        own: dict[tuple[Protocol, str], int] = dict(pod.ports)
        ingress, egress = (self._profile(pod, direction, own) for direction in Direction)
        if not self.cluster_policies:
            return Post(pod.key, ingress, egress)
        admin, baseline = (self.ranked(pod, tier) for tier in Tier)
        if not admin and not baseline:
            return Post(pod.key, ingress, egress)
        courses = (
            course(direction, admin, profile, baseline, own)
            for direction, profile in zip(Direction, (ingress, egress), strict=True)
        )
        return Post(pod.key, ingress, egress, *courses)

    def _profile(
        self, pod: Pod, direction: Direction, own: Mapping[tuple[Protocol, str], int]
    ) -> Profile | None:
        guards = self.guards(pod, direction)
        if not guards:
            return None
        rules: set[Rule] = {rule for one in guards for rule in one.rules[direction]}
        return profile(direction, rules, own)
