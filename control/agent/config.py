"""The agent's settings, parsed from flags."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from control.agent.images.collection import (
    DEFAULT_COLLECTION,
    NO_COLLECTION,
    CollectionPolicy,
)
from control.agent.node.describe import NodeIdentity
from control.agent.pods.resolver import ClusterDns
from control.agent.pressure import Threshold, ThresholdError, parse_thresholds
from control.agent.shutdown import NO_SHUTDOWN, ShutdownPeriods
from control.api.quantity import QuantityError, parse
from control.node_network.plan import Cidr, Overlay
from control.runtime.base import DEFAULT_LOGS, LogLimits
from control.runtime.builtin.cgroups import Cgroups, discover

# Of an agent to the API server at once. A hundred Pods that begin together would open a hundred
# connections; kubelet has one, and writes statuses and Events one after the other.
REQUESTS_AT_ONCE = 8

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


class FlagError(ValueError):
    """A flag has an invalid value; the text names the flag and a valid form."""


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How long streams may take, in seconds; the values are kubelet's."""

    idle: float = 4 * 3600.0  # without a byte in either direction
    opening: float = 30.0  # until a client has opened the streams that belong together
    finishing: float = 30.0  # for a command to use up the input of a client that has left


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The agent's own server: where it listens, and whose clients it accepts.

    Without a certificate there is no server.
    """

    address: str = ""
    port: int = 10250
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    streams: StreamLimits = StreamLimits()


@dataclass(frozen=True, slots=True)
class NodeCertificates:
    """Which certificates a node renews, and where they are."""

    folder: Path = Path("/var/lib/podwire/agent/pki")
    client: bool = False
    server: bool = False

    def path(self, kind: str) -> Path:
        """Return the file of a certificate and its key."""
        return self.folder / f"{kind}-current.pem"


@dataclass(frozen=True, slots=True)
class Config:
    """One agent's settings."""

    identity: NodeIdentity
    overlay: Overlay = "routes"
    cluster: tuple[Cidr, ...] = ()
    root: Path = Path("/var/lib/podwire/agent")
    runtime_endpoint: str = ""  # of a CRI runtime, such as unix:///run/...; "" is the built-in one
    manifests: Path | None = None  # file or folder of static Pods
    image_dirs: tuple[Path, ...] = (Path("/var/lib/podwire/images"),)
    cni_conf_dir: Path = Path("/etc/cni/net.d")
    cni_bin_dirs: tuple[Path, ...] = (Path("/opt/cni/bin"),)
    cni_cache_dir: Path = Path("/var/lib/cni")
    cgroup_root: str = ""
    pod_pids: int = -1
    seccomp_default: bool = False
    eviction_hard: tuple[Threshold, ...] = ()
    shutdown: ShutdownPeriods = NO_SHUTDOWN
    image_collection: CollectionPolicy = NO_COLLECTION
    logs: LogLimits = DEFAULT_LOGS
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    server: ServerConfig = ServerConfig()
    certificates: NodeCertificates = NodeCertificates()

    @property
    def conflist(self) -> Path:
        """The CNI configuration file that the node network writes."""
        return self.cni_conf_dir / "10-podwire.conflist"

    def cgroups(self) -> Cgroups:
        """This node's control groups."""
        mounts = Path("/proc/self/mountinfo").read_text()
        own = Path("/proc/self/cgroup").read_text()
        return Cgroups(discover(mounts, own, self.cgroup_root), self.pod_pids)

    def dns(self) -> ClusterDns:
        """The DNS settings for Pods."""
        try:
            text = self.resolv_conf.read_text()
        except OSError:
            text = ""
        return ClusterDns(self.cluster_dns, self.cluster_domain, text)


def addresses(flag: str, text: str) -> tuple[str, ...]:
    """Parse addresses, comma-separated, at most one of each IP version; raises FlagError."""
    try:
        found = [ip_address(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as err:
        raise FlagError(f"{flag}: {err}") from err
    if len({address.version for address in found}) != len(found):
        raise FlagError(f"{flag} {text}: want at most one IPv4 and one IPv6 address")
    return tuple(str(address) for address in found)


def log_limits(size: str, files: int) -> LogLimits:
    """Parse the limits of a log; raises FlagError."""
    try:
        return LogLimits(parse(size).value(), files)
    except QuantityError as err:
        raise FlagError(f"--container-log-max-size {size}: want bytes, such as 10Mi") from err


def image_collection(
    high: int | None, low: int, runtime: str, most_age: float = 0.0
) -> CollectionPolicy:
    """Return when unused images go; raises FlagError.

    By default only images that a runtime can pull again do.
    """
    if high is None:
        high = DEFAULT_COLLECTION.high if runtime else NO_COLLECTION.high
    if low >= high:
        raise FlagError(f"--image-gc-low-threshold {low}: want less than the high one, {high}")
    return CollectionPolicy(high, low, most_age=most_age)


def shutdown_periods(whole: float, critical: float) -> ShutdownPeriods:
    """Return how long Pods may take to end with the machine; raises FlagError."""
    if critical > whole:
        raise FlagError(
            f"--shutdown-grace-period-critical-pods {critical:g}: want at most "
            f"--shutdown-grace-period, {whole:g}, of which it is a part"
        )
    return ShutdownPeriods(whole, critical)


def cidrs(flag: str, text: str) -> tuple[Cidr, ...]:
    """Parse ranges, comma-separated; raises FlagError."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as err:
        raise FlagError(f"{flag}: {err}") from err


def thresholds(flag: str, text: str) -> tuple[Threshold, ...]:
    """Parse thresholds of eviction, comma-separated; raises FlagError."""
    try:
        return parse_thresholds(text)
    except ThresholdError as err:
        raise FlagError(f"{flag}: {err}") from err


def taints(flag: str, text: str) -> tuple[tuple[str, str, str], ...]:
    """Parse taints ``key[=value]:effect``, comma-separated; raises FlagError."""
    found = []
    for part in filter(None, text.split(",")):
        mark, _, effect = part.rpartition(":")
        key, _, value = mark.partition("=")
        if not key or effect not in _EFFECTS:
            raise FlagError(
                f"{flag}: {part!r} is not KEY[=VALUE]:EFFECT; EFFECT is {', '.join(_EFFECTS)}"
            )
        found.append((key, value, effect))
    return tuple(found)


def labels(flag: str, text: str) -> tuple[tuple[str, str], ...]:
    """Parse ``key=value`` pairs, comma-separated; raises FlagError."""
    pairs = []
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise FlagError(f"{flag}: {part!r} is not KEY=VALUE")
        pairs.append((key, value))
    return tuple(pairs)
