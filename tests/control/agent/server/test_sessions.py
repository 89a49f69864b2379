"""Exec and attach: one meaning over WebSockets and SPDY, in all their subprotocols."""

import asyncio
import zlib

import aiohttp
import pytest

from control.agent.config import StreamLimits
from control.agent.server.channels import V1, V2, V4, V4_BASE64, V5, Channel
from control.spdy import DICTIONARY, Data, Opened, Ping, Reset
from control.upgrade import SPDY, VERSIONS
from tests.support.control.agent_server import agent_with
from tests.support.control.cluster import until
from tests.support.control.talks import (
    TRANSPORTS,
    WEBSOCKET,
    SpdyTalk,
    status,
    talking,
    upgrading,
)

EXEC, ATTACH = "/exec/default/web/c", "/attach/default/web/c"
OUTPUTS = {"output": "1", "error": "1"}
CLOSING = [it for it in TRANSPORTS if it == (WEBSOCKET, V5) or it[0] == SPDY]
RESIZING = [it for it in TRANSPORTS if it[0] == WEBSOCKET or it[1] not in (V2, V1)]
TWO = [(WEBSOCKET, V5), (SPDY, V4)]
every = pytest.mark.parametrize("transport", TRANSPORTS, ids=" ".join)
two = pytest.mark.parametrize("transport", TWO, ids=" ".join)


# -- one table for both --------------------------------------------------------------------------


@every
async def test_streams_come_on_their_channels_and_the_exit_code_last(agent, transport):
    words = ("sh", "-c", "echo out; echo err >&2; exit 3")
    async with talking(agent, transport, EXEC, OUTPUTS, *words) as talk:
        channels, last = await talk.result()
    assert channels == {Channel.STDOUT: b"out\n", Channel.STDERR: b"err\n"}
    assert status(talk.protocol, last) == {
        "status": "Failure",
        "message": "command terminated with non-zero exit code: exit status 3",
    }


@every
async def test_success_ends_with_a_status(agent, transport):
    async with talking(agent, transport, EXEC, OUTPUTS, "true") as talk:
        channels, last = await talk.result()
    assert (channels, status(talk.protocol, last)["status"]) == ({}, "Success")


@every
async def test_an_unwanted_stream_does_not_block_the_command(agent, transport):
    words = ("sh", "-c", "head -c 1000000 /dev/zero; echo done >&2")
    async with talking(agent, transport, EXEC, {"error": "1"}, *words) as talk:
        channels, last = await talk.result()
    assert channels == {Channel.STDERR: b"done\n"}
    assert status(talk.protocol, last)["status"] == "Success"


@pytest.mark.parametrize("transport", CLOSING, ids=" ".join)
async def test_the_end_of_input_reaches_the_command(agent, transport):
    async with talking(agent, transport, EXEC, {"input": "1", "output": "1"}, "sort") as talk:
        for word in (b"b\n", b"a\n"):
            await talk.send(Channel.STDIN, word)
        await talk.close_input()
        channels, last = await talk.result()
    assert channels == {Channel.STDOUT: b"a\nb\n"}
    assert status(talk.protocol, last)["status"] == "Success"


@pytest.mark.parametrize("transport", CLOSING, ids=" ".join)
async def test_every_byte_arrives(agent, transport):
    sent = bytes(range(256)) * 4000
    async with talking(agent, transport, EXEC, {"input": "1", "output": "1"}, "cat") as talk:
        reading = asyncio.create_task(talk.result())
        await talk.send(Channel.STDIN, sent)
        await talk.close_input()
        channels, _ = await reading
    assert channels == {Channel.STDOUT: sent}


@pytest.mark.parametrize("transport", RESIZING, ids=" ".join)
async def test_a_terminal_gets_its_size_and_one_output(agent, transport):
    query = {"input": "1", "output": "1", "error": "1", "tty": "1"}
    words = ("sh", "-c", "read answer; stty size; echo err >&2")
    async with talking(agent, transport, EXEC, query, *words) as talk:
        await talk.send(Channel.RESIZE, b'{"Width":77,"Height":33}\n')
        await talk.send(Channel.RESIZE, b"no size\n")
        await talk.send(Channel.STDIN, b"\r")
        channels, _ = await talk.result()
    assert channels.keys() == {Channel.STDOUT}
    assert b"33 77" in channels[Channel.STDOUT]
    assert b"err" in channels[Channel.STDOUT]


@every
async def test_a_client_that_leaves_ends_its_command(agent, transport):
    async with talking(agent, transport, EXEC, OUTPUTS, "sleep", "1000"):
        await until(lambda: bool(agent.runtime.streams), "the command runs")
    process = agent.runtime.streams[0]._process
    await until(lambda: process.returncode is not None, "the command has ended")


@every
async def test_a_command_uses_up_the_input_of_a_client_that_leaves(agent, transport, tmp_path):
    words = ("sh", "-c", "cat > $0/part; echo >&2; mv $0/part $0/whole", str(tmp_path))
    async with talking(agent, transport, EXEC, {"input": "1", **OUTPUTS}, *words) as talk:
        await talk.send(Channel.STDIN, bytes(300_000))
    await until((tmp_path / "whole").exists, "the command has ended by itself")
    assert (tmp_path / "whole").read_bytes() == bytes(300_000)


