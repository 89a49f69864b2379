"""The informer's cache: events in any order or repetition end in the same snapshot."""

from hypothesis import given
from hypothesis import strategies as st

from control.api.cluster import ConfigMap
from control.api.meta import ObjectMeta
from control.client.cache import InformerCache
from control.client.listing import Listing
from control.client.stream import Bookmark, ObjectEvent

NAMES = ["a", "b", "c"]


def config_map(name: str, uid: str, version: int) -> ConfigMap:
    meta = ObjectMeta(name=name, namespace="n", uid=uid, resource_version=str(version))
    return ConfigMap(metadata=meta)


@st.composite
def histories(draw):
    """Draw a server's history: (events with versions 1..n, the remaining objects)."""
    live: dict[str, ConfigMap] = {}
    events = []
    for version in range(1, draw(st.integers(1, 14)) + 1):
        name = draw(st.sampled_from(NAMES))
        held = live.get(name)
        if held is None:
            live[name] = config_map(name, f"{name}-{version}", version)
            events.append(ObjectEvent("ADDED", live[name]))
        elif draw(st.booleans()):
            live[name] = config_map(name, held.metadata.uid, version)
            events.append(ObjectEvent("MODIFIED", live[name]))
        else:
            del live[name]
            events.append(ObjectEvent("DELETED", config_map(name, held.metadata.uid, version)))
    return events, {item.key: item for item in live.values()}


def listing(events, upto: int) -> Listing[ConfigMap]:
    """Return the collection after the first ``upto`` events."""
    live: dict[str, ConfigMap] = {}
    for event in events[:upto]:
        live.pop(event.object.metadata.name, None)
        if event.verb != "DELETED":
            live[event.object.metadata.name] = event.object
    return Listing(tuple(live.values()), str(upto))


@given(histories(), st.data())
def test_any_order_and_repetition_ends_in_the_same_state(history, data):
    events, final = history
    repeats = data.draw(st.lists(st.sampled_from(events), max_size=6))
    cache = InformerCache()
    for event in data.draw(st.permutations([*events, *repeats])):
        cache.apply(event)
    assert cache.snapshot() == final


@given(histories(), st.data())
def test_lists_bookmarks_and_broken_watches_end_in_the_same_state(history, data):
    events, final = history
    cache, at = InformerCache(), 0
    steps = data.draw(st.lists(st.sampled_from(["watch", "list", "bookmark", "again"])))
    for step in [*steps, *["watch"] * len(events)]:
        if step == "watch" and at < len(events):
            cache.apply(events[at])
            at += 1
        elif step == "list":
            at = min(len(events), at + 1)
            cache.replace(listing(events, at))
        elif step == "bookmark":
            cache.apply(Bookmark(str(at)))
        elif step == "again":  # a watch that resumes from an earlier version repeats what was seen
            for event in events[at // 2 : at]:
                cache.apply(event)
    assert cache.snapshot() == final
    assert cache.resource_version == str(len(events))


@given(histories(), st.data())
def test_a_broken_first_list_leaves_nothing_behind(history, data):
    events, final = history
    cache, follower = InformerCache(), {}
    for upto in data.draw(st.lists(st.integers(0, len(events)), max_size=3)):
        whole = listing(events, upto).items
        follow(follower, cache.begin(whole[: data.draw(st.integers(0, len(whole)))]))
    follow(follower, cache.begin(listing(events, len(events)).items))
    assert not final or follower.items() >= final.items()
    follow(follower, cache.replace(listing(events, len(events))))
    assert follower == cache.snapshot() == final


def follow(follower: dict, changes: list) -> None:
    """Make each change, which must fit the state before."""
    for old, new in changes:
        assert follower.pop((old or new).key, None) == old
        if new is not None:
            follower[new.key] = new


@given(histories(), st.data())
def test_differences_lead_from_each_snapshot_to_the_next(history, data):
    events, _ = history
    cache, follower = InformerCache(), {}
    for event in data.draw(st.permutations(events)):
        if data.draw(st.booleans()):
            changes = cache.replace(listing(events, len(events)))
        else:
            changes = cache.apply(event)
        for old, new in changes:
            assert old is None or new is None or old.metadata.uid == new.metadata.uid
        follow(follower, changes)
        assert follower == cache.snapshot()


@given(histories(), st.data())
def test_own_writes_are_visible_at_once_and_stay(history, data):
    """Learn and bury some events early, as a writer does; the watch delivers all of them later."""
    events, final = history
    cache, learnt = InformerCache(), {}
    for index, event in enumerate(events):
        lead = data.draw(st.integers(index, min(index + 2, len(events) - 1)))
        early = events[lead]
        if early.verb == "DELETED" and data.draw(st.booleans()):
            cache.bury(early.object)
        else:  # the answer to the write that ends an object has the version of its end
            cache.learn(early.object)
            learnt[early.object.metadata.uid] = early.object
        if data.draw(st.booleans()):
            cache.replace(listing(events, index))
            cache.apply(Bookmark(str(index)))
        cache.apply(event)
    assert cache.snapshot() == final


def test_a_list_from_before_our_write_does_not_undo_it():
    cache = InformerCache()
    cache.replace(Listing((), "5"))
    mine = config_map("a", "u", 9)
    cache.learn(mine)
    cache.replace(Listing((), "7"))
    assert cache.snapshot() == {mine.key: mine}
    cache.replace(Listing((), "9"))
    assert not cache.snapshot()


def test_late_events_do_not_revive_a_buried_object():
    cache = InformerCache()
    one = config_map("a", "u", 3)
    cache.learn(one)
    assert cache.bury(one) == [(one, None)]
    cache.apply(ObjectEvent("MODIFIED", config_map("a", "u", 4)))
    cache.replace(Listing((config_map("a", "u", 4),), "4"))
    assert not cache.snapshot()
    cache.apply(ObjectEvent("DELETED", config_map("a", "u", 5)))
    again = config_map("a", "v", 6)
    cache.apply(ObjectEvent("ADDED", again))
    assert cache.snapshot() == {again.key: again}


def test_the_answer_to_the_last_write_does_not_revive_an_object():
    """A patch that removes the last finalizer returns the object, and the watch delivers its
    deletion with the same version; the two may arrive in any order."""
    last = config_map("a", "u", 4)
    for order in ("answer first", "watch first"):
        cache = InformerCache()
        cache.apply(ObjectEvent("ADDED", config_map("a", "u", 3)))
        if order == "answer first":
            cache.learn(last)
            assert cache.apply(ObjectEvent("DELETED", last)) == [(last, None)]
        else:
            cache.apply(ObjectEvent("DELETED", last))
            assert cache.learn(last) == []
        assert not cache.snapshot()


def test_a_snapshot_never_changes():
    cache = InformerCache()
    cache.apply(ObjectEvent("ADDED", config_map("a", "u", 1)))
    before = cache.snapshot()
    cache.apply(ObjectEvent("DELETED", config_map("a", "u", 2)))
    assert len(before) == 1 and not cache.snapshot()


def test_a_server_restored_from_a_backup_is_believed():
    cache = InformerCache()
    cache.replace(Listing((config_map("a", "u", 90),), "100"))
    cache.replace(Listing((config_map("b", "v", 7),), "8"))
    assert [key[1] for key in cache.snapshot()] == ["b"]
    assert cache.resource_version == "8"
