"""Every parser that a request to the API server reaches, as a function of bytes.

A parser may return, or refuse with a StatusError below 500 or with one of its own errors. Fuzz
tests feed the same table: ``tests/control/server/test_fuzz.py``.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric import ec

from control.api.kinds import CONFIG_MAP, DEPLOYMENT, KINDS, NODE, POD, SERVICE
from control.api.selectors import SelectorError, parse_fields, parse_labels
from control.server.access.authn import Authenticator
from control.server.access.authz import Authorizer
from control.server.access.reviews import Reviewer, ReviewTarget, review
from control.server.pages.discovery import REVIEWS
from control.server.state.server import ApiServerConfig, ServerState
from control.server.state.watch_cache import WatchCache
from control.server.verbs.create import complete
from control.server.verbs.delete import read_options
from control.server.verbs.patches import json_patch, merge, strategic
from control.server.verbs.patches.errors import (
    MalformedPatchError,
    PatchConflictError,
    PatchTooLargeError,
)
from control.server.verbs.read import _parse_token
from control.server.wire import info
from control.server.wire.accept import parse_accept
from control.server.wire.body import check_size, decode_body, read_body
from control.server.wire.decode import read, read_message
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key
from control.server.wire.item import Item, encode_object
from control.server.wire.media import JSON, PROTOBUF, YAML
from control.server.wire.request import ApiRequest, User
from control.server.wire.strict import complaints
from control.store.memory import MemoryStore
from control.tokens import TokenSigner
from tests.support.control.requests import deployment, pod, service

REFUSALS = (
    SelectorError,
    MalformedPatchError,
    PatchConflictError,
    PatchTooLargeError,
)
_SIGNER = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
ADMIN = User("admin", ("system:masters",))
_KINDS = (POD, SERVICE, DEPLOYMENT, CONFIG_MAP, NODE)
_OLD = {
    "spec": pod()["spec"] | {"tolerations": [{"key": "a"}]},
    "metadata": {"name": "p", "finalizers": ["a"], "ownerReferences": [{"uid": "1"}]},
}


def header(data: bytes) -> str:
    """Text as aiohttp gives a header: bytes that are no UTF-8 become surrogates."""
    return data.decode("utf-8", "surrogateescape")


def text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def request(kind: Any, name: str = "p") -> ApiRequest:
    return ApiRequest(RequestInfo("create", kind, "default", name), ADMIN)


def state() -> ServerState:
    """A server's state with one namespace, which nothing follows."""
    store = MemoryStore()
    made = ServerState(ApiServerConfig(), store, WatchCache(store))
    namespace = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}}
    key = storage_key(KINDS[0], "", "default")
    made.cache.of(KINDS[0]).put(Item.of(key, 1, encode_object(namespace)))
    return made


def value_of(data: bytes) -> Any:
    """JSON within the limits of a body; None for anything else."""
    try:
        value = orjson.loads(data)
        check_size(value)
    except (orjson.JSONDecodeError, StatusError):
        return None
    return value


def path(data: bytes) -> None:
    method, _, rest = text(data).partition(" ")
    where, _, query = rest.partition("?")
    info.parse(method, where, {query.partition("=")[0]: query.partition("=")[2]})


def query(data: bytes) -> None:
    name, _, value = text(data).partition("=")
    asked = ApiRequest(RequestInfo("list", POD, "default"), ADMIN, {name: value})
    for number in ("limit", "resourceVersion", "timeoutSeconds"):
        ApiRequest(asked.info, ADMIN, {number: value}).number(number)
    _ = ApiRequest(asked.info, ADMIN, {"fieldValidation": value}).field_validation
    _ = ApiRequest(asked.info, ADMIN, {"dryRun": value}).dry_run


def accept(data: bytes) -> None:
    parse_accept(header(data)).representation()


def authorization(data: bytes) -> None:
    known = Authenticator({"t\u00f6ken": ADMIN})
    known.user(None, header(data))
    known.user(None, f"Bearer {header(data)}")


def account_token(data: bytes) -> None:
    assert _SIGNER.verify(header(data), datetime.now(UTC)) is None


def token(data: bytes) -> None:
    _parse_token(header(data), ApiRequest(RequestInfo("list", POD, "default"), ADMIN))


