"""The command ``podwire apiserver``."""

import asyncio
import logging
import resource
import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import click

from control.server.access.audit import (
    AuditFile,
    AuditLog,
    AuditPolicyError,
    Sink,
    load_policy,
    print_line,
)
from control.server.access.authn import Authenticator, TokenFileError, load_tokens
from control.server.access.authz import MODES
from control.server.access.door import DoorLimits
from control.server.app import serve
from control.server.parameters import (
    ListenAddress,
    addresses,
    lifetime,
    modes,
    networks,
    one_address,
    port_range,
)
from control.server.state.server import ApiServerConfig, FrontProxy, Network
from control.server.wire.errors import StatusError
from control.store import Store, StoreConfigError, StoreUrlError, encrypted, open_when_ready
from control.store.base import StoreError, StoreFullError, StoreUnavailableError
from control.store.format import upgrade
from control.tls import CertificateError, load_authority, load_identity
from control.tokens import (
    ISSUER,
    TokenKeyError,
    TokenSigner,
    load_private_key,
    load_public_key,
)

logger = logging.getLogger(__name__)

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_BACKLOG = 512
_UNUSABLE = (
    *(StoreUrlError, StoreConfigError),
    *(TokenFileError, TokenKeyError, AuditPolicyError, CertificateError),
)
# Open files; half of them are for clients that have shown no credentials.
_DESCRIPTORS = 8192


