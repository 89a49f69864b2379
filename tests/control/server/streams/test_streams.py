"""Logs, exec, attach and port-forward through the API server, with the real kubectl."""

import asyncio
import fcntl
import hashlib
import os
import pty
import random
import socket
import ssl
import struct
import termios
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web as http_server
from aiohttp.test_utils import TestServer
from yarl import URL

from control.api import kinds
from control.upgrade import SPDY, VERSIONS, accept, asks, of_response
from tests.support.control.cluster import until
from tests.support.control.kubectls import KUBECTLS
from tests.support.control.streaming import Streaming, add_node, streaming

LINE = "2026-11-22T13:00:00.00000000{} stdout F {}\n"
OLDER = KUBECTLS[1:]
NOISE = random.Random(7).randbytes(4_000_000)


@pytest.fixture
async def cluster(tmp_path) -> AsyncIterator[Streaming]:
    async with streaming(tmp_path) as running:
        yield running


@pytest.fixture
async def web(cluster):
    """Make a running Pod with one container; return the path of its log."""
    pod = await cluster.pod("web")
    log = cluster.runtime.add(pod, "c")
    log.write_text(LINE.format("1Z", "one") + LINE.format("2Z", "two"))
    return log


# -- logs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ((), b"one\ntwo\n"),
        (("--tail=1",), b"two\n"),
        (("--tail=0",), b""),
        (("--limit-bytes=2",), b"on"),
        (("--timestamps", "--tail=1"), b"2026-11-22T13:00:00.000000002Z two\n"),
        (("--since-time=2026-11-22T13:00:01Z",), b""),
        (("--since=200000h",), b"one\ntwo\n"),
    ],
)
async def test_logs(cluster, web, flags, shown):
    assert await cluster.kubectl("logs", "web", *flags) == (0, shown, "")


@pytest.mark.parametrize(
    ("protocol", "shown"),
    [
        ("", [b"", b"one\ntwo\n"]),
        ("binary.k8s.io", [b"", b"one\ntwo\n"]),
        ("base64.binary.k8s.io", ["", "b25lCnR3bwo="]),
    ],
)
async def test_a_log_over_a_websocket(cluster, web, protocol, shown):
    async with aiohttp.ClientSession(cluster.url) as http:
        path = "/api/v1/namespaces/default/pods/web/log"
        async with http.ws_connect(path, protocols=[protocol] if protocol else []) as socket:
            told = [message.data async for message in socket]
        empty = shown[0][:0]
        assert (told[0], empty.join(told)) == (empty, empty.join(shown))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(path, protocols=["v4.channel.k8s.io"])
        assert refused.value.status == 403


async def test_logs_of_the_previous_run(cluster, web):
    cluster.runtime.end("web.c.0")
    pod = cluster.table.pods["default", "web"]
    cluster.runtime.add(pod, "c", 1).write_text(LINE.format("3Z", "new"))
    assert await cluster.kubectl("logs", "web", "--previous") == (0, b"one\ntwo\n", "")
    assert await cluster.kubectl("logs", "web") == (0, b"new\n", "")


async def test_followed_logs_come_as_they_are_written_and_end_with_the_container(cluster, web):
    process = await cluster.start("logs", "-f", "web")
    assert process.stdout
    assert await process.stdout.readline() == b"one\n"
    assert await process.stdout.readline() == b"two\n"
    web.rename(f"{web}.20261122-130000.000000")
    web.write_text(LINE.format("3Z", "after the rotation"))
    assert await process.stdout.readline() == b"after the rotation\n"
    cluster.runtime.end("web.c.0")
    assert await process.communicate() == (b"", b"")
    assert process.returncode == 0


