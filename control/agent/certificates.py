"""Renew the certificates of the node: that with which it asks, and that of its server.

Each is a file with certificate and key, ``KIND-current.pem``, in one folder. Clients read it again
when it has changed; the server's TLS context takes it for new connections. Source: client-go/util/
certificate/certificate_manager.go and pkg/kubelet/certificate of k8s.io/kubernetes
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from control.agent.config import NodeCertificates
from control.api.certificates import KUBELET_CLIENT_SIGNER, KUBELET_SERVING_SIGNER
from control.api.signing import host_names
from control.client import Client, ClientError
from control.client.backoff import Backoff
from control.client.signing import node_request, obtain
from control.linux import whole
from control.pki import Identity, create_authority, issue

logger = logging.getLogger(__name__)

CLIENT, SERVER = "agent-client", "agent-server"
_STAND_IN = "podwire-agent-self-signed"
# Upstream's: a certificate is renewed when this part of its life is over.
_EARLIEST, _LATEST = 0.7, 0.9
_PATIENCE = 15 * 60.0  # seconds until another request is made
_LONGEST = 600.0  # two looks at a certificate's age


def save(path: Path, certificate: bytes, key: bytes) -> None:
    """Write a certificate and its key, whole or not at all; raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole.write(path, (certificate + key).decode(), 0o600)


def renewal(begins: datetime, ends: datetime, share: float) -> datetime:
    """Return when to renew a certificate; ``share`` is 0 to 1, so that nodes differ."""
    part = _EARLIEST + (_LATEST - _EARLIEST) * share
    return begins + (ends - begins) * part


def is_stand_in(certificate: x509.Certificate) -> bool:
    """Return True for what the node has put in place of a certificate."""
    return _STAND_IN in certificate.issuer.rfc4514_string()


def stand_in(path: Path, node: str, hosts: tuple[str, ...]) -> None:
    """Write a certificate that nobody trusts, if there is none yet; raises OSError."""
    if read(path) is not None:
        return
    pair = issue(create_authority(_STAND_IN), Identity(f"system:node:{node}", (), hosts))
    save(path, pair.certificate, pair.key)


def read(path: Path) -> x509.Certificate | None:
    """Return the certificate in a file; None if there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None


class Renewals:
    """Keeps a node's certificates young."""

    def __init__(
        self,
        settings: NodeCertificates,
        node: str,
        hosts: tuple[str, ...],
        client: Client,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``hosts`` are the names and addresses of the node's server."""
        self._settings, self._node, self._hosts = settings, node, hosts
        self._client, self._now = client, now
        self._share = random.random()  # noqa: S311  # spreads the requests of nodes, no secret

    async def run(self, tls: ssl.SSLContext | None = None) -> None:
        """Renew for ever; ``tls`` is the server's context."""
        async with asyncio.TaskGroup() as tasks:
            if self._settings.client:
                tasks.create_task(self._keep(CLIENT, KUBELET_CLIENT_SIGNER, (), None))
            if self._settings.server:
                tasks.create_task(self._keep(SERVER, KUBELET_SERVING_SIGNER, self._hosts, tls))

    async def _keep(
        self, kind: str, signer: str, hosts: tuple[str, ...], tls: ssl.SSLContext | None
    ) -> None:
        path, pause = self._settings.path(kind), Backoff()
        while True:
            left = self._left(path, hosts)
            if left > 0:
                await asyncio.sleep(min(left, _LONGEST))
                continue
            try:
                await self._renew(path, signer, hosts)
            except (ClientError, OSError, TimeoutError) as err:
                logger.warning("certificate %s: not renewed: %s; trying again", path, err)
                await asyncio.sleep(pause.next())
                continue
            pause = Backoff()
            if tls is not None:
                tls.load_cert_chain(path)

    def _left(self, path: Path, hosts: tuple[str, ...]) -> float:
        """Return the seconds until a certificate is to be renewed: none if it lacks a host."""
        held = read(path)
        if held is None or is_stand_in(held) or not host_names(held).issuperset(hosts):
            return 0
        due = renewal(held.not_valid_before_utc, held.not_valid_after_utc, self._share)
        return (due - self._now()) / timedelta(seconds=1)

    async def _renew(self, path: Path, signer: str, hosts: tuple[str, ...]) -> None:
        asked = node_request(self._node, signer, hosts)
        try:
            certificate = await asyncio.wait_for(obtain(self._client, asked), _PATIENCE)
        except TimeoutError as err:
            raise TimeoutError(f"request {asked.name} was not approved and signed in time") from err
        save(path, certificate, asked.key)
        logger.info("certificate %s: renewed by request %s", path, asked.name)
