"""Stored objects: the managers of fields stay bytes."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from control.server.wire.item import Item, encode_object, restamp, stamp

# Text that looks like the parts of a stored object.
TEXT = st.lists(
    st.sampled_from(
        [
            '"',
            "\\",
            "],",
            '"name":"',
            '"managedFields":[',
            '"metadata":{',
            "x",
            '"resourceVersion":"',
            '"labels":{',
            "}",
        ]
    ),
    max_size=6,
).map("".join)
MAPS = st.dictionaries(TEXT, TEXT, max_size=3)
MANAGERS = st.lists(
    st.builds(
        lambda name, field: {
            "manager": name,
            "operation": "Apply",
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": {f"f:{field}": {"k:" + json.dumps({"name": field}): {}}},
        },
        TEXT,
        TEXT,
    ),
    max_size=3,
)


@given(MAPS, MAPS, MANAGERS)
def test_managers_are_found_whatever_the_object_says(
    labels: dict[str, str], data: dict[str, str], entries: list[Any]
):
    raw = json.dumps(entries, separators=(",", ":")).encode() if entries else b""
    wire: dict[str, Any] = {
        "kind": "X",
        "apiVersion": "v1",
        "metadata": {"labels": labels, "name": "a", "managedFields": [{"name": "ignored"}]},
        "data": data,
    }
    value = encode_object(wire, raw)
    bare = {"labels": labels, "name": "a"}
    draft = Item.of("", 0, value)
    assert draft.managed == raw
    assert dict(draft.wire) == wire | {"metadata": bare}
    item = stamp("/a", value, 12)
    managed = {"managedFields": entries} if entries else {}
    for each, version in ((item, "12"), (restamp(item, 345), "345")):
        assert each.managed == raw
        assert each.labels == labels
        assert each.fresh() == wire | {"metadata": bare | {"resourceVersion": version}}
        assert each.whole()["metadata"] == bare | {"resourceVersion": version} | managed


@given(MAPS, MAPS)
def test_labels_are_found_wherever_they_stand(labels: dict[str, str], data: dict[str, str]):
    """An older version has stored them further behind; an object may have none."""
    for metadata in ({"name": "a", "uid": "b", "labels": labels}, {"name": "a", "labels": labels}):
        wire = {"kind": "X", "apiVersion": "v1", "metadata": metadata, "spec": {"labels": data}}
        assert stamp("/a", json.dumps(wire, separators=(",", ":")).encode(), 1).labels == labels
    bare = {"kind": "X", "apiVersion": "v1", "metadata": {"name": "a"}, "spec": {"labels": data}}
    assert stamp("/a", encode_object(bare), 1).labels == {}
