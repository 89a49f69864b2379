"""The cost of hostile patches: comparisons and copied bytes, counted."""

from typing import Any

import pytest

from control.server.verbs.patches import json_patch, strategic
from control.server.verbs.patches.errors import (
    MalformedPatchError,
    PatchConflictError,
    PatchTooLargeError,
)
from control.server.wire.strict import find_complaints, pairs

MANY = 2000


class Counted(str):
    """Text that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.fixture(autouse=True)
def from_zero() -> None:
    Counted.compared = 0


def items(count: int, **extra: Any) -> list[dict[str, Any]]:
    return [{"name": Counted(f"c{n}")} | extra for n in range(count)]


def merged(patch: dict[str, Any], before: int = MANY) -> list[Any]:
    made = strategic.apply({"spec": {"containers": items(before)}}, {"spec": patch}, "core.v1.Pod")
    return list(made["spec"]["containers"])


@pytest.mark.parametrize("extra", [{"image": "x"}, {"$patch": "delete"}])
def test_a_strategic_merge_compares_each_item_once_or_twice(extra: dict[str, str]):
    merged({"containers": items(MANY, **extra)})
    assert Counted.compared <= 4 * MANY


def test_new_items_and_an_order_are_linear():
    made = merged({"containers": items(MANY), "$setElementOrder/containers": items(MANY)}, 0)
    assert len(made) == MANY
    assert Counted.compared <= 8 * MANY


def test_sets_and_retained_keys_are_linear():
    names = [Counted(f"f{n}") for n in range(MANY)]
    before = {"metadata": {"finalizers": list(names)}, **dict.fromkeys(names, 1)}
    patch: dict[str, Any] = {
        "metadata": {"finalizers": names, "$deleteFromPrimitiveList/finalizers": names},
        "$retainKeys": ["metadata", *names],
    }
    strategic.apply(before, patch, "core.v1.Pod")
    assert Counted.compared <= 8 * MANY


def test_repeated_members_are_counted_once():
    names = [Counted(f"k{n}") for n in range(MANY)]
    made = pairs([(name, 0) for name in (*names, names[0])])
    assert find_complaints(made, "") == ['duplicate field "k0"']
    assert Counted.compared <= 4 * MANY


def test_a_long_name_above_many_members_is_written_once_for_each_complaint():
    names = [f"f{n}" for n in range(MANY)]
    wide = pairs([(name, 0) for name in (*names, *names)])
    found = find_complaints({"k" * 1_000_000: [wide]}, "")
    assert len(found) == 100 and max(map(len, found)) < 300


@pytest.mark.parametrize(
    ("first", "second"), [(1, True), (1, 1.0), ("1", 1), ({"a": 1}, {"a": True})]
)
def test_values_of_different_types_are_different_items(first: Any, second: Any):
    made = strategic.apply(
        {"metadata": {"finalizers": [first]}}, {"metadata": {"finalizers": [second]}}, "core.v1.Pod"
    )
    assert len(made["metadata"]["finalizers"]) == 2


def copies(source: str, count: int) -> list[dict[str, str]]:
    return [{"op": "copy", "from": source, "path": f"/x{n}"} for n in range(count)]


def test_a_copy_counts_what_it_copied_although_its_source_grows():
    # Each copy of the document goes into a list before the measured place.
    patch = [{"op": "copy", "from": "/l/0", "path": "/l/0"} for _ in range(40)]
    big = "y" * 200_000
    with pytest.raises(PatchConflictError, match="accumulated size increase of copy is"):
        json_patch.apply({"l": [big]}, patch)
    shifting = [
        {"op": "add", "path": "/l/0", "value": 0},
        *({"op": "copy", "from": "/l/1", "path": "/l/0"} for _ in range(40)),
    ]
    with pytest.raises(PatchConflictError, match="exceeding the limit 3145728"):
        json_patch.apply({"l": [big]}, shifting)


def test_copied_bytes_are_those_of_the_json_text():
    text = "y" * (json_patch.MAX_COPIED // 4 - 2)  # and two quotes: four copies are the limit
    assert len(json_patch.apply({"a": text}, copies("/a", 4))) == 5
    with pytest.raises(PatchConflictError, match="accumulated size increase"):
        json_patch.apply({"a": text}, copies("/a", 5))


def test_copies_into_their_own_source_end():
    nested = [{"op": "copy", "from": "", "path": "/a"} for _ in range(1000)]
    with pytest.raises((PatchConflictError, MalformedPatchError)):
        json_patch.apply({"a": 1}, nested)


def test_too_many_operations_are_too_large():
    test = {"op": "test", "path": "/a", "value": 1}
    json_patch.apply({"a": 1}, [test] * json_patch.MAX_OPERATIONS)
    with pytest.raises(PatchTooLargeError, match="is 10000, got 10001"):
        json_patch.apply({"a": 1}, [test] * (json_patch.MAX_OPERATIONS + 1))


def test_a_patch_is_the_same_after_it_was_applied():
    patch = [
        {"op": "add", "path": "/b", "value": {"c": []}},
        {"op": "add", "path": "/b/c/-", "value": 1},
    ]
    assert json_patch.apply({}, patch) == json_patch.apply({}, patch) == {"b": {"c": [1]}}
