"""The three kinds of patch as pure functions."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.server.verbs.patches import json_patch, merge, strategic
from control.server.verbs.patches.errors import MalformedPatchError, PatchConflictError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("original", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(original: Any, patch: Any, result: Any):
    assert merge.apply(original, patch) == result


@given(JSON, JSON)
def test_a_merge_patch_twice_is_once(original: Any, patch: Any):
    before = copy.deepcopy(original)
    once = merge.apply(original, patch)
    assert merge.apply(once, patch) == once
    assert original == before


@pytest.mark.parametrize(
    ("original", "operation", "result"),
    [
        ({"a": 1}, {"op": "add", "path": "/b", "value": 2}, {"a": 1, "b": 2}),
        ({"a": [1, 3]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2, 3]}),
        ({"a": [1]}, {"op": "add", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
        ({"a": 1, "b": 2}, {"op": "remove", "path": "/b"}, {"a": 1}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/0"}, {"a": [2]}),
        ({"a": 1}, {"op": "replace", "path": "/a", "value": 2}, {"a": 2}),
        ({"a": 1}, {"op": "replace", "path": "", "value": {"b": 2}}, {"b": 2}),
        ({"a": {"b": 1}}, {"op": "move", "from": "/a/b", "path": "/c"}, {"a": {}, "c": 1}),
        ({"a": [1, 2]}, {"op": "move", "from": "/a/0", "path": "/a/1"}, {"a": [2, 1]}),
        ({"a": [1]}, {"op": "copy", "from": "/a", "path": "/b"}, {"a": [1], "b": [1]}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": 1}, {"a": 1}),
        ({"a/b": 1, "c~d": 2}, {"op": "remove", "path": "/a~1b"}, {"c~d": 2}),
        ({"c~d": 2}, {"op": "replace", "path": "/c~0d", "value": 3}, {"c~d": 3}),
        ({"a": None}, {"op": "replace", "path": "/a", "value": 1}, {"a": 1}),
        # What upstream's library does beyond the RFC; kubectl patch --local gives the same.
        ({"a": 1}, {"op": "replace", "path": "/b", "value": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"op": "test", "path": "/b", "value": None}, {"a": 1}),
        ({"a": 1}, {"op": "test", "path": "/b"}, {"a": 1}),
        ({"a": 1}, {"op": "copy", "from": "/b", "path": "/c"}, {"a": 1, "c": None}),
        ({"a": 1}, {"op": "add", "path": "/b"}, {"a": 1, "b": None}),
        ({"a": 1}, {"op": "replace", "path": "/a"}, {"a": None}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/-1"}, {"a": [1]}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/01"}, {"a": [1]}),
        ({"a": [1, 2]}, {"op": "replace", "path": "/a/-2", "value": 3}, {"a": [3, 2]}),
        ({"a": [1, 2]}, {"op": "add", "path": "/a/-1", "value": 3}, {"a": [1, 2, 3]}),
        ({"a": [1, 2]}, {"op": "add", "path": "/a/-3", "value": 3}, {"a": [3, 1, 2]}),
        ({"a": [1, 2]}, {"op": "test", "path": "/a/-1", "value": 2}, {"a": [1, 2]}),
        ({"a": [1, 2]}, {"op": "move", "from": "/a/-1", "path": "/a/0"}, {"a": [2, 1]}),
        ({"a": [{"b": 1}]}, {"op": "add", "path": "/a/-1/b", "value": 2}, {"a": [{"b": 2}]}),
    ],
)
def test_json_patch(original: Any, operation: Any, result: Any):
    before = copy.deepcopy(original)
    assert json_patch.apply(original, [operation]) == result
    assert original == before


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ({"op": "test", "path": "/a", "value": 2}, PatchConflictError),
        ({"op": "remove", "path": "/none"}, PatchConflictError),
        ({"op": "test", "path": "/a", "value": True}, PatchConflictError),
        ({"op": "test", "path": "/l", "value": [True, 2]}, PatchConflictError),
        ({"op": "test", "path": "/a"}, PatchConflictError),
        ({"op": "test", "path": "/none/deep", "value": None}, PatchConflictError),
        ({"op": "test", "path": "/l/7", "value": None}, PatchConflictError),
        ({"op": "replace", "path": "/none/deep", "value": 1}, PatchConflictError),
        ({"op": "replace", "path": "/a/deep", "value": 1}, PatchConflictError),
        ({"op": "replace", "path": "/l/2", "value": 1}, PatchConflictError),
        ({"op": "replace", "path": "/l/-", "value": 1}, PatchConflictError),
        ({"op": "move", "from": "/none", "path": "/b"}, PatchConflictError),
        ({"op": "remove", "path": "/l/-3"}, PatchConflictError),
        ({"op": "add", "path": "/l/-4", "value": 1}, PatchConflictError),
        ({"op": "add", "path": "/none/deep", "value": 1}, PatchConflictError),
        ({"op": "add", "path": "/l/7", "value": 1}, PatchConflictError),
        ({"op": "remove", "path": "/l/-"}, PatchConflictError),
        ({"op": "move", "from": "/a", "path": "/a/b"}, MalformedPatchError),
        ({"op": "copy", "path": "/a"}, PatchConflictError),
        ({"op": "fly", "path": "/a"}, PatchConflictError),
        ({"op": [], "path": "/a"}, MalformedPatchError),
        ({"op": "add", "path": "/l/" + "9" * 5000, "value": 1}, PatchConflictError),
        ({"path": "/a"}, PatchConflictError),
        ("add", MalformedPatchError),
    ],
)
def test_json_patches_that_cannot_be_done(operation: Any, error: type[Exception]):
    with pytest.raises(error):
        json_patch.apply({"a": 1, "l": [1, 2]}, [operation])


def containers(*names: str, **extra: Any) -> list[dict[str, Any]]:
    return [{"name": name} | extra for name in names]


def patched(items: list[Any], **patch: Any) -> list[Any]:
    """Return a Pod's containers after a patch of its spec."""
    pod = {"spec": {"containers": items}}
    return list(strategic.apply(pod, {"spec": patch}, "core.v1.Pod")["spec"].get("containers", []))


