"""Finds which two devices are the ends of one veth pair. Pure.

A device knows its peer's index, and a number for the peer's namespace that means something in its
own namespace only; a snapshot says which namespace that is.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from debug.kernel.values import Link
from debug.snapshot import SpaceSnapshot

_HERE = -1  # peer_netns of a pair whose ends are both in one namespace


class Tip(NamedTuple):
    """A device of a space: the space's place in the snapshot, and the kernel's index."""

    space: int
    link: int


def pairs(spaces: Sequence[SpaceSnapshot]) -> list[tuple[Tip, Tip]]:
    """Return the two ends of each veth pair of which both were read, each pair once."""
    return sorted({(min(ends), max(ends)) for ends in _ends(spaces)})


def _ends(spaces: Sequence[SpaceSnapshot]) -> Iterator[tuple[Tip, Tip]]:
    numbers = {space.identity: number for number, space in enumerate(spaces) if space.identity}
    for number, space in enumerate(spaces):
        for link in space.state.links:
            other = _other(number, space, link, numbers)
            if other is not None and _exists(spaces, other):
                yield Tip(number, link.index), other


def _other(number: int, space: SpaceSnapshot, link: Link, numbers: Mapping[int, int]) -> Tip | None:
    if link.kind != "veth" or not link.peer:
        return None
    if link.peer_netns == _HERE:
        return Tip(number, link.peer)
    there = numbers.get(space.peers.get(link.peer_netns, 0))
    return None if there is None else Tip(there, link.peer)


def _exists(spaces: Sequence[SpaceSnapshot], tip: Tip) -> bool:
    """A pair may have gone between the reading of its two ends."""
    found = spaces[tip.space].state.link(tip.link)
    return found is not None and found.kind == "veth"
