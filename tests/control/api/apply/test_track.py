"""What writes make of objects and of the managers of their fields."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.api.apply import managers, track
from control.api.apply.check import problems
from control.api.apply.compare import compare
from control.api.apply.fieldset import difference, intersection, of_paths, paths, union
from control.api.apply.managers import APPLY, UPDATE, Managed, Manager, Managers, manager
from control.api.apply.merge import fields_of, merge
from control.api.apply.shape import ListShape, MapShape, shape_of
from control.api.base import drop_nulls
from control.api.types.conform import zero_of

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"
STATUS = of_paths(("f:status",))


def shape(message: str) -> MapShape:
    found = shape_of(message)
    assert isinstance(found, MapShape)
    return found


POD, SERVICE = shape("core.Pod"), shape("core.Service")


def write(
    name: str, operation: str = APPLY, message: str = "core.Pod", now: str = NOW
) -> track.Write:
    who = manager(name, operation, "v1")
    return track.Write(shape(message), "v1", who, now, STATUS, zero_of(message))


def pod(*containers: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    spec = {"spec": {"containers": list(containers)}} if containers else {}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", **metadata}} | spec


def applied(name: str, live: Any, held: Managers, wanted: Any, *, force: bool = False) -> Any:
    made, held = track.apply(write(name), live, wanted, held, force=force)
    return drop_nulls(made), held


def names(items: list[dict[str, Any]]) -> str:
    return "".join(item["name"] for item in items)


# Objects that exercise every sort of shape: scalars, maps, keyed lists, sets, atomic values. None
# is empty: upstream removes what a prune empties, whoever owns it.
LETTERS = st.sampled_from("abc")
CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": LETTERS},
        optional={
            "image": LETTERS,
            "args": st.lists(LETTERS, max_size=2),
            "env": st.lists(
                st.fixed_dictionaries({"name": LETTERS}, optional={"value": LETTERS}),
                min_size=1,
                max_size=2,
                unique_by=lambda item: item["name"],
            ),
        },
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda item: item["name"],
)
PODS = st.builds(
    lambda metadata, spec: pod(**metadata) | {"spec": spec},
    st.fixed_dictionaries(
        {},
        optional={
            "labels": st.dictionaries(LETTERS, LETTERS, min_size=1, max_size=2),
            "finalizers": st.lists(LETTERS, min_size=1, max_size=3, unique=True),
        },
    ),
    st.fixed_dictionaries(
        {"containers": CONTAINERS},
        optional={
            "nodeSelector": st.dictionaries(LETTERS, LETTERS, min_size=1, max_size=2),
            "hostname": LETTERS,
        },
    ),
)


@settings(max_examples=50)
@given(PODS, PODS)
def test_a_comparison_turned_round_swaps_what_is_added_and_removed(one: Any, two: Any):
    there, back = compare(POD, one, two), compare(POD, two, one)
    assert (there.added, there.removed, there.modified) == (
        back.removed,
        back.added,
        back.modified,
    )
    assert compare(POD, one, copy.deepcopy(one)) == ({}, {}, {})


@settings(max_examples=50)
@given(PODS, PODS)
def test_a_merge_keeps_all_and_sets_what_is_applied(live: Any, wanted: Any):
    before = copy.deepcopy([live, wanted])
    made = merge(POD, live, wanted)
    assert [live, wanted] == before
    assert problems(POD, made) == ""
    assert compare(POD, live, made).removed == {}
    # No field that is applied differs from what is made of it.
    set_ = fields_of(POD, wanted)
    assert intersection(set_, compare(POD, made, wanted).taken) == {}
    assert merge(POD, made, wanted) == made
    order = [item["name"] for item in made["spec"]["containers"]]
    asked = [item["name"] for item in wanted["spec"]["containers"]]
    assert [name for name in order if name in asked] == asked


@given(PODS, PODS, PODS)
@settings(max_examples=60)
def test_applies_keep_the_rules_of_ownership(first: Any, second: Any, third: Any):
    live, held = applied("one", {**zero_of("core.Pod")}, {}, first)
    again = applied("one", live, held, first)
    assert again == (live, held)  # nothing changes, not even the time
    live, held = applied("two", live, held, second, force=True)
    one, two = (held.get(Manager(name, APPLY)) for name in ("one", "two"))
    stripped = difference(fields_of(POD, second), track._STRIPPED)
    assert two is not None
    assert two.fields == stripped
    # What "one" lost, "two" has changed.
    lost = difference(difference(fields_of(POD, first), track._STRIPPED), one.fields if one else {})
    assert set(paths(lost)) <= set(paths(stripped))
    live, held = applied("one", live, held, third, force=True)
    # Each owned field is there, and each applied one has its value.
    present = fields_of(POD, live)
    for manager_, entry in held.items():
        assert difference(entry.fields, union(present, entry_parents(present))) == {}, manager_
    assert intersection(fields_of(POD, third), compare(POD, live, third).modified) == {}


def entry_parents(tree: dict[str, Any]) -> dict[str, Any]:
    """The set of every field that has fields below it."""
    return {name: {".": {}, **entry_parents(below)} for name, below in tree.items() if below}


@settings(max_examples=50)
@given(PODS, PODS)
def test_who_owns_all_and_applies_less_leaves_only_that(first: Any, second: Any):
    live, held = applied("one", {**zero_of("core.Pod")}, {}, first)
    live, _ = applied("one", live, held, second)
    found = compare(POD, live, second)
    assert found.removed.keys() <= {"f:status"}  # every object has one
    assert found.taken == {}


@settings(max_examples=50)
@given(PODS, PODS)
def test_an_update_takes_what_it_changes(first: Any, second: Any):
    creator, other = write("one", UPDATE), write("two", UPDATE, now=LATER)
    held = track.create(creator, first)
    after = track.update(other, first, second, held)
    found = compare(POD, first, second)
    taken = difference(found.taken, track._STRIPPED)
    mine = after.get(other.who)
    assert (mine.fields if mine else {}) == taken
    left = after.get(creator.who)
    gone = union(found.taken, found.removed)
    assert (left.fields if left else {}) == difference(held[creator.who].fields, gone)
    assert managers.decode_stored(managers.encode(after)) == after


def test_an_item_that_two_apply_stays_until_both_drop_it():
    shared, own = {"name": "a", "image": "x"}, {"name": "b", "image": "y"}
    live, held = applied("one", {**zero_of("core.Pod")}, {}, pod(shared, own))
    live, held = applied("two", live, held, pod(shared))
    live, held = applied("one", live, held, pod(own))
    assert names(live["spec"]["containers"]) == "ab"
    live, held = applied("two", live, held, pod())
    assert names(live["spec"]["containers"]) == "b"


@pytest.mark.parametrize(
    ("live", "wanted", "made"),
    [
        ("abc", "cb", "acb"),
        ("ab", "cab", "cab"),
        ("abc", "xb", "axbc"),
        ("abcd", "dcx", "abdcx"),
        ("", "ba", "ba"),
        ("ab", "", "ab"),
    ],
)
def test_the_order_of_a_merge_is_upstreams(live: str, wanted: str, made: str):
    def listed(letters: str) -> dict[str, Any]:
        return {"metadata": {"finalizers": list(letters)}}

    assert merge(POD, listed(live), listed(wanted))["metadata"]["finalizers"] == list(made)


def test_a_conflict_names_the_manager_and_the_field():
    live, held = applied("one", {**zero_of("core.Pod")}, {}, pod({"name": "a", "image": "x"}))
    with pytest.raises(track.ApplyConflictError) as found:
        applied("two", live, held, pod({"name": "a", "image": "y"}))
    ((who, path),) = found.value.conflicts
    assert (str(who), path) == ('"one"', '.spec.containers[name="a"].image')
    updater = Manager("one", UPDATE, "v1", "status")
    assert str(updater) == '"one" with subresource "status" using v1'


def test_what_was_there_before_the_first_apply_has_a_manager():
    live = pod({"name": "a", "image": "x"})
    with pytest.raises(track.ApplyConflictError) as found:
        applied("one", live, {}, pod({"name": "a", "image": "y"}))
    assert found.value.conflicts[0][0] == Manager(track.BEFORE_FIRST_APPLY, UPDATE, "v1")


def test_kubectl_takes_over_what_it_applied_on_the_clients_side():
    own = pod({"name": "a", "image": "x"})
    annotation = {track.LAST_APPLIED: json.dumps(own)}
    live = pod({"name": "a", "image": "x"}, annotations=annotation)
    held = track.create(write("kubectl-client-side-apply", UPDATE), live)
    made, after = applied("kubectl", live, held, pod({"name": "a", "image": "y"}))
    assert made["spec"]["containers"][0]["image"] == "y"
    now_applied = json.loads(made["metadata"]["annotations"][track.LAST_APPLIED])
    assert now_applied["spec"]["containers"][0]["image"] == "y"
    with pytest.raises(track.ApplyConflictError):
        applied("other", live, held, pod({"name": "a", "image": "y"}))
    changed = copy.deepcopy(live)
    changed["spec"]["containers"][0]["image"] = "z"
    held = track.update(write("edit", UPDATE), live, changed, held)
    with pytest.raises(track.ApplyConflictError):  # it is not what kubectl applied
        applied("kubectl", changed, held, pod({"name": "a", "image": "y"}))
    assert after[Manager("kubectl", APPLY)].time == NOW


def test_old_updates_are_joined():
    held: dict[Manager, Managed] = {}
    for number in range(12):
        who = Manager(f"m{number:02}", UPDATE, "v1")
        held[who] = Managed(of_paths((f"f:a{number}",)), "v1", f"2026-01-01T00:00:{number:02}Z")
    capped = managers.capped(held)
    assert len(capped) == 10
    joined = capped[Manager("ancient-changes", UPDATE, "v1")]
    assert joined == Managed({"f:a0": {}, "f:a1": {}, "f:a2": {}}, "v1", "2026-01-01T00:00:02Z")


@pytest.mark.parametrize(
    ("message", "wanted", "why"),
    [
        ("core.Pod", {"spec": {"x": 1}}, ".spec.x: field not declared in schema"),
        (
            "core.Pod",
            {"spec": {"hostNetwork": "yes"}},
            ".spec.hostNetwork: expected boolean, got &{yes}",
        ),
        (
            "core.Pod",
            {"spec": {"priority": "1"}},
            ".spec.priority: expected numeric (int or float), got string",
        ),
        (
            "core.Pod",
            {"metadata": {"labels": {"a": 1}}},
            ".metadata.labels.a: expected string, got &value.valueUnstructured{Value:1}",
        ),
        ("core.Pod", {"spec": []}, ".spec: expected map, got &{[]}"),
        (
            "core.Pod",
            {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}},
            '.spec.containers: duplicate entries for key [name="a"]',
        ),
        (
            "core.Pod",
            {"spec": {"topologySpreadConstraints": [None]}},
            ".spec.topologySpreadConstraints: element 0: associative list with keys may not have"
            " a null element",
        ),
        (
            "core.Service",
            {"spec": {"ports": [{"port": 80}, {"port": 80, "protocol": "TCP"}]}},
            '.spec.ports: duplicate entries for key [port=80,protocol="TCP"]',
        ),
        (
            "core.Pod",
            {"metadata": {"finalizers": [{}]}},
            ".metadata.finalizers: element 0: associative list without keys has an element that's"
            " a map type",
        ),
    ],
)
def test_a_wrong_type_is_named_as_upstream_names_it(message: str, wanted: Any, why: str):
    assert problems(shape(message), wanted) == why


def test_the_managers_of_a_new_pod_are_upstreams():
    """The fields that upstream's server names for ``kubectl run`` of the same Pod."""
    new = pod({"name": "c", "ports": [{"containerPort": 80, "protocol": "TCP"}]}, labels={"a": "b"})
    held = track.create(write("kubectl-run", UPDATE), new | {"status": {"phase": "Pending"}})
    assert json.loads(managers.encode(held)) == [
        {
            "manager": "kubectl-run",
            "operation": "Update",
            "apiVersion": "v1",
            "time": NOW,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"c"}': {
                            ".": {},
                            "f:name": {},
                            "f:ports": {
                                ".": {},
                                'k:{"containerPort":80,"protocol":"TCP"}': {
                                    ".": {},
                                    "f:containerPort": {},
                                    "f:protocol": {},
                                },
                            },
                        }
                    }
                },
            },
        }
    ]


