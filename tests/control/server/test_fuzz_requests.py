"""Requests of every sort, each part of them odd: none is answered by a 5xx, or logs a traceback."""

import asyncio
import base64
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from control.server.access.authn import Authenticator
from control.server.app import serve
from control.server.state.server import ApiServerConfig
from control.server.streams.target import TARGETS
from control.server.wire.media import APPLY_PATCH, JSON, JSON_PATCH, MERGE_PATCH, YAML
from control.store.memory import MemoryStore
from control.tokens import TokenSigner
from tests.support.control.requests import APPS, CORE, config_map, deployment, pod
from tests.support.control.typed import ANY, WORDS, message

MAPS = f"{CORE}/configmaps"
CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
REVIEWS = "/apis/authorization.k8s.io/v1"
TOKENS = f"{CORE}/serviceaccounts/robot/token"
# Upstream answers 500 to these, too.
KNOWN = re.compile(
    rb"without impersonating a user|failed to create typed|request is too large"
    rb"|Too large resource version|has no address in its status|it cannot ask nodes for logs"
    rb"|resourceVersion: Invalid value"
)
BRIEF = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass
class Door:
    """Raw requests to a server, each on a connection of its own."""

    port: int
    loop: asyncio.AbstractEventLoop

    def __call__(
        self, method: str, path: str, headers: list[tuple[str, bytes]], body: bytes = b""
    ) -> int:
        """Send a request from another thread; returns the code, which must be below 500."""
        work = self.send(method, path, headers, body)
        code, answer = asyncio.run_coroutine_threadsafe(work, self.loop).result(250)
        assert code < 500 or KNOWN.search(answer), (method, path, headers, body, code, answer)
        return code

    async def send(
        self, method: str, path: str, headers: list[tuple[str, bytes]], body: bytes
    ) -> tuple[int, bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [b"%b: %b\r\n" % (name.encode(), value) for name, value in headers]
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"".join(lines) + b"\r\n" + body)
        code = int((await reader.readline()).split()[1])
        answer = await reader.read(4096) if code >= 400 else b""
        writer.close()
        return code, answer


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    bound = socket.create_server(("127.0.0.1", 0))
    store = MemoryStore()
    async with serve(
        store,
        [bound],
        config=ApiServerConfig(authorization_modes=("RBAC",)),
        authenticator=Authenticator(trusting=True),
        tokens=TokenSigner(ec.generate_private_key(ec.SECP256R1())),
    ):
        made = Door(bound.getsockname()[1], asyncio.get_running_loop())
        kind = [("Content-Type", b"application/json")]
        for path, wire in (
            (MAPS, config_map()),
            (f"{CORE}/pods", pod()),
            ("/api/v1/nodes", {"metadata": {"name": "n"}}),
            (f"{CORE}/pods", pod("bound", nodeName="n")),
            (f"{CORE}/serviceaccounts", {"metadata": {"name": "robot"}}),
            (f"{APPS}/deployments", deployment()),
        ):
            code, answer = await made.send("POST", path, kind, json.dumps(wire).encode())
            assert code == 201, answer
        yield made
    await store.close()


async def run(check: Callable[[], None], caplog: pytest.LogCaptureFixture) -> None:
    """Run a hypothesis test beside the server."""
    await asyncio.to_thread(check)
    assert not [record for record in caplog.records if record.exc_info]


