"""The tree of what may become of a packet: hops in a row, and branches where it may part."""

from collections.abc import Iterator

from msgspec import Struct

DELIVERED, DROPPED, UNKNOWN, LOST, LEFT = "delivered", "dropped", "unknown", "lost", "left"


class RuleLine(Struct, frozen=True, omit_defaults=True):
    """A rule that did something: where it is, what matched, what it did."""

    table: str  # with its family
    chain: str
    verdict: str
    handle: int = 0
    comment: str = ""
    matched: tuple[str, ...] = ()  # elements of sets, with their comments
    did: tuple[str, ...] = ()


class Hop(Struct, frozen=True, omit_defaults=True):
    """One stage of the packet's way; ``packet`` is what leaves it."""

    place: str  # "Node node1", "Pod default/web"
    stage: str  # output, route, prerouting, forward, input, postrouting, wire, tunnel, bridge
    packet: str
    text: str = ""
    rules: tuple[RuleLine, ...] = ()


class Branch(Struct, frozen=True, omit_defaults=True):
    """A way: its hops, then its end, or the branches into which it parts.

    ``probability`` is that of the whole way from the start. A branch with conditions has none of
    its own where they are rare, as that of a packet above a rate.
    """

    probability: float
    hops: tuple[Hop, ...] = ()
    end: str = ""  # delivered, dropped, unknown, lost, left
    why: str = ""
    at: str = ""  # the place of the end
    conditions: tuple[str, ...] = ()
    branches: tuple["Branch", ...] = ()
    reply: "Branch | None" = None


class Explanation(Struct, frozen=True):
    """The answer to one question."""

    source: str
    target: str
    packet: str
    way: Branch
    notes: tuple[str, ...] = ()


def ends(branch: Branch) -> Iterator[Branch]:
    """Yield the branches in which a way ends."""
    if branch.branches:
        for one in branch.branches:
            yield from ends(one)
    else:
        yield branch


def every_hop(branch: Branch) -> Iterator[Hop]:
    """Yield all hops of a way and of its branches, without replies."""
    yield from branch.hops
    for one in branch.branches:
        yield from every_hop(one)
