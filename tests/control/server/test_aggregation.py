"""API aggregation: groups that an extension server serves, as clients and that server see them."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from msgspec.structs import replace

from control.pki import Identity, Pair, issue
from control.server.aggregation import follow
from control.server.aggregation.asked import attributes_at
from control.server.aggregation.client import identity
from control.server.aggregation.discovery import aggregated, listed, schema_hash
from control.server.aggregation.register import wanted
from control.server.pages.discovery import group_versions, with_extensions
from control.server.remote import services
from control.server.remote.services import RemoteError, targets
from control.server.state.extensions import Extension, Extensions, read
from control.server.wire.errors import StatusError
from control.server.wire.request import User
from tests.support.control.extension import (
    BASE,
    GROUP,
    VERSION,
    Certificates,
    Wardle,
    certificates,
    endpoints,
    extension,
    no_endpoints,
)
from tests.support.control.kubectls import Kubectl
from tests.support.control.requests import CORE, MERGE, Api
from tests.support.control.secured import Secured, secured_server

SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
NAME = f"{VERSION}.{GROUP}"
V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass
class World:
    """A server, an extension server, and requests of an admin."""

    server: Secured
    api: Api
    wardle: Wardle
    found: Certificates

    async def condition(self, name: str = NAME) -> dict[str, Any]:
        """Return the condition Available."""
        status = (await self.api("GET", f"{SERVICES}/{name}"))["status"] or {}
        return next(iter(status.get("conditions", ())), {})

    async def until(self, reason: str, name: str = NAME) -> dict[str, Any]:
        """Wait until the condition has a reason."""
        while True:
            found = await self.condition(name)
            if found.get("reason") == reason:
                return found
            await asyncio.sleep(0.02)


def api_service(found: Certificates, **spec: Any) -> dict[str, Any]:
    bundle = b64encode(found.server_authority.certificate).decode()
    given = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 2000,
        "versionPriority": 15,
        "service": {"namespace": "default", "name": "wardle"},
        "caBundle": bundle,
    }
    return {"metadata": {"name": NAME}, "spec": given | spec}


@pytest.fixture(autouse=True)
def _loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "is_allowed", lambda _: True)
    monkeypatch.setattr(follow, "_SOON", 0.02)


@asynccontextmanager
async def made(folder: Path, modes: tuple[str, ...] = ("AlwaysAllow",)) -> AsyncIterator[World]:
    found = certificates(folder)
    async with AsyncExitStack() as stack:
        wardle = await stack.enter_async_context(extension(found, Wardle()))
        server = await stack.enter_async_context(
            secured_server(folder, modes=modes, front_proxy=found.proxy)
        )
        connector = aiohttp.TCPConnector(ssl=server.client_tls())
        session = await stack.enter_async_context(
            aiohttp.ClientSession(server.url, connector=connector)
        )
        yield World(server, Api(session, server.state), wardle, found)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world in which nothing is registered yet."""
    async with made(tmp_path) as world:
        yield world


