"""Rolling updates: never too few available Pods, never too many Pods, and always an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.workload import Deployment
from control.controllers.deployment.limits import Limits, limits
from control.controllers.deployment.rollout import (
    Version,
    first_size,
    needs_scaling,
    recreate,
    roll,
    scale,
)
from tests.support.control.cluster import deployment


def bounds(replicas, surge="25%", unavailable="25%", kind="RollingUpdate"):
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": kind} | ({"rollingUpdate": rolling} if kind == "RollingUpdate" else {})
    return limits(Deployment.parse(deployment("d", replicas, strategy=strategy)))


@pytest.mark.parametrize(
    ("replicas", "surge", "unavailable", "wanted"),
    [
        (10, "25%", "25%", (3, 2)),  # rounded up for the surge, down for unavailable Pods
        (3, "25%", "25%", (1, 0)),
        (1, "25%", "25%", (1, 0)),
        (10, 2, 3, (2, 3)),
        (10, 0, 0, (0, 1)),  # both zero would allow no step
        (10, "0%", "1%", (0, 1)),
        (2, 0, 5, (0, 2)),
        (0, "25%", "25%", (0, 0)),
        (3, "100%", "0%", (3, 0)),
    ],
)
def test_percentages_are_rounded_as_upstream(replicas, surge, unavailable, wanted):
    found = bounds(replicas, surge, unavailable)
    assert (found.surge, found.unavailable) == wanted


def test_recreate_has_no_surge():
    assert bounds(3, kind="Recreate") == Limits(3, 0, 0)


def sizes(versions):
    return {v.name: v.size for v in versions}


@given(
    replicas=st.integers(1, 12),
    surge=st.integers(0, 5),
    unavailable=st.integers(0, 5),
    olds=st.lists(st.integers(0, 12), min_size=1, max_size=3),
    start=st.integers(0, 12),
    data=st.data(),
)
def test_every_rollout_keeps_its_limits_and_ends(replicas, surge, unavailable, olds, start, data):
    """Pods become available one by one, in any order, and old ones may fail meanwhile."""
    limit = Limits(replicas, surge, min(replicas, unavailable or (0 if surge else 1)))
    size = {"new": min(start, replicas)} | {f"old{i}": n for i, n in enumerate(olds)}
    ready = {name: count if name != "new" else 0 for name, count in size.items()}
    for _ in range(400):
        versions = [
            Version(n, size[n], min(ready[n], size[n]), created=n, wanted=n == "new") for n in size
        ]
        least = replicas - limit.unavailable
        before = sum(min(ready[n], size[n]) for n in size)
        change = roll(versions, limit)
        total = sum(size.values())
        size |= change
        after = sum(min(ready[n], size[n]) for n in size)
        assert after >= min(before, least), "a step took Pods that were needed"
        assert sum(size.values()) <= max(total, replicas + limit.surge)
        if not change:
            waiting = [n for n in size if ready[n] < size[n]]
            if not waiting:
                break
            name = data.draw(st.sampled_from(waiting))
            ready[name] += 1
        ready = {n: min(ready[n], size[n]) for n in size}
    assert size == {"new": replicas} | {f"old{i}": 0 for i in range(len(olds))}


def test_unavailable_pods_are_deleted_first_and_do_not_count_against_the_limit():
    broken = Version("broken", 2, 0, created="1")
    good = Version("good", 3, 3, created="0")
    new = Version("new", 1, 0, created="2", wanted=True)
    # Of 6 Pods 3 must serve, and 1 new one does not yet: 2 may go, and unavailable ones go first.
    assert roll([good, broken, new], Limits(3, 3, 0)) == {"broken": 0}


def test_the_first_version_starts_full_and_a_later_one_with_the_surge():
    assert first_size([], Limits(3, 1, 0)) == 3
    assert first_size([Version("old", 3, 3)], Limits(3, 1, 0)) == 1
    assert first_size([Version("old", 3, 3)], Limits(3, 0, 1)) == 0


def test_recreate_waits_for_the_last_old_pod():
    old, new = Version("old", 3, 3), Version("new", 0, wanted=True)
    limit = Limits(3, 0, 0)
    assert recreate([old, new], limit, old_pods_run=True) == {"old": 0}
    gone = Version("old", 0)
    assert recreate([gone, new], limit, old_pods_run=True) == {}
    assert recreate([gone, new], limit, old_pods_run=False) == {"new": 3}


def version(name, size, *, was=10, most=13, **more):
    return Version(name, size, scaled_for=was, most=most, created=name, **more)


def test_a_single_version_takes_all_replicas():
    only = [version("a", 10, available=10, wanted=True)]
    assert needs_scaling(only, Limits(4, 1, 1))
    assert scale(only, Limits(4, 1, 1), rolling=True) == {"a": 4}


def test_during_a_rollout_sizes_grow_in_proportion():
    """The documentation's example: 10 replicas, maxSurge 3, scaled to 15 while 8 + 5 run."""
    versions = [version("old", 8, available=8), version("new", 5, wanted=True)]
    assert scale(versions, Limits(15, 3, 2), rolling=True) == {"old": 11, "new": 7}


def test_a_complete_version_scales_old_ones_to_zero():
    new = version("new", 10, available=10, wanted=True)
    assert scale([version("old", 3), new], Limits(10, 3, 2), rolling=True) == {"old": 0}


def test_scaling_to_zero_affects_all_versions():
    versions = [version("old", 8), version("new", 5, wanted=True)]
    assert scale(versions, Limits(0, 0, 0), rolling=True) == {"old": 0, "new": 0}


@given(
    data=st.data(),
    was=st.integers(2, 20),
    replicas=st.integers(0, 40),
    surge=st.integers(0, 8),
)
def test_proportional_scaling_distributes_exactly_the_allowed_pods(data, was, replicas, surge):
    old = data.draw(st.integers(1, was + surge - 1))
    new = data.draw(st.integers(1, was + surge - old))
    versions = [
        version("a", old, was=was, most=was + surge),
        version("b", new, was=was, most=was + surge, wanted=True),
    ]
    after = sizes(versions) | scale(versions, Limits(replicas, surge, 0), rolling=True)
    assert sum(after.values()) == (replicas + surge if replicas else 0)
    assert min(after.values()) >= 0
