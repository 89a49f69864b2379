"""Maglev's consistent hashing: pure.

Every target takes seats of a table in turn, in an order of its own, until all seats are taken; a
flow's hash is the number of its seat. So shares differ by a seat at most, every node that knows the
same targets makes the same table, and when a target comes or goes, few seats of the others change
hands (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", 2016, 3.4).
"""

from collections.abc import Sequence
from hashlib import blake2b

from proxy.model.values import Target

_SEATS_EACH = 50  # at least, so that a seat more or less is 2 %
_SIZES = (251, 1021, 4093, 16381, 65521)  # primes, so that any stride visits every seat


def size_for(shares: int) -> int:
    """How many seats a table for so many shares has."""
    return next((size for size in _SIZES if size >= shares * _SEATS_EACH), _SIZES[-1])


def seats(targets: Sequence[Target]) -> list[int]:
    """For each seat, the place among ``targets`` of who has it; empty if there are none.

    ``targets`` are in one order everywhere. One that stands there several times takes as many seats
    in each turn. More than the largest table has seats cannot all have one.
    """
    if not targets:
        return []
    size = size_for(len(targets))
    places = {one: place for place, one in enumerate(targets)}
    wishes = [_wish(one, size) for one in targets]
    turns = [places[one] for one in targets]
    return _seated(turns, [start for start, _ in wishes], [stride for _, stride in wishes], size)


def _wish(target: Target, size: int) -> tuple[int, int]:
    """The seat that a target wants first, and how far it is to the next one."""
    hashed = int.from_bytes(blake2b(str(target).encode(), digest_size=16).digest(), "big")
    high, low = divmod(hashed, 1 << 64)
    return high % size, low % (size - 1) + 1


def _seated(turns: list[int], at: list[int], strides: list[int], size: int) -> list[int]:
    """``at`` is where each stands; plain loops, for thousands of tables are made at a start."""
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