async def registered(world: World, **spec: Any) -> None:
    service = {"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443}]}}
    await world.api.make(f"{CORE}/services", service)
    await endpoints(world.server.state, world.wardle.port)
    await world.api.make(SERVICES, api_service(world.found, **spec))
    await world.until("Passed")


@pytest.fixture
async def serving(world: World) -> World:
    """A world in which the extension server serves its group."""
    await registered(world)
    return world


async def test_conditions_are_upstreams(world: World):
    await world.api.make(SERVICES, api_service(world.found))
    said = await world.until("ServiceNotFound")
    assert (said["status"], said["message"]) == (
        "False",
        'service/wardle in "default" is not present',
    )
    ports = {"spec": {"ports": [{"port": 8443}]}}
    await world.api.make(f"{CORE}/services", {"metadata": {"name": "wardle"}} | ports)
    said = await world.until("ServicePortError")
    assert said["message"] == 'service/wardle in "default" is not listening on port 443'
    patch = {"spec": {"ports": [{"port": 443}]}}
    assert (await world.api("PATCH", f"{CORE}/services/wardle", patch, MERGE)).code == 200
    said = await world.until("EndpointsNotFound")
    assert said["message"] == 'cannot find endpointslices for service/wardle in "default"'
    state, port = world.server.state, world.wardle.port
    unready = [{"addresses": ["127.0.0.1"], "conditions": {"ready": False}}]
    await endpoints(state, port, endpoints=unready)
    said = await world.until("MissingEndpoints")
    assert said["message"] == (
        'endpointslices for service/wardle in "default" have no addresses with port name ""'
    )
    refused = await world.api("GET", f"{BASE}/namespaces/default/flunders")
    assert (refused.code, refused.body) == (503, "service unavailable\n")
    world.wardle.answers[BASE] = lambda _: _answered(500)
    await endpoints(state, port)
    said = await world.until("FailedDiscoveryCheck")
    url = f"https://127.0.0.1:{port}{BASE}"
    assert said["message"] == f"failing or missing response from {url}: bad status from {url}: 500"
    del world.wardle.answers[BASE]
    said = await world.until("Passed")
    assert (said["status"], said["message"]) == ("True", "all checks passed")
    await no_endpoints(state)
    assert (await world.until("EndpointsNotFound"))["status"] == "False"
    metrics = (await world.api("GET", "/metrics")).body.splitlines()
    assert f'aggregator_unavailable_apiservice{{name="{NAME}"}} 1' in metrics
    assert 'aggregator_unavailable_apiservice{name="v1.apps"} 0' in metrics
    # Only what was available becomes unavailable: once.
    labels = f'name="{NAME}",reason="EndpointsNotFound"'
    (total,) = (row for row in metrics if row.startswith("aggregator_unavailable_apiservice_total"))
    assert total == f"aggregator_unavailable_apiservice_total{{{labels}}} 1"


async def _answered(code: int) -> web.Response:
    return web.Response(status=code)


async def test_the_server_learns_who_asks_and_from_whom(serving: World):
    headers = {"X-Remote-User": "mallory", "X-Remote-Group": "system:masters", "X-Mine": "m"}
    answer = await serving.api(
        "GET", f"{BASE}/namespaces/default/flunders/a%20b?x=1%262", **headers
    )
    assert answer["metadata"]["name"] == "a b"
    seen = serving.wardle.seen
    assert seen["X-Remote-User"] == ["admin"]
    assert seen["X-Remote-Group"] == ["system:masters", "system:authenticated"]
    assert seen["X-Mine"] == ["m"] and "Audit-Id" in seen and "Authorization" not in seen
    assert serving.wardle.raw_path == f"{BASE}/namespaces/default/flunders/a%20b?x=1%262"
    posted = await serving.api("POST", f"{BASE}/namespaces/default/flunders", b"\0\1", "a/protobuf")
    assert posted.code == 200
    assert (serving.wardle.body, serving.wardle.seen["Content-Type"]) == (b"\0\1", ["a/protobuf"])
    await serving.api(
        "GET",
        f"{BASE}/namespaces/default/flunders",
        **{"Impersonate-User": "u", "Impersonate-Group": "g", "Impersonate-Extra-a%2fb": "c"},
    )
    seen = serving.wardle.seen
    assert (seen["X-Remote-User"], seen["X-Remote-Extra-a%2Fb"]) == (["u"], ["c"])
    assert not any(name.startswith("Impersonate") for name in seen)
    assert serving.wardle.refused == 0


async def test_watches_and_upgrades_pass_in_pieces(serving: World):
    path, session = f"{BASE}/namespaces/default/flunders", serving.api.session
    async with session.get(f"{path}?watch=true") as answer:
        first = json.loads(await answer.content.readline())
        serving.wardle.release.set()  # the second comes only after the first was read
        second = json.loads(await answer.content.readline())
        assert [it["object"]["metadata"]["name"] for it in (first, second)] == ["a", "b"]
    async with session.ws_connect(f"{path}/a") as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "HELLO"


async def test_discovery_is_merged_in_both_forms(serving: World):
    groups = (await serving.api("GET", "/apis"))["groups"]
    names = [group["name"] for group in groups]
    assert names[0] == "apiregistration.k8s.io"
    assert names.index("flowcontrol.apiserver.k8s.io") < names.index(GROUP)
    assert names.index(GROUP) < names.index("metrics.k8s.io")  # by their priorities
    group = await serving.api("GET", f"/apis/{GROUP}")
    assert group["preferredVersion"]["groupVersion"] == f"{GROUP}/{VERSION}"
    for absent in ("v9", "v9/flunders"):
        assert (await serving.api("GET", f"/apis/{GROUP}/{absent}")).body == "404 page not found\n"
    found = (await serving.api("GET", BASE))["resources"]
    assert [it["name"] for it in found] == ["flunders"]
    items = (await serving.api("GET", "/apis", Accept=V2))["items"]
    (version,) = next(it for it in items if it["metadata"]["name"] == GROUP)["versions"]
    assert version["freshness"] == "Current"
    assert [it["shortNames"] for it in version["resources"]] == [["fl"]]
    assert BASE in (await serving.api("GET", "/"))["paths"]
    index = (await serving.api("GET", "/openapi/v3"))["paths"]
    assert index[BASE[1:]] == {"serverRelativeURL": f"/openapi/v3{BASE}?hash=ABC123"}
    schema = await serving.api("GET", f"/openapi/v3{BASE}?hash=ABC123")
    assert list(schema["components"]["schemas"]) == ["com.example.Flunder"]


async def test_a_server_without_aggregated_discovery_is_asked_for_each_version(world: World):
    world.wardle.aggregated = False
    await registered(world)
    items = (await world.api("GET", "/apis", Accept=V2))["items"]
    (version,) = next(it for it in items if it["metadata"]["name"] == GROUP)["versions"]
    kind = {"group": GROUP, "version": VERSION, "kind": "Flunder"}
    assert [it["responseKind"] for it in version["resources"]] == [kind]


async def test_kubectl_works_with_resources_of_an_extension(serving: World, tmp_path: Path):
    kubectl = Kubectl(serving.server, "kubectl")
    assert "flunders" in await kubectl("api-resources", f"--api-group={GROUP}")
    assert (await kubectl("get", "fl", "-o", "name")).split() == [
        f"flunder.{GROUP}/a",
        f"flunder.{GROUP}/b",
    ]
    raw = json.loads(await kubectl("get", "--raw", f"{BASE}/namespaces/default/flunders"))
    assert raw["kind"] == "FlunderList"
    assert "A flunder is for tests." in await kubectl("explain", "flunders")
    rows = {
        line.split()[0]: line.split()[1:3]
        for line in (await kubectl("get", "apiservices", "--no-headers")).splitlines()
    }
    assert rows[NAME] == ["default/wardle", "True"]
    assert rows["v1."] == rows["v1.apps"] == rows["v2.autoscaling"] == ["Local", "True"]
    await kubectl("delete", "apiservice", NAME)
    assert (await serving.api("GET", f"{BASE}/namespaces/default/flunders")).code == 404


async def test_rights_are_checked_before_the_server_is_asked(tmp_path: Path):
    async with made(tmp_path, ("RBAC",)) as world:
        await registered(world)
        authority = Pair.load(tmp_path, "ca")
        issue(authority, Identity("eve")).save(tmp_path, "eve")
        rules = [{"apiGroups": [GROUP], "resources": ["flunders"], "verbs": ["list"]}]
        roles = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
        await world.api.make(f"{roles}/roles", {"metadata": {"name": "r"}, "rules": rules})
        reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}]
        binding = {"metadata": {"name": "r"}, "roleRef": reference, "subjects": subjects}
        await world.api.make(f"{roles}/rolebindings", binding)
        connector = aiohttp.TCPConnector(ssl=world.server.client_tls("eve"))
        async with aiohttp.ClientSession(world.server.url, connector=connector) as session:
            eve = Api(session, world.server.state)
            assert (await eve("GET", f"{BASE}/namespaces/default/flunders")).code == 200
            assert world.wardle.seen["X-Remote-User"] == ["eve"]
            world.wardle.seen = {}
            refused = await eve("GET", f"{BASE}/namespaces/default/flunders/a")
            assert refused["message"] == (
                f'flunders.{GROUP} "a" is forbidden: User "eve" cannot get resource "flunders" in'
                f' API group "{GROUP}" in the namespace "default"'
            )
            for path in ("namespaces/other/flunders", "namespaces/default/flunders?watch=1"):
                assert (await eve("GET", f"{BASE}/{path}")).code == 403
            assert world.wardle.seen == {}
        connector = aiohttp.TCPConnector(ssl=world.server.client_tls(""))
        async with aiohttp.ClientSession(world.server.url, connector=connector) as session:
            assert (await Api(session, world.server.state)("GET", BASE)).code == 401


