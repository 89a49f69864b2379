"""The whole server on real sockets, behind a real API server: queries by UDP and TCP, changes."""

import asyncio
import struct

import aiohttp
import dns.asyncquery
import dns.message
import dns.rcode
import pytest

from control.api import kinds
from control.api.service import Service
from control.client import Client, ClientConfig
from control.dns.cli import from_flags, main
from control.dns.serve import serve
from control.dns.settings import FlagError, bind
from tests.support.control.queries import HOST, ask, free_port

NAME = "web.default.svc.cluster.local."


def flags(port: int, metrics: int, *more: str) -> dict:
    """Return the flags of a command line, parsed."""
    words = [f"--listen={HOST}:{port}", "--kubeconfig=unused", *more]
    pages = {"health": free_port(), "ready": free_port(), "metrics": metrics}
    words += [f"--{page}-bind-address={HOST}:{number}" for page, number in pages.items()]
    return main.make_context("dns", words).params


def web(address: str = "10.96.0.77") -> Service:
    meta = {"name": "web", "namespace": "default"}
    ports = [{"name": "http", "port": 80}]
    return Service.parse({"metadata": meta, "spec": {"clusterIP": address, "ports": ports}})


@pytest.fixture
async def server(api_server):
    """Return a running server's port, its metrics' URL, and a client of its API server."""
    port, metrics = free_port(), free_port()
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
    lines = await read_until(url, expected)
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


@pytest.mark.parametrize("text", ["53", "host:53", "10.0.0.1:x", "10.0.0.1:70000", "1.2.3:53"])
def test_a_wrong_address_is_named(text):
    with pytest.raises(FlagError, match=f"--listen {text}"):
        bind("--listen", text)


@pytest.mark.parametrize("domain", [".", "a..b", "x" * 64, ".".join(["y" * 60] * 3)])
def test_a_wrong_domain_is_named(domain):
    with pytest.raises(FlagError, match="--cluster-domain"):
        from_flags(flags(1, 2, f"--cluster-domain={domain}"))
