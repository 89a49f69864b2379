"""What a node's posts need, counted: profiles, groups, ladders, and the peers in them. Pure."""

from collections.abc import Hashable, Iterable, Set
from typing import Any, Generic, TypeVar

from proxy.model.values import Address
from proxy.policy.peers.members import Members
from proxy.policy.posts import Post, Shared
from proxy.policy.profile import Group, NamedDoor, Profile
from proxy.policy.tiers.ranking import Course, Ladder, Ranking
from proxy.policy.values import BlockPeer, Peer, PodPeer

Counted = TypeVar("Counted", bound=Hashable)

_Following = Group | NamedDoor | Ladder | Ranking


class Holdings:
    """Counts, follows the Pods of the peers that are needed, and notes what has to be rendered."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self.profiles: _Uses[Profile] = _Uses()
        self.groups: _Uses[Group] = _Uses()
        self.named: _Uses[NamedDoor] = _Uses()
        self.ladders: _Uses[Ladder] = _Uses()
        self.rankings: _Uses[Ranking] = _Uses()
        self.courses: _Uses[Course] = _Uses()
        self._peers: _Uses[PodPeer] = _Uses()
        self._of_peer: dict[PodPeer, set[_Following]] = {}
        self._pod_doors: set[NamedDoor | Ranking] = set()  # those to which any Pod may belong
        self._touched: set[Shared] = set()
        self._moved: dict[Group | Ladder, set[Address]] = {}

    def take(self) -> tuple[Set[Shared], dict[Group | Ladder, set[Address]]]:
        """Return what has to be rendered anew, and the addresses to look at in all others."""
        touched, moved = self._touched, self._moved
        self._touched, self._moved = set(), {}
        return touched, {one: places for one, places in moved.items() if one not in touched}

    def is_used(self, what: Shared) -> bool:
        """Return True if a post needs it."""
        uses: dict[type, dict[Any, int]] = {
            Profile: self.profiles,
            frozenset: self.groups,
            NamedDoor: self.named,
            Ladder: self.ladders,
            Ranking: self.rankings,
            Course: self.courses,
        }
        return what in uses[type(what)]

    def touch(self, peers: Iterable[PodPeer], addresses: Set[Address]) -> None:
        """Note addresses that may have come into some peers, or gone."""
        for peer in peers:
            for one in self._of_peer.get(peer, ()):
                if isinstance(one, frozenset | Ladder):
                    self._moved.setdefault(one, set()).update(addresses)
                else:
                    self._touched.add(one)

    def touch_doors(self) -> None:
        """Note that a Pod with other addresses or ports may be at any named port."""
        self._touched |= self._pod_doors

    def hold(self, post: Post) -> None:
        """Hold what a post needs; touch what was not needed before."""
        for one in post.profiles():
            if self.profiles.hold(one):
                self._touched.add(one)
                self._hold_profile(one)
        for course in post.courses():
            if self.courses.hold(course):
                self._touched.add(course)
                for each in course.rankings():
                    if self.rankings.hold(each):
                        self._touched.add(each)
                        self._hold_ranking(each)

    def _hold_profile(self, one: Profile) -> None:
        for group in one.groups():
            if self.groups.hold(group):
                self._touched.add(group)
                self._watch(group, group)
        for door in one.named:
            if self.named.hold(door):
                self._touched.add(door)
                self._watch(door, door.peers or ())
                if _needs_all_pods(door):
                    self._pod_doors.add(door)

    def _hold_ranking(self, one: Ranking) -> None:
        for ladder in one.ladders():
            if self.ladders.hold(ladder):
                self._touched.add(ladder)
                self._watch(ladder, _peers_of(ladder))
        if one.exact:
            self._watch(one, _peers_of(one))
            self._pod_doors.add(one)

    def release(self, post: Post) -> None:
        """Release what a post needed; touch what nobody needs any more."""
        for one in post.profiles():
            if self.profiles.release(one):
                self._touched.add(one)
                self._release_profile(one)
        for course in post.courses():
            if self.courses.release(course):
                self._touched.add(course)
                for each in course.rankings():
                    if self.rankings.release(each):
                        self._touched.add(each)
                        self._release_ranking(each)

    def _release_profile(self, one: Profile) -> None:
        for group in one.groups():
            if self.groups.release(group):
                self._touched.add(group)
                self._forget(group, group)
        for door in one.named:
            if self.named.release(door):
                self._touched.add(door)
                self._forget(door, door.peers or ())
                self._pod_doors.discard(door)

    def _release_ranking(self, one: Ranking) -> None:
        for ladder in one.ladders():
            if self.ladders.release(ladder):
                self._touched.add(ladder)
                self._forget(ladder, _peers_of(ladder))
        if one.exact:
            self._forget(one, _peers_of(one))
            self._pod_doors.discard(one)

    def _watch(self, what: _Following, peers: Iterable[object]) -> None:
        for peer in peers:
            if isinstance(peer, PodPeer):
                self._of_peer.setdefault(peer, set()).add(what)
                self.follow(peer)

    def _forget(self, what: _Following, peers: Iterable[object]) -> None:
        for peer in peers:
            if isinstance(peer, PodPeer):
                followers = self._of_peer[peer]
                followers.discard(what)
                if not followers:
                    del self._of_peer[peer]
                self.unfollow(peer)

    def follow(self, peer: PodPeer) -> None:
        """Know the Pods of a peer."""
        if self._peers.hold(peer):
            self._members.follow(peer)

    def unfollow(self, peer: PodPeer) -> None:
        """Know them no more, unless something else needs them."""
        if self._peers.release(peer):
            self._members.leave(peer)


def _peers_of(what: Ladder | Ranking) -> set[Peer]:
    groups = (
        [group for group, _ in what.steps]
        if isinstance(what, Ladder)
        else [rule.peers for rule in what.exact]
    )
    return set[Peer]().union(*filter(None, groups))


def _needs_all_pods(door: NamedDoor) -> bool:
    return door.peers is None or any(isinstance(peer, BlockPeer) for peer in door.peers)


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
