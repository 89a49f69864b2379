"""The subresource ``proxy``: requests through the API server to Pods, Services and nodes."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from control.api import kinds
from control.server.streams.proxy import backend
from control.server.streams.proxy.html import PageRewriter
from control.server.streams.proxy.links import Links
from control.server.wire.info import storage_key
from control.server.wire.item import encode_object
from control.store.base import Create, Delete
from tests.support.control.kubectls import KUBECTLS, Kubectl
from tests.support.control.requests import CORE, MERGE, Api, pod, service
from tests.support.control.secured import secured_server
from tests.support.control.streaming import NODE, streaming

PAGE = (
    b'<html><A class=x HREF="/a?b=1&amp;c=2">\xe2\x82\xac</a><img src=\'/i.png\'><a href="c">'
    b'<script src=/s.js>if (a<b) "<a href=/no>"</script><!-- <a href=/no> --> 1 < 2 <a href="'
    b'http://elsewhere.example/x">'
)

KUBECTL_POD = pod() | {"apiVersion": "v1", "kind": "Pod"}


class Backend:
    """A server that says what it was asked."""

    def __init__(self) -> None:
        self.app = web.Application()
        self.app.router.add_route("*", "/{path:.*}", self._answer)
        self.seen: dict[str, str] = {}
        self.release = asyncio.Event()
        self.port = ""

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen = {**request.headers}
        path = request.raw_path.partition("?")[0]
        if path == "/socket":
            socket = web.WebSocketResponse(protocols=("p",))
            await socket.prepare(request)
            async for message in socket:
                await socket.send_str(message.data.upper())
            return socket
        if path == "/page":
            return web.Response(body=PAGE, content_type="text/html")
        if path == "/zipped":
            headers = {"Content-Encoding": "gzip", "Content-Type": "text/html"}
            return web.Response(body=gzip.compress(PAGE), headers=headers)
        if path == "/moved":
            return web.Response(status=302, headers={"Location": "/there/"})
        if path == "/slow":
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"first")
            await self.release.wait()
            await response.write(b"last")
            return response
        body = (await request.read()).decode()
        said = {"method": request.method, "path": request.raw_path, "body": body}
        return web.json_response(said, status=207, headers={"X-Own": "y", "Connection": "X-Own"})


@pytest.fixture
async def behind(monkeypatch) -> AsyncIterator[Backend]:
    """Run a backend on the loopback address, which is no backend else."""
    monkeypatch.setattr(backend, "is_allowed", lambda address: True)
    made = Backend()
    async with TestServer(made.app) as server:
        made.port = str(server.port)
        yield made


async def _pod(api: Api, name: str = "p", address: str = "127.0.0.1") -> None:
    await api.make(f"{CORE}/serviceaccounts", {"metadata": {"name": "default"}})
    await api.make(f"{CORE}/pods", pod(name))
    status = {"status": {"podIP": address, "podIPs": [{"ip": address}]}}
    assert (await api("PATCH", f"{CORE}/pods/{name}/status", status, MERGE)).code == 200


async def _endpoints(api: Api, subset: dict[str, Any]) -> None:
    """Store an endpoint on the loopback address, which no client could."""
    key = storage_key(kinds.ENDPOINTS, "default", "s")
    if old := api.state.cache.of(kinds.ENDPOINTS).get(key):
        await api.state.store.commit(Delete(key, old.revision))
    head = {"kind": "Endpoints", "apiVersion": "v1", "metadata": {"name": "s"}}
    await api.state.store.commit(Create(key, encode_object(head | {"subsets": [subset]})))
    await api.state.cache.fresh()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_a_request_reaches_a_pod_as_it_is(api: Api, behind: Backend, method):
    await _pod(api)
    path = f"{CORE}/pods/http:p:{behind.port}/proxy/a%2Fb//c/?q=%20"
    headers = {"X-Remote-User": "u", "Connection": "x-hop", "X-Hop": "1", "X-Own": "2"}
    reply = await api(method, path, {"a": 1} if method == "POST" else None, **headers)
    assert reply.code == 207
    assert reply.body == {
        "method": method,
        "path": "/a%2Fb//c/?q=%20",
        "body": '{"a": 1}' if method == "POST" else "",
    }
    assert not {"X-Remote-User", "X-Hop"} & behind.seen.keys()
    assert behind.seen["X-Own"] == "2"
    assert behind.seen["X-Forwarded-For"] == "127.0.0.1"
    assert behind.seen["X-Forwarded-Uri"] == f"{CORE}/pods/http:p:{behind.port}/proxy/a%2Fb/c/"


async def test_links_and_redirects_lead_through_the_proxy(api: Api, behind: Backend):
    await _pod(api)
    at = f"{CORE}/pods/p:{behind.port}/proxy"
    for path in ("page", "zipped"):
        async with api.session.get(f"{at}/{path}") as answer:
            page = await answer.read()
        assert page == PAGE.replace(b'"/a?b', f'"{at}/a?b'.encode()).replace(
            b"'/i.png'", f'"{at}/i.png"'.encode()
        ).replace(b"=/s.js", f'="{at}/s.js"'.encode())
    async with api.session.get(f"{at}/moved", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, f"{at}/there/")
    async with api.session.get(f"{at}?a=b", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (301, f"{at}/?a=b")
    async with api.session.head(f"{at}/page") as answer:
        assert answer.status == 200


async def test_a_websocket_goes_through(api: Api, behind: Backend):
    await _pod(api)
    path = f"{CORE}/pods/p:{behind.port}/proxy"
    async with api.session.ws_connect(f"{path}/socket", protocols=("p",)) as socket:
        await socket.send_str("hello")
        assert await socket.receive_str() == "HELLO"
        assert socket.protocol == "p"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await api.session.ws_connect(f"{path}/page")
    assert refused.value.status == 500


async def test_a_slow_backend_keeps_nobody_waiting(api: Api, behind: Backend):
    await _pod(api)
    path = f"{CORE}/pods/p:{behind.port}/proxy"
    async with api.session.get(f"{path}/slow") as answer:
        assert await answer.content.readexactly(5) == b"first"
        assert (await api("GET", f"{path}/x")).code == 207
        behind.release.set()
        assert await answer.read() == b"last"


async def test_a_service_leads_to_an_endpoint_that_is_a_pod(api: Api, behind: Backend):
    await _pod(api)
    ports = [{"name": "http", "port": 80}, {"name": "other", "port": 81}]
    await api.make(f"{CORE}/services", service("s", ports=ports, selector={"app": "p"}))
    target = {"kind": "Pod", "name": "p", "namespace": "default"}
    subset = {
        "addresses": [{"ip": "127.0.0.1", "targetRef": target}],
        "ports": [{"name": "http", "port": int(behind.port)}],
    }
    await _endpoints(api, subset)
    for port in ("http", "80"):
        reply = await api("GET", f"{CORE}/services/s:{port}/proxy/x")
        assert (reply.code, reply["path"]) == (207, "/x")
    for port, why in (
        (":81", 'no endpoints available for service "s:81"'),
        (":82", 'no service port 82 found for service "s"'),
        ("", 'no endpoints available for service "s"'),
    ):
        reply = await api("GET", f"{CORE}/services/s{port}/proxy/")
        assert (reply.code, reply["reason"]) == (503, "ServiceUnavailable")
        assert reply["message"] == why
    # An endpoint that is no Pod's is no way to other servers.
    subset["addresses"] = [{"ip": "127.0.0.1"}]
    await _endpoints(api, subset)
    assert (await api("GET", f"{CORE}/services/s:http/proxy/")).code == 503
    wrong = await api("GET", f"{CORE}/services/ftp:s:http/proxy/")
    assert wrong["message"] == 'invalid service request "ftp:s:http"'
    assert (await api("GET", f"{CORE}/services/none:http/proxy/")).code == 404


async def test_a_port_of_a_node(api: Api, behind: Backend):
    await api.make("/api/v1/nodes", {"metadata": {"name": "n"}})
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    status = {"status": {"addresses": addresses}}
    assert (await api("PATCH", "/api/v1/nodes/n/status", status, MERGE)).code == 200
    reply = await api("GET", f"/api/v1/nodes/n:{behind.port}/proxy/x")
    assert (reply.code, reply["path"]) == (207, "/x")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "169.254.169.254", "::1", "fe80::1", "0.0.0.0", "224.0.0.1"],
)
async def test_the_servers_own_addresses_are_no_backends(api: Api, address):
    await api.make("/api/v1/nodes", {"metadata": {"name": "n"}})
    addresses = [{"type": "InternalIP", "address": address}]
    await api("PATCH", "/api/v1/nodes/n/status", {"status": {"addresses": addresses}}, MERGE)
    await _pod(api, address=address)
    for path in (f"{CORE}/pods/p:80/proxy/", "/api/v1/nodes/n:80/proxy/"):
        reply = await api("GET", path)
        assert (reply.code, reply["message"]) == (400, "address not allowed")


async def test_a_backend_that_is_not_there_is_503(api: Api, behind: Backend, unused_tcp_port):
    await _pod(api)
    reply = await api("GET", f"{CORE}/pods/p:{unused_tcp_port}/proxy/")
    assert (reply.code, reply["reason"]) == (503, "ServiceUnavailable")
    assert reply["message"].startswith("error trying to reach service: ")


@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_a_page_is_the_same_whatever_its_pieces(size):
    links = Links("/p", "10.0.0.1:80", "api:443")
    rewriter, text = PageRewriter(links.rewritten), PAGE.decode("latin-1")
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    made = "".join(map(rewriter.feed, pieces)) + rewriter.close()
    whole = PageRewriter(links.rewritten)
    assert made == whole.feed(text) + whole.close()
    assert made.count("/p/") == 3
    assert made.count('href="c"') == 1


def test_a_hostile_page_is_passed_on_in_linear_time():
    rewriter = PageRewriter(lambda url: url)
    for text in ("<a " + "x" * 100_000, "<" * 100_000, '<a href="' * 12_000, "<!--<script>" * 4000):
        pieces = (text[at : at + 1000] for at in range(0, len(text), 1000))
        assert "".join(map(rewriter.feed, pieces)) + rewriter.close() == text
        rewriter = PageRewriter(lambda url: url)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("/x", "/p/x"),
        ("/x/", "/p/x/"),
        ("x", "x"),
        ("#x", "#x"),
        ("/p/x", "/p/x"),
        ("http://10.0.0.1:80/x?a=b", "/p/x?a=b"),
        ("https://api:443/x", "https://api:443/p/x"),
        ("//elsewhere/x", "//elsewhere/x"),
        ("http://[x", "http://[x"),
        ("/../../x", "/x"),
    ],
)
def test_rewritten_links(url, wanted):
    assert Links("/p", "10.0.0.1:80", "api:443").rewritten(url) == wanted


def test_kinds_with_a_proxy_say_so():
    from control.server.pages.discovery import subresources

    for kind in (kinds.POD, kinds.SERVICE, kinds.NODE):
        assert "proxy" in {sub.name for sub in subresources(kind)}


async def test_kubectl_and_the_rights_to_a_proxy(tmp_path):
    async with secured_server(tmp_path, modes=("RBAC",)) as server:
        await _ask_with_rights(Kubectl(server, str(KUBECTLS[0])))


async def _ask_with_rights(kubectl: Kubectl) -> None:
    await kubectl("create", "serviceaccount", "default")
    made = await kubectl("create", "-f", "-", stdin=json.dumps(KUBECTL_POD))
    assert made == "pod/p created\n"
    path = "/api/v1/namespaces/default/pods/p:80/proxy/"
    failed = await kubectl.try_("get", "--raw", path)
    assert "address not allowed" in failed.err  # it has no address yet
    mine = ("--as", "somebody")
    failed = await kubectl.try_("get", "--raw", path, *mine)
    why = 'pods "p:80" is forbidden: User "somebody" cannot get resource "pods/proxy"'
    assert why in failed.err
    await kubectl("create", "role", "r", "--verb=get", "--resource=pods/proxy")
    await kubectl("create", "rolebinding", "r", "--role=r", "--user=somebody")
    failed = await kubectl.try_("get", "--raw", path, *mine)
    assert "address not allowed" in failed.err
    failed = await kubectl.try_("create", "--raw", path, "-f", "-", *mine, stdin="{}")
    assert 'cannot create resource "pods/proxy"' in failed.err


def test_a_mapped_address_is_what_it_maps():
    assert not backend.is_allowed("::ffff:127.0.0.1")
    assert backend.is_allowed("::ffff:10.0.0.1")


async def test_a_node_is_its_agent(tmp_path, monkeypatch):
    async with streaming(tmp_path) as cluster, aiohttp.ClientSession(cluster.url) as session:
        path = f"/api/v1/nodes/{NODE}"
        async with session.get(f"{path}/proxy/healthz") as answer:
            assert answer.status == 400  # the agent of this test is on the loopback address
        monkeypatch.setattr(backend, "is_allowed", lambda address: True)
        async with session.get(f"{path}/proxy/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok")
        async with session.get(f"{path}/proxy/none") as answer:
            assert answer.status == 404
        async with session.get(f"{path}/proxy/pods") as answer:
            assert answer.status == 200
