"""Discover a cluster by a token: whom to trust, from nothing but a token and a hash.

1. ``cluster-info`` is asked for without credentials, of a server that nobody vouches for.
2. Its signature must be the token's: who does not know the token cannot have written it.
3. The authority in it must have the given hash: a leaked token alone cannot pose as the cluster.
4. It is asked for again, of a server that this authority vouches for, and none that is beside it
   in the text; the text must be the same.

Source: https://kubernetes.io/docs/reference/setup-tools/kubeadm/implementation-details/ and
cmd/kubeadm/app/discovery/token
"""

import asyncio
import re
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from control.client.kubeconfig import ClientConfig, KubeconfigError, parse
from control.install.credentials import authority_hash
from control.install.layout import InstallError
from control.install.settings import has_port
from control.jointokens import INFO_KEY, INFO_PATH, SIGNATURE_PREFIX, JoinToken

SECONDS = 300.0  # kubeadm's, until discovery is given up
_PAUSE, _MOST_BYTES, _MOST_SKEW = 1.0, 1 << 20, 300.0
_UNSIGNED = 60.0  # seconds for a token that has not signed yet; kubeadm waits five minutes
_UNREACHED = 30.0  # seconds for a server that nobody has reached yet
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Discovery:
    """Where a cluster is said to be, and by what it is known."""

    server: str  # HOST:PORT
    token: JoinToken
    hashes: tuple[str, ...] = ()  # of authorities; none trusts the token alone


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster that a token has vouched for: its URL, and its authority (PEM)."""

    url: str
    authority: bytes


@dataclass(frozen=True, slots=True)
class _Info:
    """The data of ``cluster-info``, and how far this clock is ahead of the server's, in seconds."""

    data: dict[str, Any]
    skew: float


class _NotYetError(Exception):
    """Another try may succeed; the text says why this one did not."""


def check_server(text: str) -> str:
    """Return HOST:PORT; raises InstallError."""
    bare = text.removeprefix("https://").rstrip("/")
    if "/" in bare or not has_port(bare):
        raise InstallError(f"{text}: want HOST:PORT, such as 192.0.2.1:6443 or [2001:db8::1]:6443")
    return bare


def check_hash(text: str) -> str:
    """Return ``sha256:HEX``; raises InstallError."""
    lowered = text.lower()
    if not _HASH.fullmatch(lowered):
        raise InstallError(
            f"--discovery-token-ca-cert-hash {text}: want sha256: and 64 hexadecimal digits, as "
            "podwire install has printed them"
        )
    return lowered


