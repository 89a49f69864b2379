"""What guards each address of a node, and what of it changed: the values that renderers read."""

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import NamedTuple

from msgspec import Struct

from proxy.model.values import Address, Key, Protocol
from proxy.policy.profile import Group, NamedDoor, Profile
from proxy.policy.tiers.ranking import Course, Ladder, Ranking, ranking
from proxy.policy.values import ClusterPolicy, Direction, OrderedRule

Shared = Profile | Group | NamedDoor | Ladder | Ranking | Course


class Post(NamedTuple):
    """What guards one address of this node's: a profile for each direction, None if it is open.

    A course has the profile's place where ClusterNetworkPolicies have a say; the profile is in it.
    """

    pod: Key
    ingress: Profile | None
    egress: Profile | None
    ingress_course: Course | None = None
    egress_course: Course | None = None

    def profiles(self) -> Iterator[Profile]:
        """Yield the profiles of both directions."""
        yield from (one for one in (self.ingress, self.egress) if one is not None)

    def courses(self) -> Iterator[Course]:
        """Yield the courses of both directions."""
        yield from (one for one in (self.ingress_course, self.egress_course) if one is not None)


class Changes(Struct, frozen=True):
    """What a renderer has to look at again.

    ``groups`` and ``ladders`` came or went as a whole. Of the others, ``moved`` has the addresses
    that may have come or gone: a group may have thousands, and there may be a thousand groups.
    """

    addresses: frozenset[Address]
    profiles: frozenset[Profile]
    groups: frozenset[Group]
    named: frozenset[NamedDoor]
    moved: Mapping[Group | Ladder, Set[Address]]
    ladders: frozenset[Ladder] = frozenset()
    rankings: frozenset[Ranking] = frozenset()
    courses: frozenset[Course] = frozenset()

    def shared(self) -> Iterator[Shared]:
        """Yield all that several addresses may need."""
        yield from self.profiles
        yield from self.groups
        yield from self.named
        yield from self.ladders
        yield from self.rankings
        yield from self.courses


def course(
    direction: Direction,
    admin: Iterable[ClusterPolicy],
    policies: Profile | None,
    baseline: Iterable[ClusterPolicy],
    own: Mapping[tuple[Protocol, str], int],
) -> Course | None:
    """Return a Pod's course; None if no ClusterNetworkPolicy has a say."""
    first = ranking(direction, _rules_of(admin, direction), own)
    last = None if policies else ranking(direction, _rules_of(baseline, direction), own)
    return Course(direction, first, policies, last) if first or last else None


def _rules_of(policies: Iterable[ClusterPolicy], direction: Direction) -> Iterator[OrderedRule]:
    return (rule for one in policies for rule in one.rules.get(direction, ()))
