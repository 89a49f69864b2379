"""Open the aiohttp session of a client, with TLS, credentials and TCP keepalive."""

import os
import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any

import aiohttp

from control.client.kubeconfig import ClientConfig, Credentials, KubeconfigError

# A peer that vanished without a FIN is detected after 10 + 3 * 5 seconds of silence, and after the
# same time if it does not acknowledge sent data (TCP_USER_TIMEOUT; RFC 5482).
_KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 25_000),
)

# To connect and to agree on TLS, which aiohttp times together: client-go gives TLS alone as long. A
# server behind a systemd socket takes connections before it runs.
CONNECT_SECONDS = 10.0


def open_session(config: ClientConfig) -> aiohttp.ClientSession:
    """Open a session for one API server, which must be closed; needs a running event loop."""
    connector = aiohttp.TCPConnector(
        ssl=tls_context(config) if config.server.startswith("https:") else False,
        limit=0,  # every watch holds a connection
        socket_factory=_socket,
    )
    headers = {"Accept": "application/json", "User-Agent": "podwire"}
    # On one machine or one LAN, compression costs more than it saves.
    headers["Accept-Encoding"] = "identity"
    return aiohttp.ClientSession(
        connector=connector,
        headers=headers,
        auth=_basic_auth(config.credentials),
        timeout=aiohttp.ClientTimeout(total=30, sock_connect=CONNECT_SECONDS),
        auto_decompress=True,
    )


def check(config: ClientConfig) -> None:
    """Raise KubeconfigError for settings that would make the first request fail."""
    if config.server.startswith("https:"):
        tls_context(config)
    bearer(config.credentials)


def bearer(credentials: Credentials) -> dict[str, str]:
    """Return the Authorization header; a token file is read each time, because it rotates.

    Raises KubeconfigError for a file that has no token.
    """
    if credentials.token_source is not None:
        return {"Authorization": f"Bearer {credentials.token_source()}"}
    if credentials.token_file is not None:
        return {"Authorization": f"Bearer {_token(credentials.token_file)}"}
    return {"Authorization": f"Bearer {credentials.token}"} if credentials.token else {}


def _token(file: Path) -> str:
    try:
        token = file.read_text("ascii").strip()
    except OSError as err:
        raise KubeconfigError(f"token file {file} cannot be read: {err.strerror}") from err
    except UnicodeDecodeError as err:
        raise KubeconfigError(f"token file {file} has no token, but other bytes") from err
    if not token or not token.isprintable():
        raise KubeconfigError(f"token file {file} has no token of one line")
    return token


def tls_context(config: ClientConfig) -> ssl.SSLContext:
    """Make the TLS context: the cluster's CA verifies the server, our certificate is shown."""
    try:
        context = ssl.create_default_context(cadata=_text(config.ca))
    except ssl.SSLError as err:
        raise KubeconfigError(f"certificate-authority is not a PEM certificate: {err}") from err
    if config.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if config.credentials.certificate and config.credentials.key:
        _load_pair(context, config.credentials.certificate, config.credentials.key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Load a pair through a temporary private file, since ``ssl`` reads only files."""
    descriptor, path = tempfile.mkstemp(prefix="podwire-", suffix=".pem")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(certificate + b"\n" + key)
        context.load_cert_chain(path)
    except (ssl.SSLError, ValueError) as err:
        raise KubeconfigError(f"client certificate and key are not a PEM pair: {err}") from err
    finally:
        Path(path).unlink()


def _text(pem: bytes | None) -> str | None:
    return pem.decode("ascii", "replace") if pem else None


def _basic_auth(credentials: Credentials) -> aiohttp.BasicAuth | None:
    return aiohttp.BasicAuth(*credentials.basic) if credentials.basic else None


def _socket(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    for level, option, value in _KEEPALIVE:
        made.setsockopt(level, option, value)
    return made