def test_items_merge_by_their_key():
    made = patched(containers("a", "b", image="x"), containers=[{"name": "b", "image": "y"}])
    assert made == [{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]


def test_nulls_are_taken_out():
    made = patched(
        containers("a", image="x"), containers=[{"name": "c"}, {"name": "a", "image": None}]
    )
    assert made == [{"name": "c"}, {"name": "a"}]


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        ("ab", "c", "cab"),
        ("ab", "cd", "cdab"),
        ("abc", "b", "abc"),
        ("abc", "ca", "bca"),
        ("abc", "xb", "xabc"),
        ("abc", "bx", "abxc"),
        ("", "ba", "ba"),
    ],
)
def test_a_patchs_order_counts_and_new_items_are_first(before: str, patch: str, after: str):
    """The results of upstream's strategicpatch.StrategicMergePatch for the same lists."""
    made = patched(containers(*before), containers=containers(*patch))
    assert [item["name"] for item in made] == list(after)
    finalizers = {"metadata": {"finalizers": list(patch)}}
    made = strategic.apply({"metadata": {"finalizers": list(before)}}, finalizers, "core.v1.Pod")
    assert made["metadata"]["finalizers"] == list(after)


def test_a_replaced_list_drops_the_items_with_directives():
    replace = [{"name": "b"}, {"$patch": "replace"}, {"name": "a", "$patch": "delete"}]
    assert patched(containers("a"), containers=replace) == containers("b")


def test_items_can_be_deleted_and_lists_replaced():
    assert patched(containers("a", "b"), containers=[{"name": "a", "$patch": "delete"}]) == (
        containers("b")
    )
    replaced = patched(containers("a", "b"), containers=[{"name": "c"}, {"$patch": "replace"}])
    assert replaced == containers("c")


def test_maps_can_be_replaced_and_deleted():
    service = {"spec": {"selector": {"a": "1", "b": "2"}}}
    replace = {"spec": {"selector": {"c": "3", "$patch": "replace"}}}
    assert strategic.apply(service, replace, "core.v1.Service")["spec"]["selector"] == {"c": "3"}
    delete = {"spec": {"selector": {"$patch": "delete"}}}
    assert strategic.apply(service, delete, "core.v1.Service")["spec"]["selector"] == {}


