"""Sets of fields, against sets of paths."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.apply.fieldset import (
    FieldSetError,
    difference,
    has,
    intersection,
    of_paths,
    paths,
    read,
    union,
)

Path = tuple[str, ...]
NAMES = ["f:a", "f:b", 'k:{"name":"c"}', 'v:"x"']
PATHS = st.frozensets(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(tuple))


def members(tree: dict[str, Any], above: Path = ()) -> Iterator[Path]:
    """The members of a set, by the definition."""
    for name, below in tree.items():
        if name == ".":
            continue
        if not below or "." in below:
            yield (*above, name)
        yield from members(below, (*above, name))


def check(tree: dict[str, Any], wanted: frozenset[Path]) -> None:
    assert set(members(tree)) == wanted
    assert len(list(paths(tree))) == len(wanted)  # each field once
    assert read(json.loads(json.dumps(tree))) == tree  # nothing that a set would not write
    for path in wanted:
        assert has(tree, path)


@given(PATHS, PATHS)
def test_operations_are_those_of_sets(one: frozenset[Path], two: frozenset[Path]):
    left, right = of_paths(*one), of_paths(*two)
    before = json.dumps([left, right])
    check(left, one)
    check(union(left, right), one | two)
    check(intersection(left, right), one & two)
    check(difference(left, right), one - two)
    below = {path for path in one if any(path[: len(gone)] == gone for gone in two)}
    check(difference(left, right, recursive=True), one - below)
    assert json.dumps([left, right]) == before


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({"f:a": {}, ".": {}}, {"f:a": {}}),
        ({"f:a": None}, {"f:a": {}}),
        ({"f:a": {".": {}}}, {"f:a": {}}),
        ({'k:{"b":1, "a":"x"}': {}}, {'k:{"a":"x","b":1}': {}}),
        ({"x:a": {"f:b": {}}}, {}),
        ({"i:3": {}}, {"i:3": {}}),
    ],
)
def test_a_clients_set_is_written_as_ours(sent: dict[str, Any], kept: dict[str, Any]):
    assert read(sent) == kept


@pytest.mark.parametrize("sent", [[], "f:a", {"a": {}}, {"k:[]": {}}, {"v:{": {}}, {"f:a": 1}])
def test_what_is_no_set_is_refused(sent: Any):
    with pytest.raises(FieldSetError):
        read(sent)


def test_paths_are_printed_as_upstreams():
    tree = {
        "f:spec": {
            "f:replicas": {},
            "f:containers": {'k:{"name":"c"}': {".": {}, "f:image": {}}},
            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:port": {}}},
        },
        "f:metadata": {"f:finalizers": {'v:"x"': {}}},
    }
    assert list(paths(tree)) == [
        '.metadata.finalizers[="x"]',
        ".spec.replicas",
        '.spec.containers[name="c"]',
        '.spec.containers[name="c"].image',
        '.spec.ports[port=80,protocol="TCP"].port',
    ]
