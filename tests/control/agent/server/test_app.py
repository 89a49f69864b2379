"""The agent's server as its clients see it: TLS, WebSockets, channels."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from control.agent.config import ServerConfig
from control.agent.server.app import ServerSettingsError, serve
from control.tls import CertificateError
from tests.support.control.agent_server import (
    CLOSE,
    ERROR,
    RESIZE,
    STDERR,
    STDOUT,
    V4,
    V5,
    session,
)
from tests.support.control.cluster import until
from tests.support.control.streaming import Host, OneNode, PodTable, make_certificates


async def talk(socket: aiohttp.ClientWebSocketResponse) -> tuple[dict[int, bytes], dict]:
    """Return (data by channel, the Status at the end)."""
    channels: dict[int, bytes] = {}
    async for message in socket:
        channel = message.data[0]
        channels[channel] = channels.get(channel, b"") + message.data[1:]
    return channels, json.loads(channels.pop(ERROR))


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


@pytest.mark.parametrize("protocol", [V4, V5])
async def test_streams_come_on_their_channels_and_the_exit_code_last(agent, protocol):
    async with agent.exec(
        "sh", "-c", "echo out; echo err >&2; exit 3", protocol=protocol
    ) as socket:
        assert socket.protocol == protocol
        first = await socket.receive()
        assert first.data == bytes([STDOUT])  # the session has started
        channels, status = await talk(socket)
    assert channels == {STDOUT: b"out\n", STDERR: b"err\n"}
    assert status["reason"] == "NonZeroExitCode"
    assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]


async def test_success_ends_with_a_status(agent):
    async with agent.exec("true") as socket:
        assert (await talk(socket))[1] == {"metadata": {}, "status": "Success"}


async def test_an_unwanted_stream_does_not_block_the_command(agent):
    script = "head -c 1000000 /dev/zero; echo done >&2"
    async with agent.exec("sh", "-c", script, error="1") as socket:
        channels, status = await talk(socket)
    assert (channels, status["status"]) == ({STDERR: b"done\n"}, "Success")


async def test_v5_closes_standard_input_while_output_continues(agent):
    async with agent.exec("sort", input="1", output="1") as socket:
        for word in (b"b\n", b"a\n"):
            await socket.send_bytes(b"\0" + word)
        await socket.send_bytes(bytes([CLOSE, 0]))
        assert await talk(socket) == ({STDOUT: b"a\nb\n"}, {"metadata": {}, "status": "Success"})


async def test_a_terminal_gets_its_size_and_one_output(agent):
    script = "stty size; read answer; stty size; echo err >&2"
    async with agent.exec("sh", "-c", script, input="1", output="1", error="1", tty="1") as socket:
        await socket.send_bytes(bytes([RESIZE]) + b'{"Width":77,"Height":33}')
        await socket.send_bytes(bytes([RESIZE]) + b"no size")
        await socket.send_bytes(b"\0\r")
        channels, _ = await talk(socket)
    assert channels.keys() == {STDOUT}
    assert b"33 77" in channels[STDOUT]
    assert b"err" in channels[STDOUT]


async def test_a_client_that_leaves_ends_its_command(agent):
    async with agent.exec("sleep", "1000") as socket:
        await socket.receive()
    process = agent.runtime.streams[0]._process
    await until(lambda: process.returncode is not None, "the command has ended")


async def test_a_background_process_of_a_command_does_not_hold_the_session(agent):
    async with agent.exec("sh", "-c", "sleep 30 & echo $!") as socket:
        async with asyncio.timeout(20):
            channels, status = await talk(socket)
    assert status["status"] == "Success"
    assert int(channels[STDOUT]) > 0


async def test_a_command_that_cannot_start_says_so_in_the_session(agent):
    async with agent.exec("/no/such") as socket:
        _, status = await talk(socket)
    assert 'exec: "/no/such": No such file' in status["message"]


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
    code, text = await refused(agent, "/exec/default/web/c?command=x&output=1", Upgrade="SPDY/3.1")
    assert code == 400
    assert "kubectl 1.31 or later" in text


async def test_an_unknown_protocol_is_refused(agent):
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        async with agent.exec("true", protocol="channel.k8s.io"):
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


async def test_attach_carries_a_containers_own_streams(agent):
    write(agent.log, "before")
    agent.runtime.attached = ("sh", "-c", "cat; echo err >&2")
    url = f"{agent.url}/attach/default/web/c?input=1&output=1&error=1"
    async with agent.http.ws_connect(url, protocols=(V5,)) as socket:
        await socket.send_bytes(b"\0typed")
        await socket.send_bytes(bytes([CLOSE, 0]))
        channels, status = await talk(socket)
    assert channels == {STDOUT: b"typed", STDERR: b"err\n"}
    assert status["status"] == "Success"


async def test_a_refused_attach_says_why(agent):
    agent.runtime.attached = ("nonsense",)
    url = f"{agent.url}/attach/default/web/c?output=1"
    async with agent.http.ws_connect(url, protocols=(V5,)) as socket:
        _, status = await talk(socket)
    assert "error attaching to container: exec" in status["message"]
