"""The watch stream: any chunks give the same events, and garbage is an error."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api import kinds
from control.client.errors import ApiError
from control.client.stream import (
    Bookmark,
    LineSplitter,
    MalformedStreamError,
    ObjectEvent,
    UnreadableEvent,
    parse_event,
)


@given(st.lists(st.binary(max_size=8).filter(lambda b: b"\n" not in b)), st.data())
def test_lines_do_not_depend_on_how_they_are_cut(lines, data):
    stream = b"".join(line + b"\n" for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    buffer = LineSplitter()
    assert [x for piece in pieces for x in buffer.feed(piece)] == [x for x in lines if x.strip()]


def event(verb: str, **wire) -> bytes:
    return orjson.dumps({"type": verb, "object": wire})


def test_objects_learn_their_kind_and_nulls_are_absent():
    line = event("ADDED", metadata={"name": "a", "resourceVersion": "7", "labels": None})
    found = parse_event(kinds.CONFIG_MAP, line)
    assert isinstance(found, ObjectEvent) and found.verb == "ADDED"
    assert (found.object.api_version, found.object.kind) == ("v1", "ConfigMap")
    assert found.object.metadata.labels == {}


def test_a_bookmark_is_a_version():
    line = event("BOOKMARK", metadata={"resourceVersion": "9"})
    assert parse_event(kinds.POD, line) == Bookmark("9")


def test_an_error_is_raised_as_the_servers_status():
    line = event("ERROR", kind="Status", code=410, reason="Expired", message="too old")
    with pytest.raises(ApiError) as caught:
        parse_event(kinds.POD, line)
    assert caught.value.expired and "watch pods: 410 Expired: too old" in str(caught.value)


def test_an_object_that_does_not_fit_its_model_is_reported():
    meta = {"name": "a", "namespace": "n", "resourceVersion": "3"}
    found = parse_event(kinds.POD, event("ADDED", kind="Pod", metadata=meta, spec={"nodeName": 7}))
    assert isinstance(found, UnreadableEvent) and found.resource_version == "3"
    assert "Pod n/a: spec.nodeName" in found.problem


@pytest.mark.parametrize(
    "line",
    [b"x", b"{}", b"[]", b"7", b'{"type":"ADDED"}', b'{"type":"NEW","object":{"metadata":{}}}'],
)
def test_garbage_is_malformed(line):
    with pytest.raises(MalformedStreamError, match="watch pods"):
        parse_event(kinds.POD, line)
