"""What every verb works with: configuration, store, cache, clock; and the request itself."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from control.api.times import rfc3339
from control.server.state.watch_cache import WatchCache
from control.server.wire.errors import bad_request
from control.server.wire.forms import Representation
from control.server.wire.info import RequestInfo, is_true
from control.server.wire.strict import mode_of
from control.store.base import Store

Network = IPv4Network | IPv6Network
# etcd refuses more than 1.5 MB; upstream's API server reads up to 3 MiB of JSON.
BODY_LIMIT = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ApiServerConfig:
    """What the flags said."""

    service_cidrs: tuple[Network, ...] = (IPv4Network("10.96.0.0/16"),)
    node_ports: range = range(30000, 32768)
    advertise_address: str = "127.0.0.1"
    port: int = 6443
    kubelet_client: tuple[Path, Path] | None = None  # certificate and key towards agents
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()

    @property
    def anonymous(self) -> bool:
        """Nobody in particular."""
        return self.name == "system:anonymous"


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class ServerState:
    """The server's surroundings."""

    config: ApiServerConfig
    store: Store
    cache: WatchCache
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def timestamp(self) -> str:
        """Now as metav1.Time writes it: RFC 3339, UTC, whole seconds."""
        return rfc3339(self.now().timestamp())


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One request on a kind."""

    info: RequestInfo
    user: User
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    content_type: str = "application/json"
    form: Representation = field(default_factory=Representation)

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be written; raises StatusError for any value but All."""
        value = self.query.get("dryRun", "")
        if value not in ("", "All"):
            raise bad_request(
                f'Invalid value: "{value}": dryRun: Unsupported value: "{value}":'
                ' supported values: "All"'
            )
        return value == "All"

    @property
    def field_validation(self) -> str:
        """Ignore, Warn or Strict; raises StatusError."""
        return mode_of(self.query.get("fieldValidation", ""))

    def named(self, name: str) -> "ApiRequest":
        """The same request, on this name."""
        return dataclasses.replace(self, info=dataclasses.replace(self.info, name=name))

    def flag(self, name: str) -> bool:
        """A boolean query parameter."""
        return is_true(self.query.get(name, ""))

    def number(self, name: str, default: int = 0) -> int:
        """A query parameter that is a number of at least 0; raises StatusError."""
        text = self.query.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid {name}')
        return int(text)
