"""The configuration, store, watch cache and clock that every verb works with."""

from asyncio import Lock
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from weakref import WeakValueDictionary

from control.api.times import rfc3339
from control.metrics import Registry
from control.server.state.budget import BodyBudget
from control.server.state.extensions import Extensions
from control.server.state.gate import Gate, OpenGate
from control.server.state.guard import NoGuard, WriteGuard
from control.server.state.measured import Measured
from control.server.state.presence import Presence
from control.server.state.watch_cache import WatchCache
from control.server.state.workers.pool import WorkerPool
from control.store.base import Store
from control.tokens import TokenSigner

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class FrontProxy:
    """How extension servers know this server, which speaks for users.

    ``client`` are the certificate and key that it shows; ``authority`` signs them, and
    ``allowed_names`` are the certificate's names, none for any.
    """

    client: tuple[Path, Path] | None = None
    authority: Path | None = None
    allowed_names: tuple[str, ...] = ()


# Upstream has 600. One process computes one request at a time: more that have begun only wait, and
# a user who has begun many is ahead of all others.
MOST_REQUESTS = 120


@dataclass(frozen=True, slots=True)
class ApiServerConfig:
    """The settings of an API server, as its flags give them."""

    service_cidrs: tuple[Network, ...] = (IPv4Network("10.96.0.0/16"),)
    node_ports: range = range(30000, 32768)
    advertise_address: str = "127.0.0.1"
    port: int = 6443
    kubelet_client: tuple[Path, Path] | None = None  # certificate and key for requests to agents
    client_ca: Path | None = None
    front_proxy: FrontProxy = field(default_factory=FrontProxy)
    authorization_modes: tuple[str, ...] = ("AlwaysAllow",)
    mounts_tokens: bool = False  # True if the server issues tokens of ServiceAccounts
    most_requests: int = MOST_REQUESTS  # that are answered at a time, but for watches and streams
    event_life: timedelta = timedelta(hours=1)
    bootstrap_tokens: bool = False  # True if new nodes may log in with tokens in Secrets


@dataclass(frozen=True, slots=True)
class ServerState:
    """The state of one API server, which all its requests share."""

    config: ApiServerConfig
    store: Store
    cache: WatchCache
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    workers: WorkerPool = field(default_factory=WorkerPool)
    guard: WriteGuard = field(default_factory=NoGuard)
    gate: Gate = field(default_factory=OpenGate)
    tokens: TokenSigner | None = None
    bodies: BodyBudget = field(default_factory=BodyBudget)
    measured: Measured = field(default_factory=Measured)
    extensions: Extensions = field(default_factory=Extensions)
    metrics: Registry = field(default_factory=Registry)
    presence: Presence = field(default_factory=Presence)
    locks: WeakValueDictionary[str, Lock] = field(default_factory=WeakValueDictionary)

    def turns(self, namespace: str) -> Lock:
        """Return the lock by which writes that quotas of a namespace hold take turns."""
        return self.locks.setdefault(namespace, Lock())

    def timestamp(self) -> str:
        """Return the present time as a metav1.Time."""
        return rfc3339(self.now().timestamp())