def test_retained_keys_drop_the_others():
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    deployment = {"spec": {"strategy": strategy}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    made = strategic.apply(deployment, patch, "apps.v1.Deployment")
    assert made["spec"]["strategy"] == {"type": "Recreate"}


def test_primitive_lists_are_sets():
    pod = {"metadata": {"finalizers": ["a", "b"]}}
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c", "b"]}}
    assert strategic.apply(pod, patch, "core.v1.Pod")["metadata"]["finalizers"] == ["c", "b"]


def test_lists_without_a_key_are_replaced():
    pod = {"spec": {"tolerations": [{"key": "a"}]}}
    patch = {"spec": {"tolerations": [{"key": "b"}]}}
    assert strategic.apply(pod, patch, "core.v1.Pod")["spec"]["tolerations"] == [{"key": "b"}]


@pytest.mark.parametrize(
    ("before", "added", "order", "after"),
    [
        ("ab", "", "ba", "ba"),
        ("abc", "", "ca", "bca"),
        ("ab", "c", "cab", "cab"),
        ("ab", "c", "acb", "acb"),
        ("axb", "", "ba", "xba"),
    ],
)
def test_the_clients_order_is_kept(before: str, added: str, order: str, after: str):
    made = patched(
        containers(*before),
        **{
            "$setElementOrder/containers": containers(*order),
            "containers": containers(*added),
        },
    )
    assert [item["name"] for item in made] == list(after)


def test_kubectl_apply_reorders_lists():
    """The port is replaced by key, the environment changes in place, the file gives the order."""
    original = {
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                    "ports": [{"containerPort": 80, "protocol": "TCP"}],
                }
            ]
        }
    }
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "c"}],
            "containers": [
                {
                    "name": "c",
                    "$setElementOrder/env": [{"name": "B"}, {"name": "C"}],
                    "env": [{"name": "A", "$patch": "delete"}, {"name": "C", "value": "3"}],
                    "$setElementOrder/ports": [{"containerPort": 81}],
                    "ports": [{"containerPort": 80, "$patch": "delete"}, {"containerPort": 81}],
                }
            ],
        }
    }
    (container,) = strategic.apply(original, patch, "core.v1.Pod")["spec"]["containers"]
    assert container["env"] == [{"name": "B", "value": "2"}, {"name": "C", "value": "3"}]
    assert container["ports"] == [{"containerPort": 81}]


@given(st.permutations("abcd"), st.permutations("abcd"), st.sets(st.sampled_from("abcd")))
def test_ordering_keeps_all_items(before: list[str], order: list[str], listed: set[str]):
    wanted = [name for name in order if name in listed]
    made = patched(containers(*before), **{"$setElementOrder/containers": containers(*wanted)})
    names = [item["name"] for item in made]
    assert sorted(names) == list("abcd")
    assert [name for name in names if name in listed] == wanted
    assert [name for name in names if name not in listed] == [n for n in before if n not in listed]


@pytest.mark.parametrize(
    ("patch", "error"),
    [
        ([], MalformedPatchError),
        ({"$patch": "fly"}, MalformedPatchError),
        ({"spec": {"containers": [{"image": "x"}]}}, PatchConflictError),
        ({"spec": {"$retainKeys": ["a"], "b": 1}}, MalformedPatchError),
        ({"spec": {"$setElementOrder/containers": 7}}, MalformedPatchError),
        ({"metadata": {"$deleteFromPrimitiveList/finalizers": 7}}, MalformedPatchError),
    ],
)
def test_impossible_strategic_patches_are_refused(patch: Any, error: type[Exception]):
    with pytest.raises(error):
        strategic.apply({"spec": {"containers": containers("a")}}, patch, "core.v1.Pod")


def test_a_pointer_without_a_slash_leads_nowhere():
    with pytest.raises(PatchConflictError, match="it begins with no slash"):
        json_patch.apply({"a": 1}, [{"op": "add", "path": "a", "value": 2}])