OPTIONS = {
    "labelSelector": ["a=b", "a in (b,c)", "!a", "a>1", "a==", ",", "a in", "x" * 300, "\u00e4=1"],
    "fieldSelector": ["metadata.name=a", "metadata.name!=a", "x=y", "=", "metadata.name=a,b"],
    "limit": ["0", "1", "-1", "x", "9" * 30],
    "continue": ["", "x", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhIn0", "e30", "W10"],
    "resourceVersion": ["0", "1", "7", "-1", "x", "9" * 18, "9" * 30],
    "resourceVersionMatch": ["Exact", "NotOlderThan", "x"],
    "timeoutSeconds": ["0", "1", "-1", "x", "9" * 18, "9" * 30],
    "sendInitialEvents": ["true", "false", "x"],
    "allowWatchBookmarks": ["true", "x"],
    "watch": ["true", "1", "x"],
    "pretty": ["true", "x"],
    "includeObject": ["None", "Metadata", "Object", "x"],
}
QUERIES = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(values) | WORDS for name, values in OPTIONS.items()}
).map(urlencode)
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
FORMS = [JSON, YAML, TABLE, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"]
ACCEPTS = st.lists(
    st.sampled_from([*FORMS, "*/*", "application/*", "application/cbor", "text/plain", ""])
    | st.sampled_from([f"{TABLE};q=0.5", "a;q=x", "*/*;q=-1", "*/*;q=nan", ";;=", '"', "a;b=,c"]),
    max_size=3,
).map(",".join).map(str.encode) | st.binary(max_size=20).map(
    lambda raw: re.sub(rb"[\0-\x1f\x7f]", b"", raw)
)
PLACES = [MAPS, f"{MAPS}/a", f"{CORE}/pods", "/api/v1/pods", "/api/v1/watch/pods", "/api"]
PLACES += ["/apis", "/apis/apps/v1", "/version", "/openapi/v2", "/openapi/v3", "/healthz"]


async def test_options_of_a_list_and_what_is_accepted(door: Door, caplog: pytest.LogCaptureFixture):
    @BRIEF
    @given(st.sampled_from(PLACES), QUERIES, ACCEPTS, st.sampled_from(["GET", "HEAD", "DELETE"]))
    @example(MAPS, "timeoutSeconds=999999999999999999&watch=1", b"*/*", "GET")
    @example(MAPS, "limit=1", b"application/json;q=nan", "GET")
    def check(path: str, query: str, accept: bytes, method: str) -> None:
        door("GET" if method == "DELETE" else method, f"{path}?{query}", [("Accept", accept)])
        if method == "DELETE":
            door("DELETE", f"{CORE}/secrets?{query}", [("Accept", accept)])

    await run(check, caplog)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["User"] * 3 + ["Group", "Uid", "Extra-a", "Extra-%", "Extra-%ff", "Extra-", "X"]
        ),
        WORDS.map(str.encode) | st.binary(max_size=9),
    ),
    max_size=4,
).map(
    lambda found: [
        (f"Impersonate-{name}", re.sub(rb"[\0-\x1f\x7f]", b"", value)) for name, value in found
    ]
)


async def test_impersonation(door: Door, caplog: pytest.LogCaptureFixture):
    whoami = b'{"kind":"SelfSubjectReview"}'

    @BRIEF
    @given(HEADERS)
    @example([("Impersonate-User", b"system:serviceaccount:"), ("Impersonate-Group", b"\xff")])
    def check(headers: list[tuple[str, bytes]]) -> None:
        door("GET", MAPS, headers)
        sent = [*headers, ("Content-Type", b"application/json")]
        door("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", sent, whoami)

    await run(check, caplog)


BODIES = [
    ("POST", TOKENS, "authentication.TokenRequest"),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", "authentication.TokenReview"),
    ("POST", f"{REVIEWS}/subjectaccessreviews", "authorization.SubjectAccessReview"),
    ("POST", f"{REVIEWS}/selfsubjectrulesreviews", "authorization.SelfSubjectRulesReview"),
    ("POST", f"{CORE}/pods/p/eviction", "policy.Eviction"),
    ("POST", f"{CORE}/pods/p/binding", "core.Binding"),
    ("POST", f"{CORE}/bindings", "core.Binding"),
    ("PUT", f"{APPS}/deployments/d/scale", "autoscaling.Scale"),
    ("PATCH", f"{APPS}/deployments/d/scale", "autoscaling.Scale"),
    ("PATCH", f"{APPS}/deployments/d/status", "apps.Deployment"),
    ("PUT", f"{CORE}/pods/p/status", "core.Pod"),
    ("PATCH", f"{CORE}/pods/p/ephemeralcontainers", "core.Pod"),
    ("DELETE", f"{MAPS}/none", "meta.DeleteOptions"),
    ("DELETE", f"{CORE}/secrets", "meta.DeleteOptions"),
    ("PUT", "/api/v1/namespaces/kube-public/finalize", "core.Namespace"),
]


@pytest.mark.parametrize(("method", "path", "name"), BODIES)
async def test_bodies_of_subresources_and_reviews(
    door: Door, caplog: pytest.LogCaptureFixture, method: str, path: str, name: str
):
    media = [JSON, YAML] if method != "PATCH" else [MERGE_PATCH, APPLY_PATCH]

    @settings(BRIEF, max_examples=15)
    @given(message(name) | ANY, st.sampled_from(media))
    def check(wire: Any, kind: str) -> None:
        asked = f"{path}?fieldManager=f&force=true" if kind == APPLY_PATCH else path
        if isinstance(wire, dict) and kind == APPLY_PATCH:
            named = ("autoscaling/v1", "Scale") if "scale" in path else ("apps/v1", "Deployment")
            wire = wire | {"apiVersion": named[0], "kind": named[1]}
        door(method, asked, [("Content-Type", kind.encode())], json.dumps(wire).encode())

    await run(check, caplog)


