"""Hostile requests: each gets an answer with the cause, never a traceback or a 500."""

import asyncio
import gzip
import io
import json
import string
from base64 import urlsafe_b64encode

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control.api.kinds import KINDS
from control.api.types.table import fields_of, message_name
from control.server.bugs import RepeatedBugs
from control.server.wire.body import BODY_LIMIT
from tests.support.control.api_server import ApiServer
from tests.support.control.requests import (
    APPS,
    CORE,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Api,
    config_map,
    deployment,
    pod,
    service,
)

MAPS = f"{CORE}/configmaps"
ADMIT = ("POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS")


def nested(depth: int) -> bytes:
    return b'{"metadata":{"name":"a"},"data":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"metadata":[]}',
        b'{"metadata":{"name":7}}',
        b'{"metadata":{"name":"a","labels":[]}}',
        b'{"metadata":{"name":"a"},"data":{"x":' + b"9" * 5000 + b"}}",
        b'{"metadata":{"name":"' + b"a" * 300 + b'"}}',
        b'{"metadata":{"name":"../../etc"}}',
        b'{"metadata":{"name":"a\\u0000b"}}',
        b'{"kind":"Pod","metadata":{"name":"a"}}',
        nested(50),
        nested(200),
        nested(100_000),
        b"[" * 100_000,
    ],
)
async def test_bodies_that_are_not_objects(api: Api, body: bytes):
    reply = await api("POST", MAPS, body)
    assert reply.code in (400, 422), reply
    assert reply["kind"] == "Status" and reply["message"]


@pytest.mark.parametrize("media", [MERGE, STRATEGIC, JSON_PATCH])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"7",
        b'"x"',
        b"[7]",
        b'[{"op":"add"}]',
        b'[{"op":"fly","path":"/x"}]',
        b'[{"op":"add","path":"x","value":1}]',
        b'[{"op":"remove","path":"/none/there"}]',
        b'[{"op":"replace","path":"","value":7}]',
        b'{"metadata":7}',
        b'{"metadata":{"name":"b"}}',
        b'{"data":{"$patch":"fly"}}',
        b'{"metadata":{"ownerReferences":[{"kind":"x"}]}}',
        nested(90_000),
    ],
)
async def test_malformed_patches_are_refused(api: Api, media: str, body: bytes):
    await api.make(MAPS, config_map())
    reply = await api("PATCH", f"{MAPS}/a", body, media)
    assert reply.code in (400, 422), reply
    assert reply["message"]


@pytest.mark.parametrize(
    "body",
    [
        b'{"$setElementOrder/data":7}',
        b'{"metadata":{"$retainKeys":7}}',
        b'{"metadata":{"$deleteFromPrimitiveList/finalizers":7}}',
        b'{"metadata":{"ownerReferences":[7]}}',
    ],
)
async def test_unknown_directives_are_refused(api: Api, body: bytes):
    await api.make(MAPS, config_map())
    assert (await api("PATCH", f"{MAPS}/a", body, STRATEGIC)).code in (400, 422)


async def test_a_json_patch_cannot_copy_without_limit(api: Api):
    await api.make(MAPS, config_map(x="y" * 1000))
    double = [{"op": "copy", "from": "/data", "path": f"/data/{n}"} for n in range(60)]
    reply = await api("PATCH", f"{MAPS}/a", double, JSON_PATCH)
    assert reply.code in (400, 422)


async def test_a_body_that_is_too_large(api: Api):
    body = io.BytesIO(json.dumps(config_map(x="y" * BODY_LIMIT)).encode())
    async with api.session.post(MAPS, data=body) as answer:
        assert answer.status == 413
        assert (await answer.json())["reason"] == "RequestEntityTooLarge"


async def test_a_token_that_is_no_text_is_unknown(api: Api, api_server: ApiServer):
    reader, writer = await asyncio.open_connection("127.0.0.1", api_server.port)
    writer.write(b"GET /api/v1/pods HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n")
    assert (await reader.readline()).split()[1] == b"401"
    writer.close()