@two
async def test_input_keeps_no_command_of_a_client_that_left(tmp_path, transport):
    async with agent_with(tmp_path, StreamLimits(finishing=0.05)) as agent:
        async with talking(agent, transport, EXEC, {"input": "1", **OUTPUTS}, "sleep", "1000"):
            await until(lambda: bool(agent.runtime.streams), "the command runs")
        process = agent.runtime.streams[0]._process
        await until(lambda: process.returncode is not None, "the command has ended")


@two
async def test_a_background_process_of_a_command_does_not_hold_the_session(agent, transport):
    words = ("sh", "-c", "sleep 30 & echo $!")
    async with talking(agent, transport, EXEC, OUTPUTS, *words) as talk:
        async with asyncio.timeout(20):
            channels, last = await talk.result()
    assert status(talk.protocol, last)["status"] == "Success"
    assert int(channels[Channel.STDOUT]) > 0


@every
async def test_a_command_that_cannot_start_says_so_in_the_session(agent, transport):
    async with talking(agent, transport, EXEC, OUTPUTS, "/no/such") as talk:
        channels, last = await talk.result()
    assert channels == {}
    assert 'exec: "/no/such": No such file' in status(talk.protocol, last)["message"]


@pytest.mark.parametrize("transport", CLOSING, ids=" ".join)
async def test_attach_carries_a_containers_own_streams(agent, transport):
    agent.runtime.attached = ("sh", "-c", "cat; echo err >&2")
    async with talking(agent, transport, ATTACH, {"input": "1", **OUTPUTS}) as talk:
        await talk.send(Channel.STDIN, b"typed")
        await talk.close_input()
        channels, last = await talk.result()
    assert channels == {Channel.STDOUT: b"typed", Channel.STDERR: b"err\n"}
    assert status(talk.protocol, last)["status"] == "Success"


@every
async def test_a_refused_attach_says_why(agent, transport):
    agent.runtime.attached = ("nonsense",)
    async with talking(agent, transport, ATTACH, {"output": "1"}) as talk:
        _, last = await talk.result()
    assert "error attaching to container: exec" in status(talk.protocol, last)["message"]


@two
async def test_a_session_without_a_byte_ends(tmp_path, transport):
    async with agent_with(tmp_path, StreamLimits(idle=0.3)) as agent:
        async with talking(agent, transport, EXEC, OUTPUTS, "sleep", "1000") as talk:
            assert await talk.result() == ({}, b"")
        process = agent.runtime.streams[0]._process
        await until(lambda: process.returncode is not None, "the command has ended")


@two
async def test_a_session_whose_bytes_move_goes_on(tmp_path, transport):
    script = "for _ in 1 2 3 4 5 6 7 8 9; do sleep 0.3; echo x; done"
    async with (
        agent_with(tmp_path, StreamLimits(idle=2)) as agent,
        talking(agent, transport, EXEC, OUTPUTS, "sh", "-c", script) as talk,
    ):
        channels, _ = await talk.result()
    assert channels == {Channel.STDOUT: b"x\n" * 9}


# -- SPDY alone ----------------------------------------------------------------------------------


async def refused(agent, headers: dict[str, str]) -> tuple[int, str, list[str]]:
    params = [("command", "true"), ("output", "1")]
    async with agent.http.post(f"{agent.url}{EXEC}", params=params, headers=headers) as answer:
        accepted = answer.headers.getall("X-Accepted-Stream-Protocol-Versions", [])
        return answer.status, await answer.text(), accepted


async def test_a_client_must_name_a_known_subprotocol(agent):
    headers = {"Connection": "Upgrade", "Upgrade": SPDY}
    code, text, _ = await refused(agent, headers)
    assert code == 400
    assert f"no header {VERSIONS}" in text
    code, text, accepted = await refused(agent, headers | {VERSIONS: "v9.channel.k8s.io"})
    assert code == 403
    assert "client supports ['v9.channel.k8s.io']" in text
    assert accepted == [protocol for kind, protocol in TRANSPORTS if kind == SPDY]


async def test_the_clients_first_known_subprotocol_is_chosen(agent):
    headers = {"Connection": "Upgrade", "Upgrade": SPDY, VERSIONS: f"{V5}, {V2},{V4}"}
    params = [("command", "true"), ("output", "1")]
    async with agent.http.post(f"{agent.url}{EXEC}", params=params, headers=headers) as answer:
        assert answer.headers.getall(VERSIONS) == [V2]
        answer.close()


async def test_a_client_that_does_not_open_its_streams_is_dropped(tmp_path):
    async with (
        agent_with(tmp_path, StreamLimits(opening=0.2)) as agent,
        upgrading(agent, f"{EXEC}?command=true&output=1", V4) as wire,
    ):
        talk = SpdyTalk(wire, V4)
        await talk.stream(Channel.ERROR)
        while await talk.read():
            pass
    assert [it.stream for it in talk.events if isinstance(it, Reset)] == []
    assert agent.runtime.streams == []


