"""The agent's server as its clients see it: TLS, WebSockets, channels."""

from pathlib import Path

import aiohttp
import pytest

from control.agent.config import ServerConfig
from control.agent.server.app import ServerSettingsError, serve
from control.runtime.base import ContainerRuntimeError
from control.runtime.used import RuntimeUsage
from control.tls import CertificateError
from tests.support.control.agent_server import session
from tests.support.control.streaming import Host, OneNode, PodTable, make_certificates


async def test_a_client_without_a_certificate_is_refused(agent, tmp_path):
    async with session(tmp_path, "") as http:
        with pytest.raises(aiohttp.ClientError):
            await http.get(f"{agent.url}/healthz")


async def test_other_identities_of_the_cluster_may_not_enter_pods(agent, tmp_path):
    async with session(tmp_path, "stranger") as http, http.get(f"{agent.url}/pods") as response:
        assert response.status == 403


async def test_healthz_and_pods(agent):
    async with agent.http.get(f"{agent.url}/healthz") as response:
        assert await response.text() == "ok"
    async with agent.http.get(f"{agent.url}/pods") as response:
        body = await response.json()
    assert (body["kind"], body["items"]) == ("PodList", [agent.pod.wire()])


@pytest.mark.parametrize("path", ["/stats/summary", "/metrics/resource", "/metrics/cadvisor"])
async def test_a_runtime_that_does_not_answer_is_named(agent, path):
    async def down() -> RuntimeUsage:
        raise ContainerRuntimeError("nobody listens on the socket")

    agent.runtime.usage = down
    assert await refused(agent, path) == (500, "nobody listens on the socket")


async def test_a_server_without_an_authority_does_not_start(tmp_path):
    make_certificates(tmp_path)
    settings = ServerConfig("127.0.0.1", 0, tmp_path / "node.crt", tmp_path / "node.key")
    with pytest.raises(ServerSettingsError, match="--client-ca"):
        async with serve(settings, OneNode(Host(tmp_path), PodTable())):
            pass


async def test_a_key_of_another_certificate_is_named(tmp_path):
    make_certificates(tmp_path)
    files = (tmp_path / "node.crt", tmp_path / "stranger.key", tmp_path / "ca.crt")
    with pytest.raises(CertificateError, match=r"stranger\.key: key values mismatch"):
        async with serve(ServerConfig("127.0.0.1", 0, *files), OneNode(Host(tmp_path), PodTable())):
            pass


async def test_without_a_certificate_there_is_no_server(tmp_path):
    async with serve(ServerConfig(), OneNode(Host(tmp_path), PodTable())) as port:
        assert port == 0


async def refused(agent, path: str, **headers: str) -> tuple[int, str]:
    async with agent.http.get(f"{agent.url}{path}", headers=headers) as response:
        return response.status, await response.text()


async def test_refusals_name_their_cause(agent):
    assert await refused(agent, "/exec/default/web/c?output=1") == (
        400,
        "you must specify at least one command for the container",
    )
    assert await refused(agent, "/exec/default/web/c?command=x") == (
        400,
        "you must specify at least 1 of stdin, stdout, stderr",
    )
    code, text = await refused(agent, "/exec/default/other/c?command=x&output=1")
    assert (code, text) == (404, 'pod "other" does not exist on this node')
    code, text = await refused(agent, "/exec/default/web/older/c?command=x&output=1")
    assert code == 404
    code, text = await refused(agent, "/exec/default/web/c?command=x&output=1", Upgrade="h2c")
    assert (code, text) == (
        400,
        "Upgrade request required: streams need a WebSocket or SPDY/3.1",
    )


async def test_an_unknown_protocol_is_refused(agent):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with agent.exec("true", protocol="v9.channel.k8s.io"):
            pass
    assert caught.value.status == 400


def write(log: Path, text: str, stream: str = "stdout") -> None:
    with log.open("a") as file:
        file.write(f"2026-11-22T13:00:00.000000001Z {stream} F {text}\n")


async def test_a_followed_log_ends_with_its_container(agent):
    write(agent.log, "one")
    url = f"{agent.url}/containerLogs/default/web/c?follow=true"
    async with agent.http.get(url) as response:
        assert await response.content.readline() == b"one\n"
        write(agent.log, "two")
        assert await response.content.readline() == b"two\n"
        write(agent.log, "three")
        agent.runtime.end("web.c.0")
        assert await response.content.read() == b"three\n"


async def test_a_limit_ends_a_followed_log(agent):
    write(agent.log, "one")
    code, text = await refused(agent, "/containerLogs/default/web/c?follow=true&limitBytes=2")
    assert (code, text) == (200, "on")


async def test_a_log_that_was_lost(agent):
    agent.log.unlink()
    code, text = await refused(agent, "/containerLogs/default/web/c")
    assert code == 404
    assert str(agent.log) in text
