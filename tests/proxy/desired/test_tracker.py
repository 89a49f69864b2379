"""Changes in any order, split, squashed or repeated, end in the same desired state."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.desired.desired import Desired
from proxy.desired.tracker import Tracker
from proxy.model.values import Family
from tests.support.proxy.strategies import NODE, few, histories, replay


def tracker() -> Tracker:
    return Tracker(NODE, tuple(Family))


@few
@given(histories, st.data())
def test_order_and_repetition_do_not_matter(history, data):
    last = {(kind, key): value for kind, key, value in history}
    squashed = data.draw(st.permutations([(*name, value) for name, value in last.items()]))
    one, other = tracker(), tracker()
    for change in history:
        replay(one, [change, change])
        one.desired()  # computed after each change, or once at the end
    replay(other, squashed)
    assert one.desired() == other.desired()


@few
@given(histories, st.data())
def test_an_untouched_service_is_not_computed_again(history, data):
    made = tracker()
    replay(made, history)
    before = made.desired()
    change = data.draw(histories.filter(bool))[0]
    replay(made, [change])
    after = made.desired()
    value = change[2]
    touched = {change[1]} if change[0] == "service" else {("ns", change[1][1][0])}
    if value is not None and change[0] == "slice":
        touched.add(value.service)
    for key in after.keys() & before.keys() - touched:
        assert after[key] is before[key]


@few
@given(histories)
def test_a_snapshot_does_not_change(history):
    made = tracker()
    replay(made, history)
    snapshot = made.desired()
    copy = dict(snapshot)
    replay(made, [(kind, key, None) for kind, key, _ in history])
    assert not made.desired()
    assert snapshot == copy


@few
@given(histories)
def test_only_the_families_in_use(history):
    made = Tracker(NODE, (Family.V4,))
    replay(made, history)
    portals = [portal for portals in made.desired().values() for portal in portals]
    assert {portal.family for portal in portals} <= {Family.V4}


@few
@given(histories, st.data())
def test_every_state_knows_its_changes_since_any_other(history, data):
    """It knows its parent's at once, and all others by comparison, with the same answer."""
    made, states = tracker(), [Desired()]
    for change in history:
        replay(made, [change])
        states.append(made.desired())
    before, after = (data.draw(st.sampled_from(states)) for _ in range(2))
    differing = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert differing <= after.changed_since(before)
    for one, following in pairwise(states):
        changed = {
            key for key in one.keys() | following.keys() if one.get(key) != following.get(key)
        }
        assert following.changed_since(one) == changed