async def test_a_server_with_another_certificate_is_not_trusted(world: World):
    other = b64encode((world.server.folder / "ca.crt").read_bytes()).decode()
    service = {"metadata": {"name": "wardle"}, "spec": {"ports": [{"port": 443}]}}
    await world.api.make(f"{CORE}/services", service)
    await endpoints(world.server.state, world.wardle.port)
    await world.api.make(SERVICES, api_service(world.found, caBundle=other))
    said = await world.until("FailedDiscoveryCheck")
    assert "certificate" in said["message"].lower()
    patch = {"spec": {"caBundle": None, "insecureSkipTLSVerify": True}}
    assert (await world.api("PATCH", f"{SERVICES}/{NAME}", patch, MERGE)).code == 200
    await world.until("Passed")
    assert (await world.api("GET", f"{BASE}/namespaces/default/flunders")).code == 200


async def test_a_hanging_server_keeps_nobody_else_waiting(world: World, tmp_path: Path):
    hanging = Wardle(hangs=True)
    other = api_service(world.found, group="hang.example.com", service=None)
    other["metadata"]["name"] = f"{VERSION}.hang.example.com"
    other["spec"]["service"] = {"namespace": "default", "name": "hanging"}
    async with extension(world.found, hanging):
        service = {"metadata": {"name": "hanging"}, "spec": {"ports": [{"port": 443}]}}
        await world.api.make(f"{CORE}/services", service)
        await endpoints(world.server.state, hanging.port, "hanging")
        await world.api.make(SERVICES, other)
        await registered(world)
        items = (await world.api("GET", "/apis", Accept=V2))["items"]
        found = {it["metadata"]["name"]: it["versions"][0]["freshness"] for it in items}
        assert (found[GROUP], found["hang.example.com"]) == ("Current", "Stale")
        assert await world.condition(other["metadata"]["name"]) == {}