def labels(data: bytes) -> None:
    parse_labels(text(data)).matches({"app": "web"})


def fields(data: bytes) -> None:
    parse_fields(text(data)).matches(_OLD)


def body(data: bytes) -> None:
    kind, _, rest = data.partition(b"\n")
    found = read_body(rest, header(kind), simple=bool(len(kind) % 2))
    found.decoded().object()


def protobuf(data: bytes) -> None:
    encode_or_refuse(decode_body(b"k8s\0" + data, PROTOBUF).value)


def yaml(data: bytes) -> None:
    encode_or_refuse(decode_body(data, YAML).value)


def encode_or_refuse(value: Any) -> None:
    json.dumps(orjson.loads(orjson.dumps(value)))


def objects(data: bytes) -> None:
    value = value_of(data)
    if not isinstance(value, dict):
        return
    for kind in _KINDS:
        wire, unknown = read(kind, value)
        complaints(kind, "Warn", decode_body(data, JSON), unknown)
        complete(state(), request(kind), wire)


def patch(data: bytes) -> None:
    value = value_of(data)
    merge.apply(_OLD, value)
    for name in ("core.v1.Pod", ""):
        strategic.apply(_OLD, value, name)


def operations(data: bytes) -> None:
    check_size(json_patch.apply(_OLD, value_of(data)))


def options(data: bytes) -> None:
    value = value_of(data)
    if isinstance(value, dict):
        read_options(request(POD), read_message("meta.DeleteOptions", value))


def reviews(data: bytes) -> None:
    authorizer = Authorizer(state().cache, ("RBAC",))
    for found in REVIEWS:
        asks = Reviewer(ADMIN, Authenticator(), authorizer)
        review(asks, ReviewTarget(found, "default"), decode_body(data, JSON))


PARSERS: dict[str, Callable[[bytes], None]] = {
    parser.__name__: parser
    for parser in (
        path,
        query,
        accept,
        authorization,
        account_token,
        token,
        labels,
        fields,
        body,
        protobuf,
        yaml,
        objects,
        patch,
        operations,
        options,
        reviews,
    )
}


def seeds() -> dict[str, list[bytes]]:
    """Valid inputs of each parser."""
    samples = [json.dumps(made).encode() for made in (pod(), service(), deployment())]
    operation = [{"op": "copy", "from": "/spec", "path": "/x"}, {"op": "test", "path": "/a/0"}]
    review_ = {"spec": {"resourceAttributes": {"verb": "get"}, "token": "t", "groups": ["a"]}}
    return {
        "path": [b"GET /api/v1/namespaces/default/pods/p/status?watch=1"],
        "query": [b"limit=5", b"fieldValidation=Strict", b"dryRun=All"],
        "accept": [b"application/json;as=Table;v=v1;g=meta.k8s.io;q=0.9,*/*"],
        "authorization": [b"Bearer t\xc3\xb6ken", b"Bearer \xff"],
        "account_token": [_SIGNER.sign({"iss": _SIGNER.issuer, "exp": 1.0}).encode()],
        "token": [b"eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0"],
        "labels": [b"app=web,tier in (a,b),!canary,n>5"],
        "fields": [b"spec.nodeName=a,status.phase!=Failed"],
        "body": [b"application/json\n{}", b"application/vnd.kubernetes.protobuf\nk8s\0"],
        "protobuf": [
            b"\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x0b\x0a\x03\x0a\x01a\x12\x04\x12\x02\x0a\x00"
        ],
        "yaml": [b"a: &x [yes, 0o17, {<<: {b: c}, 1.5: !!int '5'}]\n'd': *x\n", b"- |\n  a\n- ~"],
        "objects": samples,
        "patch": [*samples, b'{"spec":{"$retainKeys":["containers"],"containers":[{"name":"c"}]}}'],
        "operations": [json.dumps(operation).encode()],
        "options": [b'{"gracePeriodSeconds":5,"preconditions":{"uid":"a"},"dryRun":["All"]}'],
        "reviews": [json.dumps(review_).encode()],
    }


def feed(name: str, data: bytes) -> None:
    """Give an input to a parser; raises whatever is not a refusal."""
    try:
        PARSERS[name](data)
    except REFUSALS:
        return
    except StatusError as err:
        assert err.code < 500, err.status
        json.loads(err.body())