def test_lists_have_upstreams_types():
    assert SERVICE.fields["spec"].of("ports").keys == ("port", "protocol")  # type: ignore[union-attr]
    assert shape("core.PodSpec").of("tolerations").atomic  # type: ignore[union-attr]
    assert shape("core.ServiceSpec").of("selector").atomic  # type: ignore[union-attr]
    assert shape("apps.DeploymentSpec").of("selector").atomic  # type: ignore[union-attr]
    assert shape("meta.ObjectMeta").of("ownerReferences").keys == ("uid",)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("message", "field", "keys"),
    [
        ("core.Container", "ports", ("containerPort", "protocol")),
        ("core.EphemeralContainer", "env", ("name",)),
        ("batch.PodFailurePolicyOnExitCodesRequirement", "values", ()),
        ("autoscalingv2.HorizontalPodAutoscalerStatus", "conditions", ("type",)),
        ("core.PodSpec", "evictionResponders", ("name",)),  # new in 1.37
    ],
)
def test_lists_merge_by_the_keys_of_upstreams_types(message: str, field: str, keys: tuple[str]):
    found = shape(message).fields[field]
    assert isinstance(found, ListShape)
    assert (found.atomic, found.keys) == (False, keys)


@pytest.mark.parametrize("message", ["meta.LabelSelector", "core.ObjectReference"])
def test_a_structure_with_one_owner_is_atomic(message: str):
    assert shape(message).atomic
    assert not shape("core.PodSpec").atomic