async def test_one_of_several_containers_must_be_named(cluster):
    pod = await cluster.pod("two", "a", "b")
    cluster.runtime.add(pod, "b").write_text(LINE.format("1Z", "of b"))
    assert (await cluster.kubectl("logs", "two", "-c", "b"))[1] == b"of b\n"
    assert await ask(cluster, "two", "log") == (
        400,
        "a container name must be specified for pod two, choose one of: [a b]",
    )
    assert await ask(cluster, "two", "log", container="x") == (
        400,
        "container x is not valid for pod two",
    )


async def test_a_pod_that_does_not_run_yet(cluster):
    waiting = {
        "name": "c",
        "state": {"waiting": {"reason": "ContainerCreating"}},
        **{"ready": False, "restartCount": 0, "image": "", "imageID": ""},
    }
    await cluster.pod("new", containerStatuses=[waiting])
    code, out, err = await cluster.kubectl("logs", "new")
    assert (code, out) == (1, b"")
    assert 'container "c" in pod "new" is waiting to start: ContainerCreating' in err


async def test_a_pod_without_a_node(cluster):
    await cluster.pod("pending", node=None)
    assert await cluster.kubectl("logs", "pending") == (0, b"", "")
    assert await ask(cluster, "pending", "exec", command="x", stdout="1") == (
        400,
        "pod pending does not have a host assigned",
    )


# -- commands ------------------------------------------------------------------------------------


