"""TLS and credentials: broken ones are reported before the first request."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from control.api.kinds import CONFIG_MAP
from control.client import Client, ClientError
from control.client.kubeconfig import ClientConfig, Credentials, KubeconfigError
from control.client.transport import bearer, check

HERE = "https://127.0.0.1:1"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (ClientConfig(HERE, ca=b"junk"), "certificate-authority is not a PEM certificate"),
        (
            ClientConfig(HERE, credentials=Credentials(certificate=b"junk", key=b"junk")),
            "client certificate and key are not a PEM pair",
        ),
        (
            ClientConfig(HERE, credentials=Credentials(token_file=Path("/nope"))),
            "token file /nope cannot be read",
        ),
    ],
)
def test_broken_material_is_named(config, says):
    with pytest.raises(KubeconfigError, match=says):
        check(config)


def test_the_key_leaves_no_file_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(KubeconfigError):
        check(ClientConfig(HERE, credentials=Credentials(certificate=b"junk", key=b"junk")))
    assert not list(tmp_path.iterdir())


def test_a_token_file_is_read_each_time(tmp_path):
    file = tmp_path / "token"
    credentials = Credentials(token_file=file)
    for token in ("one", "two"):
        file.write_text(f"{token}\n")
        assert bearer(credentials) == {"Authorization": f"Bearer {token}"}
    assert bearer(Credentials(token="t")) == {"Authorization": "Bearer t"}
    assert bearer(Credentials()) == {}


@pytest.mark.parametrize("given", [None, "/etc/hosts"])
def test_importing_aiohttp_leaves_the_environment_alone(given: str | None) -> None:
    """The import leaves SSL_CERT_FILE as it was."""
    environment = {**os.environ, "SSL_CERT_FILE": given or ""}
    if given is None:
        del environment["SSL_CERT_FILE"]
    program = "import control.client, os; print(os.environ.get('SSL_CERT_FILE'))"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(given)


async def test_a_token_that_cannot_be_read_now_is_that_of_before(tmp_path, caplog):
    """Who writes the file may be about to replace it."""
    given: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        given.append(request.headers["Authorization"])
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    file = tmp_path / "token"
    async with TestServer(app) as server:
        config = ClientConfig(
            str(server.make_url("")).rstrip("/"), credentials=Credentials(token_file=file)
        )
        async with Client(config) as client:
            for text in (b"one\n", b"", b"\xff", b"a\nb", None, b"two"):
                file.unlink() if text is None else file.write_bytes(text)
                await client.list(CONFIG_MAP, "default")
        file.unlink()
        async with Client(config) as client:
            with pytest.raises(ClientError, match="cannot be read"):
                await client.list(CONFIG_MAP, "default")
    assert given == [*["Bearer one"] * 5, "Bearer two"]
    warnings = [record.message for record in caplog.records if "old token" in record.message]
    assert warnings == [f"token file {file} has no token of one line; the old token stays in use"]