@pytest.mark.parametrize(
    "document",
    [b"[1]", b"{", b'{"items":[{"metadata":7,"versions":[{"resources":[{}]}]}]}', b"x" * 5_000_000],
    ids=["list", "cut off", "wrong types", "too large"],
)
async def test_malformed_discovery_is_stale_and_harms_nobody(world: World, document: bytes):
    async def said(_: web.Request) -> web.Response:
        return web.Response(body=document, headers={"Content-Type": V2})

    world.wardle.answers["/apis"] = said
    await registered(world)
    items = (await world.api("GET", "/apis", Accept=V2))["items"]
    (version,) = next(it for it in items if it["metadata"]["name"] == GROUP)["versions"]
    assert not version.get("resources")
    assert (await world.api("GET", f"{BASE}/namespaces/default/flunders")).code == 200


async def test_answers_that_cannot_pass_are_refused(serving: World):
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "https://192.0.2.1/"})

    async def large(_: web.Request) -> web.Response:
        return web.Response(headers={"X-Large": "x" * 40_000})

    path = f"{BASE}/namespaces/default/flunders/a"
    serving.wardle.answers[path] = redirect
    answer = await serving.api("GET", path, headers="")
    assert (answer.code, answer.body) == (
        502,
        "the backend attempted to redirect this request, which is not permitted",
    )
    serving.wardle.answers[path] = large
    answer = await serving.api("GET", path)
    assert (answer.code, answer.body[:30]) == (503, "error trying to reach service:")


async def test_extension_servers_read_whom_to_trust(world: World):
    path = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
    data = (await world.api("GET", path))["data"]
    assert data["requestheader-client-ca-file"] == world.found.proxy_authority.read_text()
    assert {name: json.loads(text) for name, text in data.items() if not name.endswith("file")} == {
        "requestheader-username-headers": ["X-Remote-User"],
        "requestheader-uid-headers": ["X-Remote-Uid"],
        "requestheader-group-headers": ["X-Remote-Group"],
        "requestheader-extra-headers-prefix": ["X-Remote-Extra-"],
        "requestheader-allowed-names": ["front-proxy-client"],
    }
    assert "client-ca-file" in data


