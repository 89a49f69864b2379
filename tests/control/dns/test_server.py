"""The whole server on real sockets, behind a real API server: queries by UDP and TCP, changes."""

import asyncio
import re
import socket
import struct
from contextlib import suppress

import aiohttp
import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from control.api import kinds
from control.api.pod import Pod
from control.api.service import Service
from control.client import Client, ClientConfig
from control.dns.cli import from_flags, main
from control.dns.log import describe, log_answer
from control.dns.serve import serve
from control.dns.settings import FlagError, bind
from control.dns.tcp import TcpServer
from control.dns.upstream.loop import LoopError
from tests.support.control.names import Names, namespace, service
from tests.support.control.queries import HOST, PORTS, ask
from tests.support.control.resolvers import Served

PAGES = ("/health", "/ready")
NAME = "web.default.svc.cluster.local."


def flags(port: int, metrics: int, *more: str) -> dict:
    """Return the flags of a command line, parsed."""
    words = [f"--listen={HOST}:{port}", "--kubeconfig=unused", *more]
    pages = {"health": next(PORTS), "ready": next(PORTS), "metrics": metrics}
    words += [f"--{page}-bind-address={HOST}:{number}" for page, number in pages.items()]
    return main.make_context("dns", words).params


def web(address: str = "10.96.0.77") -> Service:
    meta = {"name": "web", "namespace": "default"}
    ports = [{"name": "http", "port": 80}]
    return Service.parse({"metadata": meta, "spec": {"clusterIP": address, "ports": ports}})


@pytest.fixture
async def server(api_server):
    """Return a running server's port, its metrics' URL, and a client of its API server."""
    port, metrics = next(PORTS), next(PORTS)
    async with Client(ClientConfig(api_server.url)) as client:
        running = asyncio.create_task(serve(client, from_flags(flags(port, metrics))))
        # The question waits in the socket until the server has seen every Service.
        await until(port, "kubernetes.default.svc.cluster.local.", "NOERROR")
        yield port, f"http://{HOST}:{metrics}/metrics", client
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(port: int, name: str, rcode: str) -> dns.message.Message:
    """Ask until the response has a code: a change comes as an event, at its own time."""
    while True:
        try:
            response = await ask(port, name)
        except OSError:  # nobody listens as yet
            response = None
        if response is not None and dns.rcode.to_text(response.rcode()) == rcode:
            return response
        await asyncio.sleep(0.01)


async def test_a_change_is_answered_and_what_was_kept_is_not(server):
    port, _, client = server
    await until(port, NAME, "NXDOMAIN")
    await client.create(kinds.SERVICE, web())
    for _ in range(3):
        response = await until(port, NAME, "NOERROR")
        assert [str(rdata) for rdata in response.answer[0]] == ["10.96.0.77"]
    assert (await ask(port, NAME, tcp=True)).answer == response.answer
    await client.delete(kinds.SERVICE, "default", "web")
    await until(port, NAME, "NXDOMAIN")


async def test_a_connection_takes_many_queries_and_a_hostile_one_ends_alone(server):
    port, _, _ = server
    reader, writer = await asyncio.open_connection(HOST, port)
    query = dns.message.make_query("kubernetes.default.svc.cluster.local.", "A").to_wire()
    framed = struct.pack("!H", len(query)) + query
    writer.write(framed * 20 + b"\0\x05hello")  # the short one gets no answer: the end
    answers = await reader.read()
    size = 2 + int.from_bytes(answers[:2])
    assert len(answers) == 20 * size
    assert answers == answers[:size] * 20
    writer.close()
    assert (await ask(port, "kubernetes.default.svc.cluster.local.", tcp=True)).answer


