"""Maglev's tables: fair, the same on every node, and stable when targets come and go."""

from collections import Counter
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.backends.ebpf.maglev import seats, size_for
from proxy.model.values import Target
from tests.support.proxy.strategies import few

addresses = st.integers(1, 1 << 24).map(lambda number: Target.of(ip_address(number << 7), 80))
pools = st.lists(addresses, min_size=1, max_size=20, unique=True).map(sorted)


def owners(targets: list[Target]) -> list[Target]:
    return [targets[place] for place in seats(targets)]


@few
@given(pools)
def test_shares_differ_by_one_seat_at_most(targets: list[Target]) -> None:
    shares = Counter(owners(targets))
    assert set(shares) == set(targets)
    assert max(shares.values()) - min(shares.values()) <= 1
    assert shares.total() == size_for(len(targets))


@few
@given(pools, st.data())
def test_shares_follow_weights(targets: list[Target], data: st.DataObject) -> None:
    weights = {one: data.draw(st.integers(1, 5)) for one in targets}
    weighed = [one for one in targets for _ in range(weights[one])]
    shares = Counter(owners(weighed))
    fair = size_for(len(weighed)) / len(weighed)
    for one, weight in weights.items():
        assert abs(shares[one] - weight * fair) <= weight


def moved_by(gone: Target, targets: list[Target]) -> int:
    """Return how many seats of the other targets get another one when a target goes."""
    before, after = owners(targets), owners([one for one in targets if one != gone])
    return sum(was != now for was, now in zip(before, after, strict=True) if was != gone)


@few
@given(pools)
@example([Target.of(ip_address(it), 80) for it in ("0.1.36.128", "0.2.61.128", "4.74.59.0")])
def test_targets_that_go_move_few_seats_of_others(targets: list[Target]) -> None:
    """On average: a single one may move many, as the first of the example moves 43 %."""
    if len(targets) < 2 or size_for(len(targets)) != size_for(len(targets) - 1):
        return
    moved = sum(moved_by(gone, targets) for gone in targets)
    assert moved <= len(targets) * len(owners(targets)) * 0.3


def test_few_seats_move_on_average() -> None:
    """As in the paper, the seats that move are about twice those that must."""
    targets = [Target.of(ip_address(f"10.0.0.{n}"), 80) for n in range(10)]
    before = owners(targets)
    moved = 0
    for gone in targets:
        after = owners([one for one in targets if one != gone])
        moved += sum(was != now != gone for was, now in zip(before, after, strict=True))
    assert moved / len(targets) < 0.2 * len(before)


@pytest.mark.parametrize(
    ("shares", "size"), [(1, 251), (5, 251), (6, 1021), (20, 1021), (1000, 65521), (9999, 65521)]
)
def test_tables_grow_with_their_pools(shares: int, size: int) -> None:
    assert size_for(shares) == size


def test_without_targets_there_is_no_table() -> None:
    assert seats([]) == []


def test_the_table_is_the_same_in_every_release() -> None:
    """Nodes of different releases have to agree during an upgrade of the cluster."""
    targets = [Target.of(ip_address(f"10.0.0.{n}"), 80) for n in range(3)]
    assert seats(targets)[:12] == [0, 2, 2, 0, 2, 1, 1, 1, 0, 2, 2, 1]