@click.command()
@click.option(
    "--store",
    default="sqlite:/var/lib/podwire/store.db",
    show_default=True,
    help="sqlite:PATH[?sync=full|normal], or etcd:URL[,URL...] with the options cacert, cert, "
    "key (files) and prefix, such as ?cacert=FILE&prefix=/TEXT",
)
@click.option(
    "--quota-backend-bytes",
    type=int,
    default=0,
    show_default=True,
    help="bytes that the store may have, as etcd's option; 0 is 2 GiB, negative is no limit",
)
@click.option(
    "--encryption-provider-config",
    type=_FILE,
    help="upstream's EncryptionConfiguration: which resources are encrypted in the store",
)
@click.option("--listen", multiple=True, callback=addresses, help="ADDR:PORT; repeatable")
@click.option(
    "--listen-fd",
    multiple=True,
    type=int,
    help="file descriptor of an inherited socket; repeatable",
)
@click.option("--tls-cert", required=True, type=_FILE)
@click.option("--tls-key", required=True, type=_FILE)
@click.option("--client-ca", type=_FILE, help="authority that signs the clients' certificates")
@click.option("--token-auth-file", type=_FILE, help='lines of token,user,uid[,"group,group"]')
@click.option(
    "--enable-bootstrap-token-auth",
    is_flag=True,
    help="let new nodes log in with tokens of bootstrap.kubernetes.io/token Secrets",
)
@click.option(
    "--service-account-signing-key-file",
    type=_FILE,
    help="private key (EC P-256 or RSA) of ServiceAccounts' tokens; default: no tokens",
)
@click.option(
    "--service-account-key-file",
    multiple=True,
    type=_FILE,
    help="further keys whose tokens are accepted; repeatable",
)
@click.option("--service-account-issuer", default=ISSUER, show_default=True)
@click.option("--api-audiences", default="", help="default: the issuer")
@click.option("--kubelet-client-cert", type=_FILE, help="shown to agents, for logs and exec")
@click.option("--kubelet-client-key", type=_FILE)
@click.option("--proxy-client-cert-file", type=_FILE, help="shown to extension API servers")
@click.option("--proxy-client-key-file", type=_FILE)
@click.option(
    "--requestheader-client-ca-file",
    type=_FILE,
    help="authority of that certificate, published for extension API servers",
)
@click.option(
    "--requestheader-allowed-names",
    default="",
    help="names of that certificate, NAME[,NAME], also published; default: any",
)
@click.option("--service-cidr", default="10.96.0.0/16", callback=networks, show_default=True)
@click.option("--node-port-range", default="30000-32767", callback=port_range, show_default=True)
@click.option(
    "--event-ttl",
    default="1h0m0s",
    callback=lifetime,
    show_default=True,
    help="how long Events are kept, such as 30m or 24h",
)
@click.option("--audit-policy-file", type=_FILE, help="which requests the audit log has")
@click.option("--audit-log-path", default="", help="the audit log; - is standard output")
@click.option("--audit-log-maxsize", type=click.IntRange(0), default=0, help="MiB of one file")
@click.option("--audit-log-maxbackup", type=click.IntRange(0), default=0, help="older files kept")
@click.option(
    "--authorization-mode",
    default="AlwaysAllow",
    callback=modes,
    show_default=True,
    help=f"asked in their order: {', '.join(MODES)}",
)
@click.option(
    "--max-requests-inflight",
    type=click.IntRange(0),
    default=80,
    show_default=True,
    help="with the next one the seats of all priority levels",
)
@click.option(
    "--max-mutating-requests-inflight", type=click.IntRange(0), default=40, show_default=True
)
@click.option("--advertise-address", default="127.0.0.1", callback=one_address, show_default=True)
def main(**given: Any) -> None:
    """Serve the Kubernetes API."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    flags = Flags(**given)
    try:
        with ExitStack() as stack:
            sockets = [stack.enter_context(bound) for bound in _sockets(flags)]
            asyncio.run(_run(flags, sockets))
    except _UNUSABLE as err:
        raise click.UsageError(str(err)) from err
    except (StoreError, StatusError) as err:
        logger.error("%s", err)
        sys.exit(1)


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags with their parsed values."""

    store: str
    encryption_provider_config: Path | None
    quota_backend_bytes: int
    listen: list[ListenAddress]
    listen_fd: tuple[int, ...]
    tls_cert: Path
    tls_key: Path
    client_ca: Path | None
    token_auth_file: Path | None
    enable_bootstrap_token_auth: bool
    max_requests_inflight: int
    max_mutating_requests_inflight: int
    service_account_signing_key_file: Path | None
    service_account_key_file: tuple[Path, ...]
    service_account_issuer: str
    api_audiences: str
    audit_policy_file: Path | None
    audit_log_path: str
    audit_log_maxsize: int
    audit_log_maxbackup: int
    kubelet_client_cert: Path | None
    kubelet_client_key: Path | None
    proxy_client_cert_file: Path | None
    proxy_client_key_file: Path | None
    requestheader_client_ca_file: Path | None
    requestheader_allowed_names: str
    service_cidr: tuple[Network, ...]
    node_port_range: range
    event_ttl: timedelta
    advertise_address: str
    authorization_mode: tuple[str, ...]

    def config(self, port: int) -> ApiServerConfig:
        """Return the server's settings, with the port that it listens on."""
        return ApiServerConfig(
            service_cidrs=self.service_cidr,
            node_ports=self.node_port_range,
            event_life=self.event_ttl,
            advertise_address=self.advertise_address,
            port=port,
            kubelet_client=_pair(self.kubelet_client_cert, self.kubelet_client_key),
            front_proxy=self._front_proxy(),
            client_ca=self.client_ca,
            authorization_modes=self.authorization_mode,
            mounts_tokens=self.service_account_signing_key_file is not None,
            bootstrap_tokens=self.enable_bootstrap_token_auth,
            most_requests=self.max_requests_inflight + self.max_mutating_requests_inflight,
        )

    def _front_proxy(self) -> FrontProxy:
        cert, key = self.proxy_client_cert_file, self.proxy_client_key_file
        if (cert is None) != (key is None):
            raise click.UsageError(
                "--proxy-client-cert-file and --proxy-client-key-file go together"
            )
        names = tuple(filter(None, self.requestheader_allowed_names.split(",")))
        client = (cert, key) if cert and key else None
        return FrontProxy(client, self.requestheader_client_ca_file, names)

    def audit(self) -> AuditLog | None:
        """Return the audit log; None without a policy and a path. Raises AuditPolicyError."""
        if not (self.audit_policy_file and self.audit_log_path):
            return None
        sink: Sink = print_line
        if self.audit_log_path != "-":
            limits = self.audit_log_maxsize, self.audit_log_maxbackup
            sink = AuditFile(self.audit_log_path, *limits)
        return AuditLog(load_policy(self.audit_policy_file), sink)

    def tokens(self) -> TokenSigner | None:
        """Return what signs tokens; None without a key. Raises TokenKeyError."""
        if self.service_account_signing_key_file is None:
            return None
        return TokenSigner(
            load_private_key(self.service_account_signing_key_file),
            [load_public_key(path) for path in self.service_account_key_file],
            self.service_account_issuer,
            tuple(filter(None, self.api_audiences.split(","))),
        )