async def raw(api_server: ApiServer, request: bytes) -> tuple[int, bytes]:
    """Send bytes of a request that ends its connection; returns the answer's code and the rest."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api_server.port)
    writer.write(request)
    line, _, rest = (await reader.read()).partition(b"\r\n")
    writer.close()
    return int(line.split()[1]), rest


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"FLY / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: a\r\n" * 200 + b"\r\n",
        b"GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfly\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_and_not_logged(
    api_server: ApiServer, caplog: pytest.LogCaptureFixture, request_: bytes
):
    code, _ = await raw(api_server, request_)
    assert code == 400
    assert not caplog.records


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "fly"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", MAPS),
        ("PUT", f"{MAPS}/a"),
        ("DELETE", f"{MAPS}/a"),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
    ],
)
async def test_a_compressed_body_is_not_unpacked(
    api: Api, api_server: ApiServer, method: str, path: str, coding: str
):
    """As upstream, which reads its bytes as they are."""
    body = gzip.compress(b'{"metadata":{"name":"a"}}') if coding == "gzip" else b"\x1b\x78packed"
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Encoding: {coding}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    code, rest = await raw(api_server, f"{head}Connection: close\r\n\r\n".encode() + body)
    assert code == 400 and b'"kind":"Status"' in rest
    assert (await api("GET", f"{MAPS}/a")).code == 404


async def test_a_long_selector_is_read(api: Api):
    names = ",".join(f"name-{n:05}" for n in range(4000))
    assert (await api("GET", f"{MAPS}?labelSelector=a+in+({names})")).code == 200


async def test_a_repeated_bug_is_logged_once_a_minute(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("control.server.http.handler.verb_of", broken)
    for _ in range(3):
        assert (await api("GET", MAPS)).code == 500
    assert [record.message for record in caplog.records] == [f"GET {MAPS}"]


def test_a_bug_is_reported_again_with_its_count():
    now = [0.0]
    bugs = RepeatedBugs(lambda: now[0])
    first, other = ValueError("a"), KeyError("a")
    assert [bugs.count(first), bugs.count(first), bugs.count(other)] == ["", None, ""]
    now[0] = 61.0
    assert bugs.count(ValueError("b")) == " (and 1 times since the last report)"


async def test_a_null_of_an_optional_object_is_absent(api: Api):
    spec = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": None}
    made = await api.make(f"{CORE}/services", service(**spec))
    assert made["spec"]["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


@pytest.mark.parametrize("spec", [True, 7, "x", [], {"jobTemplate": 1}, {"template": 1}])
async def test_an_unknown_spec_may_be_anything(api: Api, spec: object):
    await api.make(MAPS, config_map("a") | {"spec": spec})
    reply = await api("PATCH", f"{MAPS}/a", {"spec": spec, "data": {"a": "b"}}, MERGE)
    assert reply.code == 200, reply


async def test_complaints_are_limited(api: Api):
    unknown = {f"field{n}\r\nX-Evil: 1": 1 for n in range(2000)}
    reply = await api("POST", MAPS, config_map() | unknown)
    assert reply.code == 201
    texts = [one.removeprefix('299 - "').removesuffix('"') for one in reply.warnings]
    # Upstream's recorder counts texts before it quotes them, and takes one that begins within 4096.
    assert 0 < sum(len(text.replace('\\"', '"')) for text in texts) < 4096 + 256
    labels = {f"-{n}-": "!" for n in range(5000)}
    refused = await api("POST", MAPS, {"metadata": {"name": "b", "labels": labels}})
    assert refused.code == 422
    assert len(refused["details"]["causes"]) <= 100


def token(revision: int) -> str:
    """Return what continues a list at a revision."""
    made = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": "a"})
    return urlsafe_b64encode(made.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "query",
    [
        "limit=x",
        "limit=99999999999999999999",
        f"limit={'0' * 41}{'9' * 41}",
        f"limit=-{'9' * 5000}",
        "resourceVersion=x",
        "continue=%00",
        "continue=eyJ2IjogMX0",
        f"continue={token(True)}",
        "labelSelector=a%3D%3D%3Db",
        "labelSelector=a in",
        "labelSelector=%FF",
        "fieldSelector=x",
        "watch=1&timeoutSeconds=x",
    ],
)
async def test_malformed_query_parameters_are_refused(api: Api, query: str):
    reply = await api("GET", f"{MAPS}?{query}")
    assert reply.code == 400, reply


async def test_numbers_of_thousands_of_digits_are_read(api: Api):
    """Python itself reads at most 4,300."""
    assert (await api("GET", f"{MAPS}?limit={'0' * 5000}")).code == 200
    made = config_map() | {"metadata": {"name": "a", "resourceVersion": "9" * 5000}}
    assert (await api("POST", MAPS, made)).code == 201  # no server has given this one
    spec = {name: deployment()["spec"][name] for name in ("selector", "template")}
    path, counted = f"{APPS}/daemonsets", "deprecated.daemonset.template.generation"
    changed = {"spec": {"template": {"metadata": {"labels": {"more": "x"}}}}}
    for name, count, after in (("d", "9" * 5000, f"1{'0' * 21}"), ("e", "-5", "2")):
        metadata = {"name": name, "annotations": {counted: count}}
        await api.make(path, {"metadata": metadata, "spec": spec})
        counting = await api("PATCH", f"{path}/{name}", changed, MERGE)
        assert counting["metadata"]["annotations"] == {counted: after}


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api",
        "/api/",
        "/api/v1",
        "/api/v9",
        "/api/v1/nonsense",
        "/api/v1/pods/p",
        "/api/v1/namespaces/default/pods/p/status/more",
        "/api/v1/namespaces/default/pods/p/nonsense",
        "/api/v1/namespaces/default/nodes",
        "/api/v1/namespaces//pods",
        "/api/v1/namespaces/default/pods/%2e%2e%2f",
        "/apis/apps",
        "/apis/apps/v1",
        "/apis/apps/v7/deployments",
        "/apis/none/v1/x",
        "/healthz/none",
        "/openapi/v3/none",
        "/metrics",
        "/\u00e4%ff",
    ],
)
async def test_every_path_has_an_answer(api: Api, path: str):
    for method in ("GET", "POST", "DELETE", "PATCH"):
        reply = await api(method, path, b"{}", MERGE if method == "PATCH" else "application/json")
        assert reply.code < 500, (method, path, reply)


@pytest.mark.parametrize(
    "body",
    [b"", b"k8s", b"k8s\0", b"k8s\0\xff\xff\xff", b"k8s\0\x0a\x02\x0a\x00", b"{}"],
)
async def test_malformed_protobuf_is_refused(api: Api, body: bytes):
    reply = await api("POST", MAPS, body, "application/vnd.kubernetes.protobuf")
    assert reply.code in (400, 415), reply


_TEXT = st.text(string.ascii_letters + string.digits + "-./ \u00e4\0", max_size=8)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), _TEXT
)
_NAMES = sorted(
    {
        name
        for kind in KINDS
        for name in fields_of(message_name(kind.group, kind.name, kind.version))
    }
    | {
        "name",
        "ports",
        "containers",
        "port",
        "type",
        "clusterIP",
        "clusterIPs",
        "ipFamilies",
        "selector",
        "template",
        "matchLabels",
        "replicas",
        "volumes",
        "projected",
        "sources",
        "strategy",
        "rollingUpdate",
        "maxSurge",
        "env",
        "valueFrom",
        "resources",
        "limits",
        "tolerations",
        "affinity",
        "labels",
        "finalizers",
        "$patch",
        "nodePort",
        "ipFamilyPolicy",
        "sessionAffinity",
        "sessionAffinityConfig",
        "clientIP",
        "addresses",
        "subsets",
        "taints",
    }
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(_NAMES) | _TEXT, inner, max_size=5),
    ),
    max_leaves=12,
)


def _mutated(base: dict[str, object], path: list[str], value: object) -> dict[str, object]:
    """Return the object with another value at an existing path."""
    made = json.loads(json.dumps(base))
    at = made
    for part in path[:-1]:
        at = at[int(part)] if isinstance(at, list) else at[part]
    at[int(path[-1]) if isinstance(at, list) else path[-1]] = value
    return dict(made)


def _paths(value: object, prefix: tuple[str, ...] = ()) -> list[list[str]]:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = [list(prefix)] if prefix else []
    for key, inner in items:
        found += _paths(inner, (*prefix, str(key)))
    return found


_BASES = {
    f"{CORE}/pods": pod(
        volumes=[{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}],
        initContainers=[
            {
                "name": "i",
                "image": "x",
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "x"}}}],
            }
        ],
        tolerations=[{"key": "a", "operator": "Exists"}],
    ),
    f"{CORE}/services": service(
        selector={"a": "b"},
        type="NodePort",
        clusterIPs=["10.96.7.7"],
        clusterIP="10.96.7.7",
        ipFamilies=["IPv4"],
        ipFamilyPolicy="SingleStack",
        sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": 5}},
        externalIPs=["192.0.2.1"],
    ),
    f"{APPS}/deployments": deployment(),
    f"{CORE}/endpoints": {
        "metadata": {"name": "e"},
        "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}],
    },
    "/api/v1/nodes": {
        "metadata": {"name": "n"},
        "spec": {
            "podCIDRs": ["10.0.0.0/24"],
            "podCIDR": "10.0.0.0/24",
            "taints": [{"key": "a", "effect": "NoSchedule"}],
        },
        "status": {"capacity": {"cpu": "1"}},
    },
}


@st.composite
def bodies(draw: st.DrawFn) -> tuple[str, object]:
    path, base = draw(st.sampled_from(sorted(_BASES.items(), key=lambda item: item[0])))
    for _ in range(draw(st.integers(0, 2))):
        base = _mutated(base, draw(st.sampled_from(_paths(base))), draw(_JSON))
    return path, base


async def _send(server: ApiServer, path: str, body: object, patch: object, media: str) -> list[int]:
    codes = []
    async with aiohttp.ClientSession(server.url) as session:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        async with session.post(path, data=data, headers=headers) as answer:
            codes.append(answer.status)
            made = json.loads(await answer.read())
        name = made["metadata"].get("name", "none") if answer.status == 201 else "none"
        for method, sent, kind in (
            ("PATCH", patch, media),
            ("PUT", body, "application/json"),
            ("DELETE", {}, "application/json"),
        ):
            data, headers = json.dumps(sent).encode(), {"Content-Type": kind}
            async with session.request(
                method, f"{path}/{name}", data=data, headers=headers
            ) as reply:
                codes.append(reply.status)
                await reply.read()
    return codes


async def test_any_json_gets_an_answer(api_server: ApiServer):
    loop = asyncio.get_running_loop()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(bodies(), _JSON, st.sampled_from([MERGE, STRATEGIC]))
    def check(sent: tuple[str, object], patch: object, media: str) -> None:
        work = _send(api_server, *sent, patch, media)
        codes = asyncio.run_coroutine_threadsafe(work, loop).result(30)
        assert all(code < 500 for code in codes), codes

    await asyncio.to_thread(check)