async def discover(
    wanted: Discovery, say: Callable[[str], None] = lambda _: None, seconds: float = SECONDS
) -> Cluster:
    """Return the cluster; raises InstallError."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    info = await _signed(wanted, trusting, say, seconds)
    _check_clock(info.skew, wanted.server)
    text = verified(info.data, wanted.token)
    cluster = _cluster(text)
    if wanted.hashes:
        # Not the whole text's authorities: who knows the token could add one beside the true one.
        pinned = _pinned(cluster.authority, wanted.hashes)
        verifying = ssl.create_default_context(cadata=pinned)
        again = await _signed(wanted, verifying, say, _UNREACHED)
        if again.data.get(INFO_KEY) != text:
            raise InstallError(
                f"{wanted.server} gave another cluster-info over verified TLS: do not trust it"
            )
    return cluster


def direct(wanted: Discovery, found: Cluster) -> str:
    """Return the URL to ask while a machine joins.

    That of cluster-info may be a server's that has gone; the given one has answered, and has shown
    a certificate for its name, if a hash says whose.
    """
    return f"https://{wanted.server}" if wanted.hashes else found.url


async def _signed(
    wanted: Discovery, tls: ssl.SSLContext, say: Callable[[str], None], seconds: float
) -> _Info:
    """Ask until the token has signed; raises InstallError."""
    ends, reached = time.monotonic() + min(seconds, _UNREACHED), False
    while True:
        try:
            info = await _asked(wanted.server, tls)
            if f"{SIGNATURE_PREFIX}{wanted.token.id}" in info.data:
                return info
            reason = (
                f"token {wanted.token.id} is unknown there or has ended: run "
                "`podwire token create --print-join-command` on the control plane"
            )
            # The signer follows a new token within a second, once the controllers run; an old one
            # never comes back.
            ends = ends if reached else time.monotonic() + min(seconds, _UNSIGNED)
            reached = True
        except _NotYetError as err:
            reason = str(err)
        if time.monotonic() >= ends:
            raise InstallError(f"discovery at {wanted.server}: {reason}")
        say(f"discovery at {wanted.server}: {reason}")
        await asyncio.sleep(_PAUSE)


async def _asked(server: str, tls: ssl.SSLContext) -> _Info:
    limits = aiohttp.ClientTimeout(total=10)
    try:
        async with (
            aiohttp.ClientSession(timeout=limits) as session,
            session.get(f"https://{server}{INFO_PATH}", ssl=tls, allow_redirects=False) as answer,
        ):
            body = await answer.content.read(_MOST_BYTES)
            while len(body) < _MOST_BYTES and (more := await answer.content.read(_MOST_BYTES)):
                body += more
            return _info(answer.status, answer.headers.get("Date", ""), body)
    except aiohttp.ClientConnectorCertificateError as err:
        raise InstallError(
            f"{server} does not show a certificate of the authority in its cluster-info: "
            f"{err.certificate_error}; is {server} one of the control plane's addresses "
            "(--apiserver-cert-extra-sans)?"
        ) from err
    except (aiohttp.ClientError, TimeoutError, OSError) as err:
        raise _NotYetError(
            f"{err or 'timeout'}; is the control plane up, and no firewall between?"
        ) from err


def _info(status: int, date: str, body: bytes) -> _Info:
    if status == HTTPStatus.NOT_FOUND:
        raise _NotYetError("the cluster has no ConfigMap kube-public/cluster-info yet")
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise _NotYetError(f"the server shows its cluster-info to nobody (HTTP {status})")
    if status != HTTPStatus.OK:
        raise _NotYetError(f"HTTP {status}")
    try:
        data = orjson.loads(body)["data"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as err:
        raise InstallError("the server's cluster-info is no ConfigMap") from err
    if not isinstance(data, dict):
        raise InstallError("the server's cluster-info has no data")
    return _Info(data, _skew(date))


def _skew(date: str) -> float:
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0.0


def _check_clock(skew: float, server: str) -> None:
    if abs(skew) > _MOST_SKEW:
        way = "ahead of" if skew > 0 else "behind"
        raise InstallError(
            f"this machine's clock is {abs(skew):.0f} s {way} that of {server}: certificates would "
            "not be valid; set the clock, with systemd-timesyncd or chrony"
        )


def verified(data: dict[str, Any], token: JoinToken) -> str:
    """Return the text that the token has signed; raises InstallError."""
    text, signature = data.get(INFO_KEY), data.get(f"{SIGNATURE_PREFIX}{token.id}")
    if not isinstance(text, str) or not isinstance(signature, str):
        raise InstallError(
            "the server's cluster-info has no kubeconfig: it was not made for joining"
        )
    if not token.verifies(signature, text):
        raise InstallError(
            f"the signature of cluster-info is not that of token {token.id}: the token's secret "
            "is wrong, or the server is not the cluster's"
        )
    return text


def _cluster(text: str) -> Cluster:
    try:
        document = yaml.load(text, Loader=yaml.CSafeLoader)  # it makes plain values
        config = _parsed(document)
    except (yaml.YAMLError, KubeconfigError, KeyError, IndexError, TypeError) as err:
        raise InstallError(f"the kubeconfig in cluster-info cannot be read: {err}") from err
    if config.ca is None:
        raise InstallError("the kubeconfig in cluster-info has no authority")
    return Cluster(config.server, config.ca)


def _parsed(document: Any) -> ClientConfig:
    """Read a kubeconfig that has one cluster, and neither users nor contexts."""
    entry = document["clusters"][0]
    whole = {
        "clusters": [{"name": "cluster", "cluster": entry["cluster"]}],
        "contexts": [{"name": "cluster", "context": {"cluster": "cluster"}}],
        "current-context": "cluster",
    }
    return parse(whole, Path("/nowhere"))


def _pinned(authority: bytes, hashes: Sequence[str]) -> str:
    """Return the authorities (PEM) that have one of the hashes; raises InstallError."""
    try:
        certificates = x509.load_pem_x509_certificates(authority)
    except ValueError as err:
        raise InstallError(f"the authority in cluster-info is no certificate: {err}") from err
    found = [(authority_hash(pem), pem.decode()) for pem in map(_pem, certificates)]
    if not (pinned := [pem for digest, pem in found if digest in hashes]):
        raise InstallError(
            f"the cluster's authority has the hash {', '.join(digest for digest, _ in found)}, "
            f"not {', '.join(hashes)}: the hash is of another cluster, or the server is not of "
            "this one"
        )
    return "".join(pinned)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