def _advertised_port(sockets: list[socket.socket]) -> int:
    """Return the port to advertise: the first that is not on loopback, else the first."""
    names = [sock.getsockname() for sock in sockets]
    open_ones = [port for host, port, *_ in names if not ip_address(host).is_loopback]
    return int((open_ones or [names[0][1]])[0])


def _pair(certificate: Path | None, key: Path | None) -> tuple[Path, Path] | None:
    if certificate and key:
        return certificate, key
    if certificate or key:
        raise click.UsageError("--kubelet-client-cert and --kubelet-client-key go together")
    return None


def server_tls(certificate: Path, key: Path, client_ca: Path | None) -> ssl.SSLContext:
    """Make the TLS context of a server that authenticates clients; raises CertificateError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_identity(context, certificate, key)
    if client_ca:
        load_authority(context, client_ca)
        # Clients without a certificate may have a token, or read a public page.
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def _sockets(flags: Flags) -> Iterator[socket.socket]:
    if not flags.listen and not flags.listen_fd:
        raise click.UsageError("nowhere to listen: give --listen or --listen-fd")
    for fd in flags.listen_fd:
        try:
            yield socket.socket(fileno=fd)
        except OSError as err:
            raise click.UsageError(f"--listen-fd {fd}: {err.strerror}") from err
    for address in flags.listen:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        where = (address.host, address.port)
        try:
            yield socket.create_server(where, family=family, backlog=_BACKLOG)
        except OSError as err:
            text = f"cannot listen on {address.host}:{address.port}: {err.strerror}"
            raise click.UsageError(text) from err


def raise_descriptors() -> int:
    """Raise the limit of open files as far as allowed and useful; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, min(hard, _DESCRIPTORS))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


async def _opened(flags: Flags) -> Store:
    """Open the store; raises StoreUrlError, StoreConfigError, StoreError."""
    store = await open_when_ready(flags.store, flags.quota_backend_bytes, flags.event_ttl)
    try:
        await upgrade(store)
    except (StoreFullError, StoreUnavailableError) as err:
        logger.warning("the store keeps its older format, which works as well: %s", err)
    except StoreError:
        await store.close()
        raise
    config = flags.encryption_provider_config
    return store if config is None else encrypted(store, config)


async def _run(flags: Flags, sockets: list[socket.socket]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    tls = server_tls(flags.tls_cert, flags.tls_key, flags.client_ca)
    known = Authenticator(load_tokens(flags.token_auth_file) if flags.token_auth_file else {})
    config = flags.config(_advertised_port(sockets))
    tokens, audit = flags.tokens(), flags.audit()
    limits = DoorLimits(unknown=raise_descriptors() // 2)
    store = await _opened(flags)
    try:
        async with serve(
            store,
            sockets,
            config=config,
            authenticator=known,
            tls=tls,
            limits=limits,
            tokens=tokens,
            audit=audit,
        ):
            logger.info("serving on %s", ", ".join(str(s.getsockname()) for s in sockets))
            await ended.wait()
        logger.info("stopped")
    finally:
        await store.close()
