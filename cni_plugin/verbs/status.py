"""STATUS: is ADD possible on this host?

ADD itself repairs a bridge that is missing or down, and forwarding that is off. So these are no
reason for an error: after an error a runtime attaches nothing, and no ADD would repair them.
Source: CNI specification 1.1.0, section 2, "STATUS".
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from cni_plugin.firewall import iptables_tool, libnftables
from cni_plugin.ipam.source import Ipam
from cni_plugin.linux import uapi
from cni_plugin.linux.host import Host
from cni_plugin.linux.namespace import Namespace
from cni_plugin.linux.netlink import Attributes, NetlinkError, Socket, pack
from cni_plugin.plan.rules import IPTABLES, NFTABLES
from cni_plugin.plan.vlan import wants_vlans
from cni_plugin.plan.wiring import is_gateway
from cni_plugin.spec.config import NetConf
from cni_plugin.spec.errors import NotAvailableError
from cni_plugin.spec.kernel_state import Link
from cni_plugin.spec.request import Request

# of either IP version: the addresses of a container decide which one it uses
_FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
_OPTIONS = {"bridge": "CONFIG_BRIDGE", "veth": "CONFIG_VETH", "vlan": "CONFIG_VLAN_8021Q"}
_GROUP_ADDRESS = bytes([1, 0, 0, 0, 0, 0])  # no link can have a multicast address


@dataclass(frozen=True, slots=True)
class HostState:
    """The state of the host that STATUS depends on.

    ``kinds`` has the kinds of links that the kernel can make, ``filters`` the firewall backends
    that the host has. ``forwards`` is true if the host forwards packets, or ADD can switch that on.
    """

    privileged: bool
    kinds: frozenset[str]
    filters: frozenset[str]
    bridge: Link | None
    forwards: bool


def check_status(request: Request, host: Host, ipam: Ipam | None) -> None:
    """Raise NotAvailableError with the first reason why no ADD can succeed now."""
    del host
    with Namespace() as host_ns:
        state = _observe(request.conf, host_ns)
    for reason, details in reasons(request.conf, state):
        raise NotAvailableError(reason, details)
    if ipam is None:
        return
    try:
        ipam.status(request)
    except OSError as err:  # for example a full disk, or a read-only one
        raise NotAvailableError(f"ipam: {err}") from err


def reasons(conf: NetConf, state: HostState) -> Iterator[tuple[str, str]]:
    """Each reason why no ADD can succeed, with its remedy; pure."""
    if not state.privileged:
        yield "podwire-cni may not change this host's links", "it needs CAP_NET_ADMIN"
        return
    for kind in sorted(_link_kinds(conf) - state.kinds):
        option = _OPTIONS[kind]
        yield f"the kernel can make no {kind} links", f"load its module, or build it with {option}"
    if state.bridge is not None and state.bridge.kind != "bridge":
        yield f"link {conf.bridge} is no bridge", "remove or rename it, or name another bridge"
    if is_gateway(conf) and not state.forwards:
        yield "the host does not forward, and nobody may change that", "/proc/sys is read-only"
    for backend in sorted(_backends(conf)):
        if not (state.filters & {backend} if backend else state.filters):
            missing = backend or "nftables nor iptables"
            yield (
                f"the host has no {missing}",
                "libnftables1 or iptables, or nf_tables in its kernel",
            )


def _link_kinds(conf: NetConf) -> set[str]:
    if conf.wiring == "bridge":
        return {"bridge", "veth"} | ({"vlan"} if wants_vlans(conf) else set())
    return {"veth"} if conf.wiring == "ptp" else set()


def _backends(conf: NetConf) -> set[str]:
    """The firewall backends that the configuration needs; an empty name means any of them."""
    needed = {conf.ip_masq_backend} if conf.ip_masq else set()
    if conf.ingress_policy != "open" or conf.capabilities.get("portMappings"):
        needed.add(conf.backend)
    return needed


def _observe(conf: NetConf, host_ns: Namespace) -> HostState:
    kinds, privileged = set(), True
    for kind in _link_kinds(conf):
        try:
            if _supports_kind(host_ns.socket, kind):
                kinds.add(kind)
        except PermissionError:
            privileged = False
    return HostState(
        privileged=privileged,
        kinds=frozenset(kinds),
        filters=_filters() if _backends(conf) else frozenset(),
        bridge=host_ns.link(conf.bridge) if conf.wiring == "bridge" else None,
        forwards=any(
            host_ns.sysctl(key) == "1" or os.access(f"/proc/sys/{key}", os.W_OK)
            for key in _FORWARDING
        ),
    )


def _filters() -> frozenset[str]:
    found = {NFTABLES: libnftables.usable(), IPTABLES: iptables_tool.is_installed()}
    return frozenset(name for name, usable in found.items() if usable)


def _supports_kind(socket: Socket, kind: str) -> bool:
    """Return true if the kernel can make links of a kind.

    The kernel is asked for a link with an impossible address. It loads the module first, then it
    checks the request (rtnl_newlink in net/core/rtnetlink.c). So "not supported" is about the kind,
    and any other error about the address. Raises PermissionError.
    """
    attributes: Attributes = {
        uapi.IFLA_ADDRESS: _GROUP_ADDRESS,
        uapi.IFLA_LINKINFO: {uapi.IFLA_INFO_KIND: kind},
    }
    body = uapi.IFINFOMSG.pack(0, 0, 0, 0, 0) + pack(attributes)
    try:
        socket.change(uapi.RTM_NEWLINK, body, uapi.NLM_F_CREATE | uapi.NLM_F_EXCL)
    except NetlinkError as err:
        if err.errno == errno.EPERM:
            raise PermissionError(err.errno, str(err)) from err
        return err.errno != errno.EOPNOTSUPP
    raise AssertionError(f"the kernel made a {kind} link with a multicast address")