async def test_every_query_is_counted(server):
    port, url, _ = server
    for _ in range(5):
        await ask(port, "absent.default.svc.cluster.local.")
    await ask(port, "absent.default.svc.cluster.local.", tcp=True)
    zone = 'server="dns://:53",zone="cluster.local.",view=""'
    # A response is counted after it is sent.
    expected = f'coredns_dns_responses_total{{{zone},rcode="NXDOMAIN",plugin="kubernetes"}} 6'
    odd = dns.message.make_query("version.bind.", "TXT", "CH")
    await dns.asyncquery.udp(odd, HOST, port=port, timeout=60)
    lines = await read_until(url, expected)
    refused = 'server="dns://:53",zone="dropped",view="",rcode="REFUSED",plugin=""'
    await read_until(url, f"coredns_dns_responses_total{{{refused}}} 1")
    for proto, count in (("udp", 5), ("tcp", 1)):
        labels = f'{zone},proto="{proto}",family="1",type="A"'
        total = next(x for x in lines if x.startswith(f"coredns_dns_requests_total{{{labels}}}"))
        assert int(total.split()[-1]) >= count
    assert any(
        line.startswith(f'coredns_dns_response_size_bytes_bucket{{{zone},proto="tcp",le="')
        for line in lines
    )


async def read_until(url: str, line: str) -> list[str]:
    """Return the lines of a page that has a line, at last."""
    async with aiohttp.ClientSession() as session:
        while True:
            async with session.get(url) as page:
                lines = (await page.text()).splitlines()
            if line in lines:
                return lines
            await asyncio.sleep(0.01)