ENTRIES = st.lists(message("meta.ManagedFieldsEntry") | ANY, max_size=3)


async def test_managers_of_fields(door: Door, caplog: pytest.LogCaptureFixture):
    valid = {"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "manager": "m"}

    @BRIEF
    @given(ENTRIES, st.booleans())
    def check(entries: list[Any], known: bool) -> None:
        if known:
            entries = [valid | each if isinstance(each, dict) else each for each in entries]
        wire = config_map("a", x="y")
        wire["metadata"]["managedFields"] = entries
        patch = [{"op": "replace", "path": "/metadata/managedFields", "value": entries}]
        for method, kind, sent in (
            ("PUT", JSON, wire),
            ("PATCH", JSON_PATCH, patch),
            ("PATCH", MERGE_PATCH, wire),
            ("PATCH", APPLY_PATCH, wire | {"apiVersion": "v1", "kind": "ConfigMap"}),
            (
                "PATCH",
                APPLY_PATCH,
                config_map("a", x="z") | {"apiVersion": "v1", "kind": "ConfigMap"},
            ),
        ):
            path = f"{MAPS}/a" + "?fieldManager=f&force=1" * (kind == APPLY_PATCH)
            door(method, path, [("Content-Type", kind.encode())], json.dumps(sent).encode())

    await run(check, caplog)


async def test_signing_requests(door: Door, caplog: pytest.LogCaptureFixture):
    pem = st.sampled_from(["CERTIFICATE REQUEST", "CERTIFICATE", ""]).flatmap(
        lambda kind: st.binary(max_size=40).map(
            lambda raw: (
                f"-----BEGIN {kind}-----\n{base64.b64encode(raw).decode()}\n-----END {kind}-----\n"
            )
        )
    )
    requests = (pem.map(str.encode) | st.binary(max_size=40)).map(
        lambda raw: base64.b64encode(raw).decode()
    )
    signer = {"signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]}

    @BRIEF
    @given(message("certificates.CertificateSigningRequest"), requests, st.booleans())
    def check(wire: dict[str, Any], request: str, known: bool) -> None:
        wire["metadata"] = {"name": "c"}
        if known:
            wire["spec"] = signer | {"request": request}
        kind, body = [("Content-Type", b"application/json")], json.dumps(wire).encode()
        door("POST", CSRS, kind, body)
        for place in ("", "/status", "/approval"):
            door("PUT", f"{CSRS}/c{place}", kind, body)
        door("DELETE", f"{CSRS}/c", kind)

    await run(check, caplog)


STREAMS = st.lists(
    st.tuples(
        st.sampled_from(["container", "command", "stdin", "tty", "ports", "port", "follow"])
        | st.sampled_from(["tailLines", "limitBytes", "sinceSeconds", "sinceTime", "stream"]),
        WORDS | st.sampled_from(["c", "1", "true", "0", "9" * 30, "2026-01-01T00:00:00"]),
    ),
    max_size=5,
)
NODES = st.builds(
    lambda address, port: {"status": {"addresses": address, "daemonEndpoints": port}},
    st.lists(message("core.NodeAddress"), max_size=2),
    st.fixed_dictionaries({"kubeletEndpoint": message("core.DaemonEndpoint")}),
)


@pytest.mark.parametrize("verb", TARGETS)
async def test_options_of_streams(door: Door, caplog: pytest.LogCaptureFixture, verb: str):
    kind = [("Content-Type", b"application/json")]

    @BRIEF
    @given(STREAMS, NODES)
    def check(options: list[tuple[str, str]], node: dict[str, Any]) -> None:
        node = {"metadata": {"name": "n"}} | node
        door("PUT", "/api/v1/nodes/n/status", kind, json.dumps(node).encode())
        for name in ("p", "bound"):
            path = f"{CORE}/pods/{name}/{verb}?{urlencode(options)}"
            door("GET", path, [("Upgrade", b"websocket"), ("Connection", b"Upgrade")])
            door("POST", path, [])

    await run(check, caplog)
