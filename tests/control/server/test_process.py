"""The server as a process: flags, TLS, users, kill -9 and shutdown."""

import asyncio
import base64
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from control.pki import Identity, create_authority, issue
from control.server.access.authn import Authenticator, TokenFileError, load_tokens
from control.server.cli import main
from tests.support.control.etcd import shared_etcd
from tests.support.control.requests import CORE, config_map
from tests.support.control.secured import Secured
from tests.support.control.server_process import Process
from tests.support.parts import program

MAPS = f"{CORE}/configmaps"


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    made = Process(tmp_path)
    yield made
    if made.running is not None:
        await made.end(signal.SIGKILL)
    made.listening.close()


async def test_sigterm_ends_the_server_at_once_with_code_0(process: Process):
    await process.start()
    async with process.session() as session, session.get(f"{MAPS}?watch=1") as watch:
        assert watch.status == 200
        code, log = await process.end(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientPayloadError):
            await watch.read()
    assert code == 0
    assert "Traceback" not in log
    assert re.search(r"INFO control.server.cli stopped", log)


@pytest.mark.parametrize("kind", ["sqlite", "etcd"])
async def test_events_live_as_long_as_event_ttl_says(process: Process, kind: str):
    if kind == "etcd":
        process.store = f"etcd:{shared_etcd().url}?prefix={process.folder}"
    await process.start("--event-ttl=2s")
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    event = {"metadata": {"name": "e"}, "reason": "X", "involvedObject": about}
    async with process.session() as session:
        for path, made in ((f"{CORE}/events", event), (MAPS, config_map("a"))):
            async with session.post(path, json=made) as answer:
                assert answer.status == 201
        async with asyncio.timeout(60):
            while True:
                async with session.get(f"{CORE}/events/e") as answer:
                    if answer.status == 404:
                        break
                await asyncio.sleep(0.1)
        async with session.get(f"{MAPS}/a") as answer:
            assert answer.status == 200, "nothing else has an end"


@pytest.mark.parametrize("life", ["", "0", "1", "500ms", "-1h", "1d", "1h 30m", "9999999999h"])
def test_a_wrong_event_ttl_is_refused(tmp_path: Path, life: str):
    for name in ("crt", "key"):
        (tmp_path / name).touch()
    given = [f"--tls-cert={tmp_path}/crt", f"--tls-key={tmp_path}/key", f"--event-ttl={life}"]
    done = CliRunner().invoke(main, given)
    assert (done.exit_code, "is no time of a second or more" in done.output) == (2, True)


async def test_nothing_is_lost_by_kill_9_and_watches_resume(process: Process):
    await process.start()
    async with process.session() as session:
        async with session.post(MAPS, json=config_map("a")) as answer:
            version = (await answer.json())["metadata"]["resourceVersion"]
        for n in range(20):
            async with session.post(MAPS, json=config_map(f"m{n}")) as answer:
                assert answer.status == 201
        await process.end(signal.SIGKILL)
    await process.start()
    async with process.session() as session:
        async with session.get(MAPS) as answer:
            assert len((await answer.json())["items"]) == 21
        async with session.get(f"{MAPS}?watch=1&resourceVersion={version}") as watch:
            lines = [await watch.content.readline() for _ in range(20)]
    assert all(b'"type":"ADDED"' in line for line in lines)
    assert b'"name":"m0"' in lines[0]


async def test_secrets_are_ciphertext_in_the_stores_file(process: Process):
    config = process.folder / "encryption.yaml"
    key = base64.b64encode(bytes(32)).decode()
    config.write_text(
        "{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{"
        "resources: [secrets], providers: [{aesgcm: {keys: [{name: k, secret: '" + key + "'}]}}]}]}"
    )
    await process.start(f"--encryption-provider-config={config}")
    path = f"{CORE}/secrets"
    async with process.session() as session:
        wanted = {"metadata": {"name": "s"}, "stringData": {"word": "hunter2"}}
        async with session.post(path, json=wanted) as answer:
            assert answer.status == 201
        async with session.get(f"{path}/s") as answer:
            assert (await answer.json())["data"] == {"word": "aHVudGVyMg=="}
    await process.end(signal.SIGTERM)
    held = (process.folder / "store.db").read_bytes()
    assert b"k8s:enc:aesgcm:v1:k:" in held and b"aHVudGVyMg==" not in held
    await process.start()
    assert process.running
    _, log = await process.running.communicate()
    assert process.running.returncode == 1, log
    process.running = None
    assert b"read /registry/core/secrets/default/s: it is encrypted: the server needs its" in log


