"""The kernel settings that the proxy needs, in its own network namespace only."""

import logging
import os
from ipaddress import IPv4Address
from pathlib import Path

from msgspec.structs import replace

from proxy.config import ConntrackSettings
from proxy.model.settings import ProxySettings
from proxy.model.values import Family

logger = logging.getLogger("podwire.proxy.sysctl")

_ROOT = Path("/proc/sys/net")
ROUTE_LOCALNET = "ipv4/conf/all/route_localnet"
BE_LIBERAL = "netfilter/nf_conntrack_tcp_be_liberal"
MAXIMUM = "netfilter/nf_conntrack_max"
_LOCALHOST = IPv4Address("127.0.0.1")


def prepare(
    settings: ProxySettings, tracking: ConntrackSettings, root: Path = _ROOT
) -> ProxySettings:
    """Write sysctls, and return the settings completed by what the kernel supports."""
    if settings.localhost_node_ports and settings.is_node_port_address(_LOCALHOST):
        _ensure(root / ROUTE_LOCALNET, 1, "NodePorts at 127.0.0.1 will not answer")
    _track(tracking, root)
    has_ipv6 = (root / "ipv6").exists()
    families = tuple(family for family in settings.families if family is Family.V4 or has_ipv6)
    liberal = _read(root / BE_LIBERAL) not in (None, 0)
    return replace(settings, families=families, tcp_be_liberal=liberal)


def _track(tracking: ConntrackSettings, root: Path) -> None:
    """Set connection tracking as upstream does, but never lower the maximum.

    The maximum belongs to the whole machine. A node that is a network namespace can read it but not
    set it, and does not need to.
    """
    if tracking.be_liberal:
        _ensure(root / BE_LIBERAL, 1, "out-of-window segments stay invalid")
    for name, seconds in tracking.timeouts.items():
        if seconds:
            _ensure(root / "netfilter" / name, seconds, "the kernel's timeout stays")
    room = max(tracking.max_per_core * (os.cpu_count() or 1), tracking.least)
    if tracking.max_per_core and (_read(root / MAXIMUM) or room) < room and _is_own(root):
        _ensure(root / MAXIMUM, room, "connections beyond the kernel's maximum will be dropped")


def _is_own(root: Path) -> bool:
    """Return True if this namespace may set the maximum, which the file's mode says."""
    return bool((root / MAXIMUM).stat().st_mode & 0o200)


def _ensure(path: Path, value: int, consequence: str) -> None:
    """Set a sysctl unless it is set; log a failure with its ``consequence``."""
    if _read(path) == value:
        return
    try:
        path.write_text(f"{value}\n")
    except OSError as err:
        logger.error("%s cannot be set to %d: %s; %s", path, value, err.strerror, consequence)


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
