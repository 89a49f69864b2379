"""Whether an ADD can succeed on this host at all: what STATUS looks at besides addresses.

What ADD puts right by itself (a bridge that is missing or down, forwarding that is off) is no
reason to say no: a runtime that hears no attaches nothing, and so nothing would put it right.
Source: CNI specification 1.1.0, "STATUS".
"""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass

from cni_plugin.firewall import iptables_tool, libnftables
from cni_plugin.linux import uapi
from cni_plugin.linux.namespace import Namespace
from cni_plugin.linux.netlink import Attributes, NetlinkError, Socket, pack
from cni_plugin.plan.rules import IPTABLES, NFTABLES
from cni_plugin.plan.vlan import wants_vlans
from cni_plugin.plan.wiring import is_gateway
from cni_plugin.spec.config import NetConf
from cni_plugin.spec.errors import NotAvailableError
from cni_plugin.spec.seen import Link

# of either IP version: which of them a container will have is for its addresses to say
_FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
_OPTIONS = {"bridge": "CONFIG_BRIDGE", "veth": "CONFIG_VETH", "vlan": "CONFIG_VLAN_8021Q"}
_NO_ADDRESS = bytes([1, 0, 0, 0, 0, 0])  # a group's, which no link can have


@dataclass(frozen=True, slots=True)
class HostState:
    """What there is; ``kinds`` of links, ``filters`` that rules can be put in."""

    privileged: bool
    kinds: frozenset[str]
    filters: frozenset[str]
    bridge: Link | None
    forwards: bool


def check_host(conf: NetConf, host_ns: Namespace) -> None:
    """Raise NotAvailableError with the first reason why no ADD can succeed now."""
    for reason, details in reasons(conf, _look(conf, host_ns)):
        raise NotAvailableError(reason, details)


def reasons(conf: NetConf, host: HostState) -> Iterator[tuple[str, str]]:
    """Why no ADD can succeed, and what to do about it; pure."""
    if not host.privileged:
        yield "podwire-cni may not change this host's links", "it needs CAP_NET_ADMIN"
        return
    for kind in sorted(_kinds(conf) - host.kinds):
        option = _OPTIONS[kind]
        yield f"the kernel can make no {kind} links", f"load its module, or build it with {option}"
    if host.bridge is not None and host.bridge.kind != "bridge":
        yield f"link {conf.bridge} is no bridge", "remove or rename it, or name another bridge"
    if is_gateway(conf) and not host.forwards:
        yield "the host does not forward, and nobody may change that", "/proc/sys is read-only"
    for backend in sorted(_backends(conf)):
        if not (host.filters & {backend} if backend else host.filters):
            what = backend or "nftables nor iptables"
            yield f"the host has no {what}", "libnftables1 or iptables, or nf_tables in its kernel"


def _kinds(conf: NetConf) -> set[str]:
    if conf.wiring == "bridge":
        return {"bridge", "veth"} | ({"vlan"} if wants_vlans(conf) else set())
    return {"veth"} if conf.wiring == "ptp" else set()


def _backends(conf: NetConf) -> set[str]:
    """Who has to do what the configuration may ask for; empty: any."""
    asked = {conf.ip_masq_backend} if conf.ip_masq else set()
    if conf.ingress_policy != "open" or conf.capabilities.get("portMappings"):
        asked.add(conf.backend)
    return asked


def _look(conf: NetConf, host_ns: Namespace) -> HostState:
    known, privileged = set(), True
    for kind in _kinds(conf):
        try:
            if _knows(host_ns.socket, kind):
                known.add(kind)
        except PermissionError:
            privileged = False
    return HostState(
        privileged=privileged,
        kinds=frozenset(known),
        filters=_filters() if _backends(conf) else frozenset(),
        bridge=host_ns.link(conf.bridge) if conf.wiring == "bridge" else None,
        forwards=any(
            host_ns.sysctl(key) == "1" or os.access(f"/proc/sys/{key}", os.W_OK)
            for key in _FORWARDING
        ),
    )


def _filters() -> frozenset[str]:
    found = {NFTABLES: libnftables.usable(), IPTABLES: iptables_tool.is_installed()}
    return frozenset(name for name, there in found.items() if there)


def _knows(socket: Socket, kind: str) -> bool:
    """Whether the kernel has a kind of links; it is asked for one that it cannot but refuse.

    It loads the module and checks what was asked (rtnl_newlink in net/core/rtnetlink.c), so
    that "not supported" means the kind and anything else the impossible address.
    """
    attributes: Attributes = {
        uapi.IFLA_ADDRESS: _NO_ADDRESS,
        uapi.IFLA_LINKINFO: {uapi.IFLA_INFO_KIND: kind},
    }
    body = uapi.IFINFOMSG.pack(0, 0, 0, 0, 0) + pack(attributes)
    try:
        socket.change(uapi.RTM_NEWLINK, body, uapi.NLM_F_CREATE | uapi.NLM_F_EXCL)
    except NetlinkError as err:
        if err.errno == errno.EPERM:
            raise PermissionError(err.errno, str(err)) from err
        return err.errno != errno.EOPNOTSUPP
    raise AssertionError(f"the kernel made a {kind} link with the address of a group")