async def test_names_of_pods_are_verified_by_what_runs(api_server):
    port, name = next(PORTS), "10-244-0-9.default.pod.cluster.local."
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "node1"}
    made = Pod.parse({"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
    async with Client(ClientConfig(api_server.url)) as client:
        found = from_flags(flags(port, next(PORTS), "--pods=verified", "--endpoint-pod-names"))
        running = asyncio.create_task(serve(client, found))
        await until(port, name, "NXDOMAIN")
        made = await client.create(kinds.POD, made)
        status = {"podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}]}
        await client.update_status(kinds.POD, Pod.parse(made.wire() | {"status": status}))
        await until(port, name, "NOERROR")
        await client.delete(kinds.POD, "default", "p")
        await until(port, name, "NXDOMAIN")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_server_ends_that_would_ask_itself(api_server):
    port = next(PORTS)
    async with Client(ClientConfig(api_server.url)) as client:
        settings = from_flags(flags(port, next(PORTS), f"--upstream={HOST}:{port}"))
        with pytest.raises(ExceptionGroup) as caught:
            await serve(client, settings)
    [cause] = caught.value.exceptions  # podwire dns prints its text
    assert isinstance(cause, LoopError)
    assert f"the resolver {HOST}:{port} for . leads back to this server" in str(cause)


async def test_pages_say_when_every_service_is_known(api_server):
    """The API server is away at first; /ready names who is not ready, as CoreDNS does."""
    port, metrics, away = next(PORTS), next(PORTS), next(PORTS)
    found = from_flags(flags(port, metrics))
    health, ready = (f"http://{HOST}:{found.pages[page].port}{page}" for page in PAGES)
    async with Client(ClientConfig(f"http://{HOST}:{away}")) as client:
        running = asyncio.create_task(serve(client, found))
        assert await read(health) == (200, "OK")
        assert await read(ready) == (503, "kubernetes")
        assert (await read(f"http://{HOST}:{metrics}/metrics"))[0] == 200
        listening = await asyncio.start_server(passing_to(api_server.port), HOST, away)
        while (page := await read(ready))[0] == 503:
            await asyncio.sleep(0.01)  # the informers try again
            assert page == (503, "kubernetes")
        assert page == (200, "OK")
        assert (await ask(port, "kubernetes.default.svc.cluster.local.")).answer
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        listening.close()


def passing_to(port: int):
    """Return what passes a connection on to a port of this machine."""

    async def copy(reader, writer):
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader, writer):
        there, back = await asyncio.open_connection(HOST, port)
        await asyncio.gather(copy(reader, back), copy(there, writer))

    return connected


async def read(url: str) -> tuple[int, str]:
    """Return a page's code and text, once somebody listens there."""
    async with aiohttp.ClientSession() as session:
        while True:
            with suppress(aiohttp.ClientConnectorError):
                async with session.get(url) as page:
                    return page.status, await page.text()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("sent", [b"", b"\0", b"\0\x20half of a query"])
async def test_a_silent_connection_is_closed_and_others_go_on(sent):
    """Also while a message has begun."""
    listening = socket.create_server((HOST, 0))
    port = listening.getsockname()[1]
    names = Names(service("web", "10.96.0.7"))
    serving = asyncio.create_task(TcpServer(listening, names.answerer, idle=0.2).serve())
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(sent)
    assert await reader.read() == b""
    answered = False
    while not answered:  # a busy machine may be silent for so long
        with suppress(EOFError, OSError):
            answered = bool((await ask(port, NAME, tcp=True)).answer)
    writer.close()
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


# question, code: what the line says after the peer's address and the ID
LOGGED = [
    ("web", "A", r'"A IN web\.default\.svc\.cluster\.local\. 47" NOERROR \d+ A 10\.96\.0\.7'),
    ("absent", "A", r'"A IN absent\.default\.svc\.cluster\.local\. 50" NXDOMAIN \d+ '),
    ("out", "A", r'"A IN out\..* 47" NXDOMAIN \d+ CNAME www\.example\.com\.'),
    ("web", "TYPE65280", r'"TYPE65280 IN web\..* 47" NOERROR \d+ '),
]


async def test_each_answer_is_logged_as_coredns_does(caplog):
    external = {"type": "ExternalName", "externalName": "www.example.com", "clusterIPs": []}
    names = Names(namespace("default"), service("web", "10.96.0.7"), service("out", **external))
    for name, kind, expected in LOGGED:
        query = dns.message.make_query(f"{name}.default.svc.cluster.local.", kind)
        for tcp in (False, True):
            packet = query.to_wire()
            response = packet[:2] + names.answerer.answer(packet, tcp=tcp).variants[0]
            line = describe((HOST, 5300), packet, response)
            assert re.fullmatch(rf"{HOST}:5300 - {query.id} {expected}", line), line
    assert describe((HOST, 5300), b"", b"odd").startswith(f"{HOST}:5300 - a response that cannot")
    with caplog.at_level("INFO", "podwire.dns.answers"):
        served = Served(service("web", "10.96.0.7"), log=log_answer)
        for _ in range(3):  # what is logged is not kept ready: each query has its line
            await ask(served.port, NAME)
        await ask(served.port, NAME, tcp=True)
        await served.close()
    lines = [record.message for record in caplog.records if "web.default" in record.message]
    assert len(lines) == 4
    assert all("NOERROR" in line and line.startswith(f"{HOST}:") for line in lines)


# What CoreDNS 1.14 exports by the plugins prometheus, forward and cache, of the server's own.
COREDNS = {
    "coredns_dns_requests_total": "counter",
    "coredns_dns_do_requests_total": "counter",
    "coredns_dns_responses_total": "counter",
    "coredns_dns_request_duration_seconds": "histogram",
    "coredns_dns_request_size_bytes": "histogram",
    "coredns_dns_response_size_bytes": "histogram",
    "coredns_forward_healthcheck_broken_total": "counter",
    "coredns_forward_max_concurrent_rejects_total": "counter",
    "coredns_proxy_request_duration_seconds": "histogram",
    "coredns_proxy_healthcheck_failures_total": "counter",
    "coredns_cache_entries": "gauge",
    "coredns_cache_requests_total": "counter",
    "coredns_cache_hits_total": "counter",
    "coredns_cache_misses_total": "counter",
    "coredns_cache_evictions_total": "counter",
}


async def test_metrics_have_coredns_names_and_types(server):
    _, url, _ = server
    _, text = await read(url)
    kinds_of = (line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE "))
    assert dict(kinds_of) == COREDNS
    total = re.search(r"^coredns_dns_requests_total{(.*)} \d+$", text, re.M)
    labels = [pair.partition("=")[0] for pair in total[1].split(",")]
    assert labels == ["server", "zone", "view", "proto", "family", "type"]


@pytest.mark.parametrize("text", ["53", "host:53", "10.0.0.1:x", "10.0.0.1:70000", "1.2.3:53"])
def test_a_wrong_address_is_named(text):
    with pytest.raises(FlagError, match=f"--listen {text}"):
        bind("--listen", text)


@pytest.mark.parametrize("domain", [".", "a..b", "x" * 64, ".".join(["y" * 60] * 3)])
def test_a_wrong_domain_is_named(domain):
    with pytest.raises(FlagError, match="--cluster-domain"):
        from_flags(flags(1, 2, f"--cluster-domain={domain}"))


async def test_a_socket_whose_thread_has_ended_can_be_stopped_again():
    served = Served()
    await served.close()
    served.udp.stop()