async def test_anonymous_clients_see_only_health_and_version(secured: Secured):
    connector = aiohttp.TCPConnector(ssl=secured.client_tls(user=""))
    async with aiohttp.ClientSession(secured.url, connector=connector) as session:
        codes = {}
        for path in ("/healthz", "/livez", "/readyz", "/version", "/api", MAPS, "/openapi/v2"):
            async with session.get(path) as answer:
                codes[path] = answer.status
        async with session.get(MAPS, headers={"Authorization": "Bearer nonsense"}) as answer:
            assert answer.status == 401
            assert (await answer.json())["reason"] == "Unauthorized"
    public = {path for path, code in codes.items() if code == 200}
    assert public == {"/healthz", "/livez", "/readyz", "/version"}
    assert set(codes.values()) == {200, 401}


async def test_a_strangers_certificate_is_refused(secured: Secured, tmp_path: Path):
    stranger = create_authority("stranger")
    issue(stranger, Identity("admin", ("system:masters",))).save(tmp_path, "stranger")
    connector = aiohttp.TCPConnector(ssl=secured.client_tls(user="stranger"))
    async with aiohttp.ClientSession(secured.url, connector=connector) as session:
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await session.get(MAPS)


async def test_a_certificate_identifies_its_user(secured: Secured):
    connector = aiohttp.TCPConnector(ssl=secured.client_tls())
    async with aiohttp.ClientSession(secured.url, connector=connector) as session:
        path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        async with session.post(path, json={}) as answer:
            status = (await answer.json())["status"]
    assert status["userInfo"] == {
        "username": "admin",
        "groups": ["system:masters", "system:authenticated"],
    }


def flags(folder: Path, *more: str) -> list[str]:
    files = {"tls-cert": "server.crt", "tls-key": "server.key"}
    return [f"--{flag}={folder / name}" for flag, name in files.items()] + list(more)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ((), "nowhere to listen: give --listen or --listen-fd"),
        (("--listen=here:1",), "'here:1' is not ADDR:PORT"),
        (("--listen=127.0.0.1:x",), "'127.0.0.1:x' is not ADDR:PORT"),
        (("--listen=127.0.0.1:99999",), "a port is 0 (any free port) to 65535"),
        (("--listen=127.0.0.1:0", "--store=etcd:x"), "expected etcd:http"),
        (("--listen=127.0.0.1:0", "--service-cidr=10.0.0.1/8"), "has host bits set"),
        (("--listen=127.0.0.1:0", "--service-cidr=10.0.0.0/8,10.1.0.0/16"), "at most one range"),
        (("--listen=127.0.0.1:0", "--node-port-range=9-1"), "is not FIRST-LAST"),
        (("--listen=127.0.0.1:0", "--advertise-address=x"), "does not appear to be an IPv4"),
        (("--listen-fd=999",), "Bad file descriptor"),
        (("--nonsense",), "No such option"),
    ],
)
def test_a_bad_flag_is_one_line_and_code_2(process: Process, more: tuple[str, ...], text: str):
    result = CliRunner().invoke(main, flags(process.folder, *more))
    assert result.exit_code == 2
    assert text in result.output
    assert "Traceback" not in result.output


def test_a_port_in_use_and_a_bad_key_are_reported(process: Process):
    busy = f"--listen=127.0.0.1:{process.port}"
    result = CliRunner().invoke(main, flags(process.folder, busy))
    assert (result.exit_code, "cannot listen on" in result.output) == (2, True)
    (process.folder / "server.key").write_text("no key")
    result = CliRunner().invoke(main, flags(process.folder, "--listen=127.0.0.1:0"))
    assert (result.exit_code, f"with key {process.folder}/server.key: " in result.output) == (
        2,
        True,
    )


async def test_a_store_that_cannot_be_opened_is_one_line_and_code_1(process: Process):
    done = await asyncio.to_thread(
        subprocess.run,
        [
            *program("apiserver"),
            "--store=sqlite:/none/store.db",
            "--listen=127.0.0.1:0",
            *flags(process.folder),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "No such file" in done.stderr
    assert "Traceback" not in done.stderr


def test_tokens_name_users(tmp_path: Path):
    path = tmp_path / "tokens"
    path.write_text('secret,alice,1,"a,b"\nother,bob,2\n')
    tokens = load_tokens(path)
    known = Authenticator(tokens)
    alice = known.user(None, "Bearer secret")
    assert alice is not None
    assert (alice.name, alice.groups) == ("alice", ("a", "b", "system:authenticated"))
    assert known.user(None, "Bearer wrong") is None
    assert known.user(None, "Basic secret") is None
    assert known.user(None, "") is None
    path.write_text("only-a-token\n")
    with pytest.raises(TokenFileError, match="line 1"):
        load_tokens(path)


async def test_tokens_and_modes_of_files(process: Process):
    await process.start()
    async with process.session() as session, session.get("/readyz") as answer:
        assert answer.status == 200
    assert (process.folder / "store.db").stat().st_mode & 0o777 == 0o600