async def test_groups_of_this_server_have_apiservices(world: World):
    items = (await world.api("GET", SERVICES))["items"]
    want = wanted(world.server.state)
    assert {item["metadata"]["name"] for item in items} == set(want)
    apps = next(item for item in items if item["metadata"]["name"] == "v1.apps")
    assert apps["spec"] == {
        "group": "apps",
        "version": "v1",
        "groupPriorityMinimum": 17800,
        "versionPriority": 15,
    }
    (condition,) = apps["status"]["conditions"]
    assert condition["message"] == "Local APIServices are always available"
    names = {"plural": "as", "kind": "A"}
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "a.example", "names": names, "scope": "Cluster", "versions": [version]}
    definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    await world.api.make(definitions, {"metadata": {"name": "as.a.example"}, "spec": spec})
    await _until(world, "v1.a.example", 200)
    made = await world.api("GET", f"{SERVICES}/v1.a.example")
    label = "kube-aggregator.kubernetes.io/automanaged"
    assert made["metadata"]["labels"] == {label: "true"}
    await _stays(world, made.body)
    assert (await world.api("DELETE", f"{definitions}/as.a.example")).code == 200
    await _until(world, "v1.a.example", 404)


async def _stays(world: World, made: dict[str, Any]) -> None:
    """Change and delete the APIService of a definition: it is as it was each time."""
    path = f"{SERVICES}/{made['metadata']['name']}"
    service = {"namespace": "default", "name": "nowhere"}
    for spec in ({"service": service, "insecureSkipTLSVerify": True}, {"versionPriority": 7}):
        changed = await world.api("PATCH", path, {"spec": spec}, MERGE)
        assert changed["spec"] != made["spec"]
        await _until_spec(world, path, made["spec"])
    assert (await world.api("DELETE", path)).code == 200
    await _until(world, made["metadata"]["name"], 200)


async def _until_spec(world: World, path: str, spec: dict[str, Any]) -> None:
    while True:
        if (await world.api("GET", path))["spec"] == spec:
            return
        await asyncio.sleep(0.02)


async def _until(world: World, name: str, code: int) -> None:
    while True:
        if (await world.api("GET", f"{SERVICES}/{name}")).code == code:
            return
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("method", "path", "query", "want"),
    [
        ("GET", "g/v/things", {}, ("list", "g", "things", "", "", "")),
        ("GET", "g/v/things", {"watch": "true"}, ("watch", "g", "things", "", "", "")),
        ("GET", "g/v/watch/things/a", {}, ("watch", "g", "things", "", "", "a")),
        ("DELETE", "g/v/namespaces/n/things", {}, ("deletecollection", "g", "things", "", "n", "")),
        ("PATCH", "g/v/namespaces/n/things/a/s/t", {}, ("patch", "g", "things", "s", "n", "a")),
        ("GET", "g/v/namespaces/n", {}, ("get", "g", "namespaces", "", "n", "n")),
        ("PUT", "g/v/namespaces/n/status", {}, ("update", "g", "namespaces", "status", "n", "n")),
        (
            "GET",
            "g/v/things",
            {"fieldSelector": "metadata.name=a"},
            ("list", "g", "things", "", "", "a"),
        ),
        ("BREW", "g/v/things/a", {}, ("", "g", "things", "", "", "a")),
    ],
)
def test_a_path_says_what_is_asked(method: str, path: str, query: dict[str, str], want: Any):
    assert attributes_at(method, f"/apis/{path}", query)[:6] == want


def test_other_paths():
    assert attributes_at("GET", "/apis/g/v", {}).path == "/apis/g/v"
    for path in ("/apis/g/v/../../api", "/apis/g/v/./things"):
        with pytest.raises(StatusError):
            attributes_at("GET", path, {})