async def test_unknown_and_repeated_streams_are_reset(agent):
    async with upgrading(agent, f"{EXEC}?command=true&output=1", V4) as wire:
        talk = SpdyTalk(wire, V4)
        await talk.stream(Channel.CLOSE, "nonsense")
        await talk.stream(Channel.ERROR)
        await talk.stream(Channel.RESIZE, "error")
        await talk.stream(Channel.STDOUT)
        _, last = await talk.result()
    assert status(V4, last)["status"] == "Success"
    assert [it.stream for it in talk.events if isinstance(it, Reset)] == [1, 5]


async def test_input_before_the_last_stream_is_kept(agent):
    async with upgrading(agent, f"{EXEC}?command=cat&input=1&output=1", V4) as wire:
        talk = SpdyTalk(wire, V4)
        await talk.stream(Channel.STDIN)
        await talk.send(Channel.STDIN, b"early")
        await talk.close_input()
        await talk.stream(Channel.STDOUT)
        await talk.stream(Channel.ERROR)
        channels, _ = await talk.result()
    assert channels == {Channel.STDOUT: b"early"}


async def test_too_much_input_before_the_last_stream_ends_the_session(agent):
    async with upgrading(agent, f"{EXEC}?command=cat&input=1&output=1", V4) as wire:
        talk = SpdyTalk(wire, V4)
        await talk.stream(Channel.STDIN)
        with pytest.raises(aiohttp.ClientConnectionResetError):
            for _ in range(1000):
                await talk.send(Channel.STDIN, bytes(30_000))
                await asyncio.sleep(0)
    assert agent.runtime.streams == []


async def test_a_reset_input_has_ended(agent):
    query = {"input": "1", "output": "1"}
    async with talking(agent, (SPDY, V4), EXEC, query, "cat") as talk:
        await talk.send(Channel.STDIN, b"all")
        await talk.wire.write(talk.encoder.reset(talk.streams[Channel.STDIN]))
        channels, _ = await talk.result()
    assert channels == {Channel.STDOUT: b"all"}


async def test_a_reset_output_is_dropped(agent):
    words = ("sh", "-c", "read x; echo out; echo err >&2")
    async with talking(agent, (SPDY, V4), EXEC, {"input": "1", **OUTPUTS}, *words) as talk:
        await talk.wire.write(talk.encoder.reset(talk.streams[Channel.STDOUT]))
        await talk.send(Channel.STDIN, b"\n")
        channels, last = await talk.result()
    assert channels == {Channel.STDERR: b"err\n"}
    assert status(V4, last)["status"] == "Success"


async def test_pings_are_answered(agent):
    async with talking(agent, (SPDY, V4), EXEC, {"input": "1"}, "cat") as talk:
        await talk.wire.write(talk.encoder.pong(7))
        while Ping(7) not in talk.events:
            assert await talk.read()
        await talk.close_input()
        await talk.result()


def bomb() -> bytes:
    """A stream's frame of a few hundred bytes whose headers are a little over what is taken."""
    deflate = zlib.compressobj(zdict=DICTIONARY)
    text = deflate.compress(bytes(66_000)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    body = b"\0\0\0\1" + bytes(6) + text
    return b"\x80\x03\0\1" + len(body).to_bytes(4) + body


@pytest.mark.parametrize(
    "data", [bomb(), b"\x80\x02\0\1" + bytes(8), b"\x80\x03\0\1\0\xff\xff\xff"], ids=len
)
async def test_invalid_frames_end_the_session_and_its_command(agent, data):
    async with talking(agent, (SPDY, V4), EXEC, OUTPUTS, "sleep", "1000") as talk:
        await until(lambda: bool(agent.runtime.streams), "the command runs")
        await talk.wire.write(data)
        while await talk.read():
            pass
    process = agent.runtime.streams[0]._process
    await until(lambda: process.returncode is not None, "the command has ended")
    assert not [it for it in talk.events if isinstance(it, (Data, Opened))]


# -- WebSockets alone ----------------------------------------------------------------------------


async def test_a_websocket_without_a_subprotocol_is_of_the_first_version(agent):
    url = f"{agent.url}{EXEC}?command=false&output=1"
    async with agent.http.ws_connect(url) as socket:
        messages = [message.data async for message in socket]
    assert socket.protocol is None
    assert messages[0] == b"\1"
    assert messages[1:] == [b"\3command terminated with non-zero exit code: exit status 1"]


async def test_text_that_is_not_base64_ends_the_session(agent, caplog):
    query = {"input": "1", "output": "1"}
    async with talking(agent, (WEBSOCKET, V4_BASE64), EXEC, query, "cat") as talk:
        await talk.send(Channel.STDIN, b"x")
        await talk.socket.send_str("0!")
        _, last = await talk.result()
    assert last == b""
    assert "a client's messages have ended" in caplog.text
    process = agent.runtime.streams[0]._process
    await until(lambda: process.returncode is not None, "the command has ended")
