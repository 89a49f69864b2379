"""An API server over TLS, with its certificates and an admin's kubeconfig."""

import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from control.pki import Identity, create_authority, issue, kubeconfig
from control.server.access.authn import Authenticator
from control.server.access.door import DoorLimits
from control.server.app import serve
from control.server.cli import server_tls
from control.server.state.server import ApiServerConfig, FrontProxy, ServerState
from control.store.memory import MemoryStore
from control.tokens import TokenSigner


@dataclass(frozen=True)
class Secured:
    """A server over TLS, its certificates, and a kubeconfig of its admin."""

    url: str
    port: int
    state: ServerState
    folder: Path
    kubeconfig: Path

    def client_tls(self, user: str = "admin") -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if user:
            context.load_cert_chain(self.folder / f"{user}.crt", self.folder / f"{user}.key")
        return context


@asynccontextmanager
async def secured_server(
    folder: Path,
    limits: DoorLimits | None = None,
    modes: tuple[str, ...] = ("AlwaysAllow",),
    tokens: TokenSigner | None = None,
    front_proxy: FrontProxy | None = None,
    bootstrap_tokens: bool = False,
) -> AsyncIterator[Secured]:
    """Serve from memory on a free port of 127.0.0.1; write the certificates into ``folder``."""
    authority = create_authority("test")
    authority.save(folder, "ca")
    issue(authority, Identity("server", hosts=("127.0.0.1",))).save(folder, "server")
    admin = issue(authority, Identity("admin", ("system:masters",)))
    admin.save(folder, "admin")
    bound = socket.create_server(("127.0.0.1", 0))
    port = bound.getsockname()[1]
    url = f"https://127.0.0.1:{port}"
    config = folder / "kubeconfig"
    config.write_text(kubeconfig("test", url, authority.certificate, "admin", admin))
    tls = server_tls(folder / "server.crt", folder / "server.key", folder / "ca.crt")
    store = MemoryStore()
    async with serve(
        store,
        [bound],
        tls=tls,
        config=ApiServerConfig(
            port=port,
            authorization_modes=modes,
            client_ca=folder / "ca.crt",
            front_proxy=front_proxy or FrontProxy(),
            bootstrap_tokens=bootstrap_tokens,
        ),
        authenticator=Authenticator(),
        limits=limits,
        tokens=tokens,
    ) as state:
        yield Secured(url, port, state, folder, config)
    await store.close()