def test_identity_is_client_gos():
    user = User("u", ("a", "b"), "7", {"example.com/x y%": ("1", "2")})
    assert identity(user) == [
        ("X-Remote-User", "u"),
        ("X-Remote-Uid", "7"),
        ("X-Remote-Group", "a"),
        ("X-Remote-Group", "b"),
        ("X-Remote-Extra-example.com%2Fx%20y%25", "1"),
        ("X-Remote-Extra-example.com%2Fx%20y%25", "2"),
    ]


def test_an_extension_may_serve_further_versions_of_a_group():
    one = Extension("v9.apps", "apps", "v9", "n", "s", group_priority=1, version_priority=99)
    two = replace(one, name="v1.zz", group="zz", version="v1", group_priority=17790)
    extensions = Extensions({it.group_version: it for it in (one, two)})
    rows = with_extensions(group_versions(), (), extensions)
    assert [at for at in rows if at[0] == "apps"] == [("apps", "v9"), ("apps", "v1")]
    assert (
        rows.index(("apps", "v1")) < rows.index(("zz", "v1")) < rows.index(("events.k8s.io", "v1"))
    )
    assert with_extensions(group_versions(), (), Extensions()) == group_versions()


def test_only_known_fields_of_a_discovery_go_on():
    row = {"name": "a", "kind": "A", "namespaced": True, "verbs": ["get", 7], "evil": 1}
    rows = [row, {"name": "a/scale", "kind": "S", "group": "x", "version": "y", "verbs": []}, 5]
    assert listed(json.dumps({"resources": rows}).encode(), ("g", "v")) == (
        {
            "resource": "a",
            "responseKind": {"group": "g", "version": "v", "kind": "A"},
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": ["get"],
            "subresources": [
                {
                    "subresource": "scale",
                    "responseKind": {"group": "x", "version": "y", "kind": "S"},
                    "verbs": [],
                }
            ],
        },
    )
    document = {"items": [{"metadata": {"name": "g"}, "versions": [{"version": "v"}, None]}]}
    assert aggregated(json.dumps(document).encode()) == {("g", "v"): ()}
    for url, want in (("/x?hash=AB1", "AB1"), ("/x", ""), ("/x?hash=a%0Ab", "")):
        index = {"paths": {"apis/g/v": {"serverRelativeURL": url}}}
        assert schema_hash(json.dumps(index).encode(), ("g", "v")) == want
    assert schema_hash(b'{"paths":{}}', ("g", "v")) is None


async def test_services_without_addresses_of_their_own(world: World):
    state = world.server.state
    extension_ = read(api_service(world.found))
    assert extension_ is not None
    with pytest.raises(RemoteError, match='service "wardle" not found'):
        targets(state, extension_)
    spec = {"type": "ExternalName", "externalName": "api.example.com"}
    await world.api.make(f"{CORE}/services", {"metadata": {"name": "wardle"}, "spec": spec})
    assert targets(state, extension_) == ["api.example.com:443"]
    patch = {"spec": {"externalName": "localhost"}}
    assert (await world.api("PATCH", f"{CORE}/services/wardle", patch, MERGE)).code == 200
    await world.api.make(SERVICES, api_service(world.found))
    assert (await world.until("FailedDiscoveryCheck"))["message"] == "address not allowed"


async def test_apiservices_are_validated(api: Api):
    async def refused(**spec: Any) -> str:
        base = {"group": "a.example", "version": "v1"}
        base |= {"groupPriorityMinimum": 1, "versionPriority": 1}
        wire = {"metadata": {"name": "v1.a.example"}, "spec": base | spec}
        reply = await api("POST", SERVICES, wire)
        assert reply.code == 422
        return str(reply["message"])

    service = {"namespace": "n", "name": "s", "port": 443}
    assert 'must be `spec.version+"."+spec.group`: "v2.a.example"' in await refused(version="v2")
    assert "must be positive and less than 20000" in await refused(groupPriorityMinimum=20001)
    assert "must be positive and less than 1000" in await refused(versionPriority=0)
    assert "local APIServices may not have a caBundle" in await refused(caBundle="YQ==")
    both = await refused(service=service, caBundle="YQ==", insecureSkipTLSVerify=True)
    assert "may not be true if caBundle is present" in both
    assert "port is not valid" in await refused(service=service | {"port": 70000})
    assert "spec.service.name: Required value" in await refused(service={"namespace": "n"})
