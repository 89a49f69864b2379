"""A secured server that nodes join, with the controllers that joining needs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from control.api.certificates import KUBELET_CLIENT_SIGNER
from control.client import Client, ClientConfig
from control.client.kubeconfig import Credentials
from control.client.signing import node_request, obtain
from control.controllers.bootstrap.cleaning import TokenCleaner
from control.controllers.bootstrap.signing import BootstrapSigner
from control.controllers.certificates.approving import ApprovingController
from control.controllers.certificates.authority import SigningAuthority
from control.controllers.certificates.signing import SigningController
from control.controllers.loop import Manager
from control.install import cluster
from control.install.credentials import authority_hash
from control.install.discovery import Discovery
from control.install.settings import ControlPlaneSettings, check
from control.jointokens import JoinToken
from tests.support.control.cluster import running
from tests.support.control.secured import Secured, secured_server

TOKEN = JoinToken("abcdef", "0123456789abcdef")


@dataclass(frozen=True)
class Joinable:
    """A server with what install writes, and the controllers that joining needs."""

    server: Secured
    admin: Client
    hash: str
    settings: ControlPlaneSettings

    @property
    def wanted(self) -> Discovery:
        return Discovery(f"127.0.0.1:{self.server.port}", TOKEN, (self.hash,))

    def client(self, credentials: Credentials) -> Client:
        authority = (self.server.folder / "ca.crt").read_bytes()
        return Client(ClientConfig(self.server.url, ca=authority, credentials=credentials))

    async def certify(self, name: str = "n1") -> Credentials:
        asked = node_request(name, KUBELET_CLIENT_SIGNER)
        async with self.client(Credentials(token=str(TOKEN))) as client:
            made = await asyncio.wait_for(obtain(client, asked), 60)
        return Credentials(certificate=made, key=asked.key)


@asynccontextmanager
async def joinable_server(tmp_path: Path) -> AsyncIterator[Joinable]:
    """A server in a folder, with a token."""
    async with secured_server(tmp_path, modes=("Node", "RBAC"), bootstrap_tokens=True) as server:
        data = {
            "node": {"name": "cp", "ips": ["192.0.2.1"]},
            "api": {"endpoint": f"127.0.0.1:{server.port}"},
        }
        settings = check(ControlPlaneSettings, data, "test")
        authority = (tmp_path / "ca.crt").read_bytes()
        own = SigningAuthority.load(tmp_path / "ca.crt", tmp_path / "ca.key")
        parts = (BootstrapSigner(), TokenCleaner(), ApprovingController(), SigningController(own))
        async with Client.from_kubeconfig(server.kubeconfig) as admin:
            await cluster.apply(admin, cluster.objects(settings, authority))
            await cluster.ensure_token(admin, TOKEN, 24)
            async with running(Manager(admin, parts).run()):
                yield Joinable(server, admin, authority_hash(authority), settings)