async def test_a_command_and_its_exit_code(cluster, web):
    words = ("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    code, out, err = await cluster.kubectl(*words)
    assert (code, out) == (7, b"out\n")
    assert err == "err\ncommand terminated with exit code 7\n"


async def test_exec_of_a_long_command(cluster, web):
    script = f"echo {'x' * 20_000} | wc -c"
    assert await cluster.kubectl("exec", "web", "--", "sh", "-c", script) == (0, b"20001\n", "")


async def test_exec_carries_every_byte_both_ways(cluster, web):
    code, out, err = await cluster.kubectl("exec", "-i", "web", "--", "cat", input=NOISE)
    assert (code, err) == (0, "")
    assert hashlib.sha256(out).digest() == hashlib.sha256(NOISE).digest()


async def test_many_commands_at_once(cluster, web):
    runs = [cluster.kubectl("exec", "web", "--", "echo", str(n)) for n in range(8)]
    assert await asyncio.gather(*runs) == [(0, b"%d\n" % n, "") for n in range(8)]


async def test_files_are_copied_both_ways(cluster, web, tmp_path):
    (tmp_path / "there").write_bytes(NOISE)
    code, _, err = await cluster.kubectl("cp", f"{tmp_path}/there", f"web:{tmp_path}/here")
    assert (code, err) == (0, "")
    assert (tmp_path / "here").read_bytes() == NOISE
    code, _, _ = await cluster.kubectl("cp", f"web:{tmp_path}/here", f"{tmp_path}/back")
    assert code == 0
    assert (tmp_path / "back").read_bytes() == NOISE


async def test_an_interrupted_kubectl_leaves_no_command_behind(cluster, web):
    process = await cluster.start("exec", "web", "--", "sleep", "1000")
    await until(lambda: bool(cluster.runtime.streams), "the command runs")
    process.kill()
    await process.communicate()
    command = cluster.runtime.streams[0]._process
    await until(lambda: command.returncode is not None, "the command has ended")


@pytest.mark.parametrize("program", KUBECTLS[:2], ids=lambda path: path.name)
async def test_exec_with_a_terminal(cluster, web, program):
    ours, theirs = pty.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
    process = await cluster.start(
        "exec",
        "-it",
        "web",
        "--",
        "sh",
        program=str(program),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    await shows(ours, b"# ")
    # kubectl tells the size beside the input, which may be there first.
    os.write(ours, b"until stty size | grep 33.77; do sleep 0.05; done\n")
    await shows(ours, b"\n33 77")
    os.write(ours, b"sleep 1000\n")
    await until(lambda: b"sleep" in children(cluster), "the command runs")
    os.write(ours, b"\x03")
    await shows(ours, b"# ")
    os.write(ours, b"exit 5\n")
    assert await process.wait() == 5
    os.close(ours)


def children(cluster: Streaming) -> bytes:
    """Return the command lines of the only command's children."""
    found, pids = b"", [cluster.runtime.streams[0]._process.pid]
    while pids:
        pid = pids.pop()
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            found += Path(f"/proc/{pid}/cmdline").read_bytes()
            for task in Path(f"/proc/{pid}/task").iterdir():
                pids += [int(pid) for pid in (task / "children").read_text().split()]
    return found


async def shows(terminal: int, text: bytes) -> None:
    """Read a terminal until it shows a text."""
    seen = bytearray()
    os.set_blocking(terminal, False)

    def arrived() -> bool:
        try:
            seen.extend(os.read(terminal, 4096))
        except BlockingIOError:
            return False
        return text in seen

    await until(arrived, f"{text!r} after {bytes(seen)!r}")


async def test_attach_connects_the_containers_streams(cluster, web):
    cluster.runtime.attached = ("sh", "-c", "cat; echo bye")
    code, out, err = await cluster.kubectl("attach", "-i", "web", input=b"typed\n")
    assert (code, out, "rror" in err) == (0, b"typed\nbye\n", False)


# -- ports ---------------------------------------------------------------------------------------


async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"from the Pod")
    writer.close()


async def test_ports_are_forwarded(cluster):
    pod = await cluster.pod("web", phase="Running")
    cluster.runtime.add(pod, "c")
    await forwarded(cluster, "kubectl")


async def forwarded(cluster: Streaming, program: str) -> None:
    """Forward a port of the Pod ``web``, and connect three times."""
    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    words = ("port-forward", "--address=127.0.0.1", "web", f":{port}")
    process = await cluster.start(*words, program=program)
    assert process.stdout
    told = await process.stdout.readline()  # Forwarding from 127.0.0.1:LOCAL -> PORT
    local = int(told.split()[2].rpartition(b":")[2])
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        assert await reader.read() == b"from the Pod"
        writer.close()
    process.terminate()
    assert (await process.communicate())[1] == b""
    server.close()


# -- what goes wrong -----------------------------------------------------------------------------


async def ask(cluster: Streaming, pod: str, sub: str, **query: str) -> tuple[int, str]:
    """Send a request without an upgrade; return (code, message)."""
    url = f"{cluster.url}/api/v1/namespaces/default/pods/{pod}/{sub}"
    async with aiohttp.ClientSession() as http, http.get(url, params=query) as response:
        return response.status, (await response.json())["message"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"tailLines": "-1"}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": "0"}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0"}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
    ],
)
async def test_invalid_log_options_are_refused(cluster, web, query, message):
    assert await ask(cluster, "web", "log", **query) == (
        422,
        f'PodLogOptions "web" is invalid: {message}',
    )


async def test_malformed_log_options_are_refused(cluster, web):
    code, message = await ask(cluster, "web", "log", tailLines="x")
    assert (code, message) == (400, 'tailLines: strconv.ParseInt: parsing "x": invalid syntax')
    code, _ = await ask(cluster, "web", "log", sinceTime="now")
    assert code == 400


async def test_a_pod_that_does_not_exist(cluster):
    assert await ask(cluster, "none", "log") == (404, 'pods "none" not found')


async def test_a_container_that_has_ended(cluster, web):
    cluster.runtime.end("web.c.0")
    code, _, err = await cluster.kubectl("exec", "web", "--", "true")
    assert code == 1
    assert 'container not found ("c")' in err


async def test_a_node_that_does_not_answer(cluster):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    await add_node(cluster.client, "dead", port)
    await cluster.pod("lost", node="dead")
    code, message = await ask(cluster, "lost", "log")
    assert code == 500
    assert "error dialing backend: the agent of node dead" in message
    assert str(port) in message


