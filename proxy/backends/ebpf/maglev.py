"""Maglev's consistent hashing: pure.

Targets take the seats of a table in turns, each in an order of its own, until all seats are taken.
A flow's hash is the number of its seat. Therefore shares differ by one seat at most, and every node
with the same targets makes the same table. When a target comes or goes, few of the other targets'
seats change (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", 2016,
3.4).
"""

from collections.abc import Sequence
from hashlib import blake2b

from proxy.model.values import Target

_SEATS_EACH = 50  # at least; so one seat is 2 % of a share
_SIZES = (251, 1021, 4093, 16381, 65521)  # primes, so that any stride visits every seat


def size_for(shares: int) -> int:
    """Return the number of seats in a table for ``shares`` shares."""
    return next((size for size in _SIZES if size >= shares * _SEATS_EACH), _SIZES[-1])


def seats(targets: Sequence[Target]) -> list[int]:
    """Return, for each seat, the index in ``targets`` of its owner; empty without targets.

    ``targets`` have the same order on every node. A target that occurs several times takes as many
    seats in each turn. If there are more targets than seats in the largest table, some get none.
    """
    if not targets:
        return []
    size = size_for(len(targets))
    places = {target: place for place, target in enumerate(targets)}
    wishes = [_wish(target, size) for target in targets]
    turns = [places[target] for target in targets]
    return _seated(turns, [start for start, _ in wishes], [stride for _, stride in wishes], size)


def _wish(target: Target, size: int) -> tuple[int, int]:
    """Return a target's first seat, and the stride to its next ones."""
    hashed = int.from_bytes(blake2b(str(target).encode(), digest_size=16).digest(), "big")
    high, low = divmod(hashed, 1 << 64)
    return high % size, low % (size - 1) + 1


def _seated(turns: list[int], at: list[int], strides: list[int], size: int) -> list[int]:
    """Fill a table of ``size`` seats. ``at`` is the next seat of each target.

    Plain loops, because a start makes thousands of tables.
    """
    table = [-1] * size
    left = size
    while True:
        for place in turns:
            seat, stride = at[place], strides[place]
            while table[seat] >= 0:
                seat += stride
                if seat >= size:
                    seat -= size
            table[seat] = place
            at[place] = seat
            left -= 1
            if not left:
                return table
