"""What the agent was told, checked: flags in, values out."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from control.agent.node.describe import Identity
from control.agent.pods.render import ClusterDns
from control.node_network.plan import Cidr, Overlay
from control.runtime.builtin.cgroups import Cgroups, discover


class BadFlag(ValueError):
    """A flag that cannot be; the text says which, and what it wants."""


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the agent's own server listens, and whom it believes; no certificate: no server."""

    address: str = ""
    port: int = 10250
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """One agent's settings."""

    identity: Identity
    overlay: Overlay = "routes"
    cluster: tuple[Cidr, ...] = ()
    root: Path = Path("/var/lib/podwire/agent")
    image_dir: Path = Path("/var/lib/podwire/images")
    cni_conf_dir: Path = Path("/etc/cni/net.d")
    cni_bin_dirs: tuple[Path, ...] = (Path("/opt/cni/bin"),)
    cni_cache_dir: Path = Path("/var/lib/cni")
    cgroup_root: str = ""
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    server: ServerConfig = ServerConfig()

    @property
    def conflist(self) -> Path:
        """The CNI configuration that the node network writes."""
        return self.cni_conf_dir / "10-podwire.conflist"

    def cgroups(self) -> Cgroups:
        """Where this node's control groups are."""
        mounts = Path("/proc/self/mountinfo").read_text()
        own = Path("/proc/self/cgroup").read_text()
        return Cgroups(discover(mounts, own, self.cgroup_root))

    def dns(self) -> ClusterDns:
        """How Pods resolve names."""
        try:
            text = self.resolv_conf.read_text()
        except OSError:
            text = ""
        return ClusterDns(self.cluster_dns, self.cluster_domain, text)


def addresses(flag: str, text: str) -> tuple[str, ...]:
    """Addresses, comma-separated, at most one of each IP version; raises BadFlag."""
    try:
        found = [ip_address(part.strip()) for part in text.split(",") if part.strip()]
    except ValueError as err:
        raise BadFlag(f"{flag}: {err}") from err
    if len({it.version for it in found}) != len(found):
        raise BadFlag(f"{flag} {text}: want at most one IPv4 and one IPv6 address")
    return tuple(str(it) for it in found)


def cidrs(flag: str, text: str) -> tuple[Cidr, ...]:
    """Ranges, comma-separated; raises BadFlag."""
    try:
        return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as err:
        raise BadFlag(f"{flag}: {err}") from err


def labels(flag: str, text: str) -> tuple[tuple[str, str], ...]:
    """``key=value`` pairs, comma-separated; raises BadFlag."""
    pairs = []
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise BadFlag(f"{flag}: {part!r} is not KEY=VALUE")
        pairs.append((key, value))
    return tuple(pairs)