async def test_a_node_that_does_not_exist(cluster):
    await cluster.pod("lost", node="gone")
    assert await ask(cluster, "lost", "log") == (404, 'nodes "gone" not found')


async def test_an_agent_of_another_authority_is_refused(cluster, web, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    async with streaming(other) as foreign:
        node = await foreign.client.get(kinds.NODE, None, "n1")
        assert node.status.daemon_endpoints
        assert node.status.daemon_endpoints.kubelet_endpoint
        await add_node(
            cluster.client, "foreign", node.status.daemon_endpoints.kubelet_endpoint.port
        )
        await cluster.pod("lost", node="foreign")
        code, message = await ask(cluster, "lost", "log")
    assert code == 500
    assert "certificate verify failed" in message


@asynccontextmanager
async def dying_agent(cluster: Streaming) -> AsyncIterator[None]:
    """Make a node with a Pod ``lost``, whose agent dies after the start of each answer."""

    async def begin(request: http_server.Request) -> http_server.StreamResponse:
        if asks(request.headers, "websocket"):
            socket = http_server.WebSocketResponse(protocols=("v5.channel.k8s.io",))
            await socket.prepare(request)
            await socket.send_bytes(b"\1half")
        elif asks(request.headers, SPDY):
            accepted = await accept(request, SPDY, {VERSIONS: "v4.channel.k8s.io"})
            await accepted.write(b"half")
        else:
            response = http_server.StreamResponse()
            await response.prepare(request)
            await response.write(b"half")
        assert request.transport
        request.transport.close()  # TCP's end without WebSocket's or HTTP's
        return http_server.Response()

    app = http_server.Application()
    app.router.add_route("*", "/{path:.*}", begin)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(cluster.folder / "node.crt", cluster.folder / "node.key")
    server = TestServer(app)
    await server.start_server(ssl=tls)
    assert server.port
    await add_node(cluster.client, "dying", server.port)
    await cluster.pod("lost", node="dying")
    yield
    await server.close()


async def test_an_agent_that_dies_does_not_end_a_session_well(cluster):
    url = f"{cluster.url}/api/v1/namespaces/default/pods/lost/exec?command=x&stdout=1"
    async with (
        dying_agent(cluster),
        aiohttp.ClientSession() as http,
        http.ws_connect(url, protocols=("v5.channel.k8s.io",)) as socket,
    ):
        assert await socket.receive_bytes() == b"\1half"
        end = await socket.receive()
        assert (end.type, socket.close_code) == (aiohttp.WSMsgType.CLOSED, 1006)


async def test_input_that_nobody_reads_stays_with_the_client(cluster, web, tmp_path):
    """Server and agent hold some buffers of it, however long the client's messages are."""
    size = 30 * 1024 * 1024
    head = b"GET /api/v1/namespaces/default/pods/web/exec?command=sleep&command=99&stdin=1 HTTP/1.1"
    head += b"\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
    head += b"\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(cluster.url).port)
    writer.write(head)
    assert b"101 Switching" in await reader.readuntil(b"\r\n\r\n")
    tracemalloc.start()
    writer.write(struct.pack("!BBQ4s", 0x82, 0x80 | 127, size, bytes(4)))
    sent = 0

    async def push() -> None:
        nonlocal sent
        while sent < size:
            writer.write(bytes(4096))
            await writer.drain()
            sent += 4096

    pushing = asyncio.create_task(push())
    seen = -1
    while seen < sent < size:  # a machine that stands still ends this too early, and the test well
        seen = sent
        await asyncio.sleep(0.5)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pushing.cancel()
    writer.transport.abort()
    assert held < 6_000_000, (held, sent)


async def test_an_agent_that_dies_does_not_end_a_log_well(cluster):
    url = f"{cluster.url}/api/v1/namespaces/default/pods/lost/log"
    async with dying_agent(cluster), aiohttp.ClientSession() as http, http.get(url) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


# -- the versions of kubectl ---------------------------------------------------------------------


@pytest.fixture(params=OLDER, ids=lambda path: path.name)
def older(request) -> str:
    """A kubectl of another version than that on the PATH; before 1.30 all its streams are SPDY."""
    return str(request.param)


async def test_older_kubectls_carry_input_and_output(cluster, web, older):
    words = ("exec", "-i", "web", "--", "cat")
    code, out, err = await cluster.kubectl(*words, input=NOISE, program=older)
    assert (code, err) == (0, "")
    assert hashlib.sha256(out).digest() == hashlib.sha256(NOISE).digest()


async def test_older_kubectls_show_errors_and_exit_codes(cluster, web, older):
    words = ("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    code, out, err = await cluster.kubectl(*words, program=older)
    assert (code, out) == (7, b"out\n")
    assert "err\n" in err
    code, _, err = await cluster.kubectl("exec", "web", "--", "/no/such", program=older)
    assert code == 1
    assert 'exec: "/no/such": No such file' in err


async def test_older_kubectls_attach(cluster, web, older):
    cluster.runtime.attached = ("sh", "-c", "cat; echo bye")
    code, out, _ = await cluster.kubectl("attach", "-i", "web", input=b"typed\n", program=older)
    assert (code, out) == (0, b"typed\nbye\n")


async def test_older_kubectls_copy_files(cluster, web, tmp_path, older):
    (tmp_path / "there").write_bytes(NOISE)
    words = ("cp", f"{tmp_path}/there", f"web:{tmp_path}/here")
    assert (await cluster.kubectl(*words, program=older))[0] == 0
    assert (tmp_path / "here").read_bytes() == NOISE


async def test_older_kubectls_forward_ports(cluster, older):
    pod = await cluster.pod("web", phase="Running")
    cluster.runtime.add(pod, "c")
    await forwarded(cluster, older)


async def test_older_kubectls_show_the_servers_refusal(cluster, web, older):
    cluster.runtime.end("web.c.0")
    code, _, err = await cluster.kubectl("exec", "web", "--", "true", program=older)
    assert code == 1
    assert 'container not found ("c")' in err


# -- SPDY ----------------------------------------------------------------------------------------


def spdy(cluster: Streaming, pod: str, protocol: str) -> Any:
    url = f"{cluster.url}/api/v1/namespaces/default/pods/{pod}/exec?command=x&stdout=1"
    headers = {"Connection": "Upgrade", "Upgrade": SPDY, VERSIONS: protocol}
    http = aiohttp.ClientSession()
    return http, http.post(url, headers=headers)


async def test_an_unknown_subprotocol_is_refused_by_the_agent(cluster, web):
    http, asking = spdy(cluster, "web", "v9.channel.k8s.io")
    async with http, asking as response:
        assert response.status == 500
        assert "server accepts ['v4.channel.k8s.io'" in (await response.json())["message"]


async def test_an_agent_that_dies_ends_spdy_without_a_status(cluster):
    async with dying_agent(cluster):
        http, asking = spdy(cluster, "lost", "v4.channel.k8s.io")
        async with http, asking as response:
            assert (response.status, response.headers[VERSIONS]) == (101, "v4.channel.k8s.io")
            wire = of_response(response)
            assert b"".join([piece async for piece in wire.pieces()]) == b"half"
            response.close()


async def test_a_client_that_leaves_ends_spdy_at_the_agent(cluster, web):
    program = next((str(path) for path in OLDER if path.name < "kubectl.1.30"), None)
    if program is None:
        pytest.skip("no kubectl before 1.30 here")
    process = await cluster.start("exec", "web", "--", "sleep", "1000", program=program)
    await until(lambda: bool(cluster.runtime.streams), "the command runs")
    process.kill()
    await process.communicate()
    command = cluster.runtime.streams[0]._process
    await until(lambda: command.returncode is not None, "the command has ended")
