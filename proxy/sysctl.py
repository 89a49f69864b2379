"""The kernel settings that the proxy needs, in its own network namespace only."""

import logging
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from proxy.model import Family
from proxy.settings import Settings

log = logging.getLogger("podwire.proxy.sysctl")

_ROOT = Path("/proc/sys/net")
ROUTE_LOCALNET = "ipv4/conf/all/route_localnet"
BE_LIBERAL = "netfilter/nf_conntrack_tcp_be_liberal"
_LOCALHOST = IPv4Address("127.0.0.1")


def prepare(settings: Settings, root: Path = _ROOT) -> Settings:
    """Set what has to be set, and take into the settings what the kernel says of itself."""
    if settings.localhost_node_ports and settings.is_node_port_address(_LOCALHOST):
        _ensure(root / ROUTE_LOCALNET, 1)
    families = tuple(
        one for one in settings.families if one is Family.V4 or (root / "ipv6").exists()
    )
    liberal = _read(root / BE_LIBERAL) not in (None, 0)
    return replace(settings, families=families, tcp_be_liberal=liberal)


def _ensure(path: Path, value: int) -> None:
    """Set a sysctl unless it is set; one that cannot be set costs a feature, not the rest."""
    if _read(path) == value:
        return
    try:
        path.write_text(f"{value}\n")
    except OSError as err:
        log.error("%s cannot be set to %d: %s; NodePorts at 127.0.0.1 will not answer",
                  path, value, err.strerror)  # fmt: skip


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
