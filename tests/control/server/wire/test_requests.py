"""Parsed requests: path, Accept, field validation, deletion options, protobuf."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api import kinds
from control.api.kinds import KINDS
from control.server.pages.discovery import discovery
from control.server.verbs.marking import PROPAGATIONS, DeletionOptions, finished, mark
from control.server.wire.accept import Accept, Representation, RepresentationKind, parse_accept
from control.server.wire.body import decode_body
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, parse, storage_key, storage_prefix
from control.server.wire.item import encode_object, restamp, stamp
from control.server.wire.protobuf.decode import to_json
from control.server.wire.protobuf.wire import ProtobufError
from control.server.wire.strict import complaints, duplicate_complaints, unknown_complaints

NOW = datetime(2026, 1, 1, tzinfo=UTC)


_ONE = "/api/v1/namespaces/n"


@pytest.mark.parametrize(
    ("method", "path", "query", "info"),
    [
        ("GET", "/api/v1/pods", {}, RequestInfo("list", kinds.POD)),
        ("GET", "/api/v1/pods", {"watch": "true"}, RequestInfo("watch", kinds.POD)),
        ("GET", f"{_ONE}/pods/p", {}, RequestInfo("get", kinds.POD, "n", "p")),
        ("POST", f"{_ONE}/pods", {}, RequestInfo("create", kinds.POD, "n")),
        ("PUT", f"{_ONE}/pods/p/status", {}, RequestInfo("update", kinds.POD, "n", "p", "status")),
        (
            "POST",
            f"{_ONE}/pods/p/binding",
            {},
            RequestInfo("create", kinds.POD, "n", "p", "binding"),
        ),
        ("POST", f"{_ONE}/bindings", {}, RequestInfo("create", kinds.POD, "n", "", "binding")),
        ("GET", _ONE, {}, RequestInfo("get", kinds.NAMESPACE, "", "n")),
        ("GET", "/api/v1/namespaces", {}, RequestInfo("list", kinds.NAMESPACE)),
        (
            "PUT",
            f"{_ONE}/finalize",
            {},
            RequestInfo("update", kinds.NAMESPACE, "", "n", "finalize"),
        ),
        ("DELETE", f"{_ONE}/pods", {}, RequestInfo("deletecollection", kinds.POD, "n")),
        ("PATCH", "/api/v1/nodes/x", {}, RequestInfo("patch", kinds.NODE, "", "x")),
    ],
)
def test_paths(method: str, path: str, query: dict[str, str], info: RequestInfo):
    assert parse(method, path, query) == info


_METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
_WORDS = "api,apis,v1,apps,namespaces,n,pods,p,status,deployments,..,bindings,".split(",")  # noqa: SIM905
_PARTS = st.sampled_from(_WORDS)


@given(_METHODS, st.lists(_PARTS, max_size=9))
def test_any_path_is_a_request_or_refused(method: str, parts: list[str]):
    try:
        info = parse(method, "/" + "/".join(parts), {})
    except StatusError as err:
        assert err.code in (404, 405)
    else:
        assert info.kind in KINDS


def test_no_key_lies_below_another_kind():
    prefixes = [storage_prefix(kind) for kind in KINDS]
    assert len(set(prefixes)) == len(prefixes)
    assert storage_key(kinds.POD, "n", "p") == "/registry/core/pods/n/p"
    assert storage_key(kinds.NODE, "ignored", "x") == "/registry/core/nodes/x"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Representation()),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
            Representation(RepresentationKind.TABLE),
        ),
        (
            "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
            Representation(RepresentationKind.TABLE, "v1beta1"),
        ),
        (
            "application/vnd.kubernetes.protobuf,application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
            Representation(RepresentationKind.PARTIAL),
        ),
        ("application/json;as=Table;v=v1;g=meta.k8s.io;q=0.5,*/*", Representation()),
        ("text/html, */*;q=0.8", Representation()),
    ],
)
def test_accept_headers_select_a_representation(accept: str, form: Representation):
    assert parse_accept(accept).representation() == form


@given(st.text(max_size=60))
def test_any_accept_header_gives_a_representation_or_406(accept: str):
    try:
        parse_accept(accept).representation()
    except StatusError as err:
        assert err.code == 406


def test_complaints_name_paths():
    body = b'{"a":{"b":1,"b":2},"l":[{"c":1},{"c":1,"c":2}],"a":1}'
    assert duplicate_complaints("Warn", decode_body(body, "application/json")) == [
        'duplicate field "a.b"',
        'duplicate field "l[1].c"',
        'duplicate field "a"',
    ]
    pod = {"spec": {"containers": [{"name": "a"}, {"nam": "b"}], "x": 1}, "y": 2}
    assert unknown_complaints(kinds.POD, "Warn", pod) == [
        'unknown field "spec.containers[1].nam"',
        'unknown field "spec.x"',
        'unknown field "y"',
    ]


def test_complaints_come_in_the_order_of_the_text():
    """As sigs.k8s.io/json finds them: unknown and repeated fields in one order."""
    body = (
        b'{"unknown1":1,"kind":"Pod","unknownDupe":1,"unknownDupe":{"a":1,"a":2},"spec":{'
        b'"x":{"y":1,"y":2},"nodeName":"a","nodeName":"b","nodeSelector":{"k":"1","k":"2"},'
        b'"containers":[{"name":"c","nam":"d","name":"c"}]},"spec":{"z":1}}'
    )
    found = complaints(kinds.POD, "Warn", decode_body(body, "application/json"), [])
    assert found == [
        'unknown field "unknown1"',
        'unknown field "unknownDupe"',
        'unknown field "spec.x"',
        'duplicate field "spec.nodeName"',
        'duplicate field "spec.nodeSelector.k"',
        'unknown field "spec.containers[0].nam"',
        'duplicate field "spec.containers[0].name"',
        'duplicate field "spec"',
        'unknown field "spec.z"',
    ]


@pytest.mark.parametrize(
    ("text", "complaints"),
    [
        (b'{"a":{"b":1, "b" :2}}', ['duplicate field "a.b"']),
        (b'{"a":"x\\":","b":[{"c":null}]}', []),
        (b'{"a":"\\":\\":", "a": 1}', ['duplicate field "a"']),
        (b'{"a":{"":1}, "b": "\\\\"}', []),
    ],
)
def test_text_in_strings_is_not_a_repeated_field(text: bytes, complaints: list[str]):
    assert duplicate_complaints("Warn", decode_body(text, "application/json")) == complaints
    assert duplicate_complaints("Ignore", decode_body(text, "application/json")) == []


def test_every_kind_is_discovered_in_every_form():
    everything = {(kind.group, kind.plural) for kind in KINDS}
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found: set[tuple[str, str]] = set()
    for root in ("/api", "/apis"):
        document = discovery(root, parse_accept(accept), "a:1")
        assert document is not None
        for item in document["items"]:
            group = item["metadata"].get("name", "")
            resources = item["versions"][0]["resources"]
            found |= {(group, resource["resource"]) for resource in resources}
    assert everything <= found
    listed = {
        (kind.group, resource["name"])
        for kind in KINDS
        for resource in (discovery(kind.path().rpartition("/")[0], Accept(), "a:1") or {})[
            "resources"
        ]
    }
    assert everything <= listed


def test_an_object_is_encoded_once_and_its_revision_inserted():
    wire = {
        "data": {"metadata": "x"},
        "metadata": {"name": "a", "resourceVersion": "9", "managedFields": [{}]},
        "kind": "ConfigMap",
        "apiVersion": "v1",
    }
    item = stamp("/k", encode_object(wire), 12)
    metadata = {"name": "a", "resourceVersion": "12"}
    assert item.wire == wire | {"metadata": metadata}
    assert restamp(item, 345).wire["metadata"]["resourceVersion"] == "345"


FINALIZERS = st.lists(
    st.sampled_from(["orphan", "foregroundDeletion", "a.io/x"]), unique=True, max_size=3
)


@given(
    FINALIZERS,
    st.sampled_from(["", *PROPAGATIONS]),
    st.none() | st.integers(-1, 60),
    st.sampled_from(["", "n1"]),
    st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
)
def test_marking(finalizers: list[str], propagation: str, grace: int | None, node: str, phase: str):
    wire: dict[str, Any] = {
        "metadata": {"name": "p", "generation": 1, "finalizers": finalizers},
        "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30},
        "status": {"phase": phase},
    }
    options = DeletionOptions(grace, propagation)
    once = mark(kinds.POD, wire, options, NOW)
    metadata = once["metadata"]
    assert mark(kinds.POD, once, options, NOW) == once
    assert metadata["deletionTimestamp"] >= "2026-01-01T00:00:00Z"
    waits = bool(node) and phase in ("Pending", "Running") and grace != 0
    assert bool(metadata["deletionGracePeriodSeconds"]) == waits
    assert finished(once) == (not waits and not metadata.get("finalizers"))
    assert ("a.io/x" in finalizers) == ("a.io/x" in metadata.get("finalizers", []))
    now = mark(kinds.POD, once, DeletionOptions(0, "Background"), NOW)
    assert finished(now) == ("a.io/x" not in finalizers)


def field(number: int, payload: bytes | int) -> bytes:
    if isinstance(payload, int):
        return varint(number << 3) + varint(payload)
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def envelope(version: str, kind: str, raw: bytes) -> bytes:
    meta = field(1, version.encode()) + field(2, kind.encode())
    return b"k8s\0" + field(1, meta) + field(2, raw)


def test_a_service_in_protobuf():
    metadata = field(1, b"s") + field(11, field(1, b"a") + field(2, b"b")) + field(8, b"")
    target = field(1, 1) + field(3, b"http")
    port = field(1, b"") + field(3, 80) + field(4, target) + field(5, 0)
    spec = field(1, port) + field(3, b"None") + field(13, 0) + field(20, 0)
    body = envelope("v1", "Service", field(1, metadata) + field(2, spec))
    assert to_json(body) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "labels": {"a": "b"}},
        "spec": {
            "ports": [{"port": 80, "targetPort": "http"}],
            "clusterIP": "None",
            "allocateLoadBalancerNodePorts": False,
        },
    }


def test_times_quantities_numbers_and_bytes_in_protobuf():
    time = field(1, 1_700_000_000)
    lease = field(3, time + field(2, 5_000)) + field(2, -1)
    made = to_json(envelope("coordination.k8s.io/v1", "Lease", field(2, lease)))
    assert made["spec"] == {
        "acquireTime": "2023-11-14T22:13:20.000005Z",
        "leaseDurationSeconds": -1,
    }
    secret = field(2, field(1, b"k") + field(2, b"\xff\x00"))
    data = to_json(envelope("v1", "Secret", secret))["data"]
    assert base64.b64decode(data["k"]) == b"\xff\x00"
    requests = field(2, field(1, b"cpu") + field(2, field(1, b"500m")))
    container = field(1, b"c") + field(8, requests)
    pod = to_json(envelope("v1", "Pod", field(2, field(2, container))))
    assert pod["spec"]["containers"][0]["resources"] == {"requests": {"cpu": "500m"}}


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_refused(raw: bytes):
    for body in (
        raw,
        b"k8s\0" + raw,
        envelope("v1", "Pod", raw),
        envelope("apps/v1", "Deployment", raw),
    ):
        try:
            made = to_json(body)
        except ProtobufError:
            continue
        assert isinstance(made, dict)
