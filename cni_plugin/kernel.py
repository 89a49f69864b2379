"""The kernel as the plugin sees it: look at links, addresses and routes; do and undo operations.

It decides nothing: what to do stands in a plan (``plan.py``).
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyroute2.netlink import NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from cni_plugin import netns, ops
from cni_plugin.errors import KernelRefused, TryAgainLater, UnsupportedField
from cni_plugin.netlink import NetlinkError, Socket, message
from cni_plugin.ops import Side
from cni_plugin.result import Cidr
from cni_plugin.state import KernelRoute, Link

_IFF_UP, _IFF_PROMISC = 0x1, 0x100
_IFA_F_NODAD, _IFA_F_TENTATIVE, _IFA_F_DADFAILED = 0x02, 0x40, 0x08
_BR_STATE_FORWARDING = 3
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_RT_SCOPE_LINK, _RT_SCOPE_UNIVERSE = 253, 0
_FORWARDING_PATIENCE = 5.0
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_SYSCTL = Path("/proc/sys")


class Space:
    """One network namespace: its rtnetlink socket and its sysctls."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = fd
        self.socket = Socket(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.__exit__(kind, error, trace)

    def link(self, name: str) -> Link | None:
        """The link of that name."""
        found = self.socket.get(RTM_GETLINK, message(ifinfmsg, {"IFLA_IFNAME": name}))
        return None if found is None else _link(found)

    def links(self) -> list[Link]:
        """All links."""
        return [_link(item) for item in self.socket.dump(RTM_GETLINK, message(ifinfmsg))]

    def index(self, name: str) -> int:
        """The index of a link that must be there."""
        found = self.link(name)
        if found is None:
            raise NetlinkError(errno.ENODEV, f"no link {name}")
        return found.index

    def addresses(self, index: int) -> list[Cidr]:
        """The usable addresses of a link: neither tentative nor duplicate."""
        found = self.socket.dump(RTM_GETADDR, message(ifaddrmsg, index=index))
        return [
            ip_interface(f"{_attr(item, 'IFA_LOCAL', 'IFA_ADDRESS')}/{item['prefixlen']}")
            for item in found
            if item["index"] == index
            and not (item.get_attr("IFA_FLAGS") or 0) & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED)
        ]

    def routes(self) -> list[KernelRoute]:
        """The unicast routes of both families, all tables."""
        return [
            made
            for family in (socket.AF_INET, socket.AF_INET6)
            for item in self.socket.dump(RTM_GETROUTE, message(rtmsg, family=family))
            if item["type"] == _RTN_UNICAST and (made := _route(item)) is not None
        ]

    def uplink_mtu(self) -> int:
        """The MTU of the link that the default route goes through; 0 without one."""
        ways = [route.link for route in self.routes() if not route.dst.prefixlen]
        return min((link.mtu for link in self.links() if link.index in ways), default=0)

    def sysctl(self, key: str) -> str | None:
        """The value of ``net/...``; None where the kernel has no such thing."""
        with netns.entered(self.fd):
            try:
                return (_SYSCTL / key).read_text().strip()
            except FileNotFoundError:
                return None

    def write_sysctl(self, key: str, value: str) -> None:
        """Set ``net/...``; raises OSError."""
        with netns.entered(self.fd):
            (_SYSCTL / key).write_text(value)


def _attr(item: Any, *names: str) -> Any:
    return next((value for name in names if (value := item.get_attr(name)) is not None), None)


def _link(item: Any) -> Link:
    info = item.get_attr("IFLA_LINKINFO")
    port = info.get_attr("IFLA_INFO_SLAVE_DATA") if info else None
    if info and info.get_attr("IFLA_INFO_SLAVE_KIND") != "bridge":
        port = None
    flags = item["flags"]
    return Link(
        index=item["index"],
        name=item.get_attr("IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        mac=item.get_attr("IFLA_ADDRESS") or "",
        mtu=item.get_attr("IFLA_MTU") or 0,
        up=bool(flags & _IFF_UP),
        promiscuous=bool(flags & _IFF_PROMISC),
        master=item.get_attr("IFLA_MASTER") or 0,
        peer=item.get_attr("IFLA_LINK") or 0,
        alias=item.get_attr("IFLA_IFALIAS") or "",
        hairpin=None if port is None else bool(port.get_attr("IFLA_BRPORT_MODE")),
        isolated=None if port is None else bool(port.get_attr("IFLA_BRPORT_ISOLATED")),
        forwarding=None
        if port is None
        else port.get_attr("IFLA_BRPORT_STATE") == _BR_STATE_FORWARDING,
    )


def _route(item: Any) -> KernelRoute | None:
    anywhere = "0.0.0.0" if item["family"] == socket.AF_INET else "::"  # noqa: S104
    link = item.get_attr("RTA_OIF")
    if link is None:
        return None
    gateway = item.get_attr("RTA_GATEWAY")
    return KernelRoute(
        dst=ip_network(f"{item.get_attr('RTA_DST') or anywhere}/{item['dst_len']}"),
        gw=ip_address(gateway) if gateway else None,
        link=link,
        table=item.get_attr("RTA_TABLE") or item["table"],
        priority=item.get_attr("RTA_PRIORITY") or 0,
    )


class Kernel:
    """Does operations in the host's namespace and in one container's."""

    def __init__(self, host: Space, pod: Space | None = None) -> None:
        self._spaces = {Side.HOST: host}
        if pod is not None:
            self._spaces[Side.POD] = pod
        self._does: dict[type[Any], Callable[[Any], None]] = {
            ops.CreateBridge: self._create_bridge,
            ops.PinMac: self._pin_mac,
            ops.CreateVeth: self._create_veth,
            ops.SetPort: self._set_port,
            ops.SetUp: self._set_up,
            ops.SetPromiscuous: self._set_promiscuous,
            ops.AddAddress: self._add_address,
            ops.RemoveAddress: self._remove_address,
            ops.AddRoute: self._add_route,
            ops.ForgetNeighbour: self._forget_neighbour,
            ops.WriteSysctl: self._write_sysctl,
            ops.AwaitForwarding: self._await_forwarding,
        }

    def do(self, op: ops.Op) -> None:
        """Do one operation; raises KernelRefused, UnsupportedField or TryAgainLater."""
        with _explained(op):
            self._does[type(op)](op)

    def revert(self, op: ops.Op) -> None:
        """Undo an operation, if it is one that its attachment alone has made."""
        if isinstance(op, ops.CreateVeth):
            with _explained(op):
                remove_link(self._spaces[Side.HOST], op.host)

    @property
    def _host(self) -> Socket:
        return self._spaces[Side.HOST].socket

    def _create_bridge(self, op: ops.CreateBridge) -> None:
        attrs = {
            "IFLA_IFNAME": op.name,
            "IFLA_ADDRESS": op.mac,
            "IFLA_MTU": op.mtu,
            "IFLA_LINKINFO": {"IFLA_INFO_KIND": "bridge"},
        }
        body = message(ifinfmsg, attrs, flags=_IFF_UP, change=_IFF_UP)
        try:
            self._host.change(RTM_NEWLINK, body, NLM_F_CREATE | NLM_F_EXCL)
        except NetlinkError as err:
            # another ADD was faster; whether it made a bridge, the next operation finds out
            if err.errno != errno.EEXIST:
                raise

    def _pin_mac(self, op: ops.PinMac) -> None:
        attrs = {"IFLA_IFNAME": op.name, "IFLA_ADDRESS": op.mac}
        self._host.change(RTM_NEWLINK, message(ifinfmsg, attrs))

    def _create_veth(self, op: ops.CreateVeth) -> None:
        peer = {
            "IFLA_IFNAME": op.pod,
            "IFLA_ADDRESS": op.pod_mac,
            "IFLA_MTU": op.mtu,
            "IFLA_NET_NS_FD": self._spaces[Side.POD].fd,
        }
        attrs = {
            "IFLA_IFNAME": op.host,
            "IFLA_ADDRESS": op.host_mac,
            "IFLA_MTU": op.mtu,
            "IFLA_MASTER": self._spaces[Side.HOST].index(op.bridge),
            "IFLA_LINKINFO": {
                "IFLA_INFO_KIND": "veth",
                "IFLA_INFO_DATA": {"VETH_INFO_PEER": peer},
            },
        }
        body = message(ifinfmsg, attrs, flags=_IFF_UP, change=_IFF_UP)
        self._host.change(RTM_NEWLINK, body, NLM_F_CREATE | NLM_F_EXCL)

    def _set_port(self, op: ops.SetPort) -> None:
        port = {"IFLA_BRPORT_MODE": int(op.hairpin), "IFLA_BRPORT_ISOLATED": int(op.isolated)}
        attrs = {
            "IFLA_IFNAME": op.name,
            "IFLA_IFALIAS": op.alias,
            "IFLA_LINKINFO": {"IFLA_INFO_SLAVE_KIND": "bridge", "IFLA_INFO_SLAVE_DATA": port},
        }
        self._host.change(RTM_NEWLINK, message(ifinfmsg, attrs))

    def _set_up(self, op: ops.SetUp) -> None:
        self._set_flags(op.side, op.name, _IFF_UP)

    def _set_promiscuous(self, op: ops.SetPromiscuous) -> None:
        self._set_flags(op.side, op.name, _IFF_PROMISC)

    def _set_flags(self, side: Side, name: str, flags: int) -> None:
        body = message(ifinfmsg, {"IFLA_IFNAME": name}, flags=flags, change=flags)
        self._spaces[side].socket.change(RTM_NEWLINK, body)

    def _add_address(self, op: ops.AddAddress) -> None:
        body = self._address(op)
        body["attrs"] += [("IFA_FLAGS", 0 if op.dad else _IFA_F_NODAD)]
        self._spaces[op.side].socket.change(RTM_NEWADDR, body, NLM_F_CREATE | NLM_F_REPLACE)

    def _remove_address(self, op: ops.RemoveAddress) -> None:
        with _absent_is_done():
            self._spaces[op.side].socket.change(RTM_DELADDR, self._address(op))

    def _address(self, op: ops.AddAddress | ops.RemoveAddress) -> Any:
        own = str(op.address.ip)
        attrs: dict[str, Any] = {"IFA_ADDRESS": own, "IFA_LOCAL": own}
        if op.address.version == 4:
            attrs["IFA_BROADCAST"] = str(op.address.network.broadcast_address)
        return message(
            ifaddrmsg,
            attrs,
            family=_FAMILY[op.address.version],
            prefixlen=op.address.network.prefixlen,
            index=self._spaces[op.side].index(op.name),
        )

    def _add_route(self, op: ops.AddRoute) -> None:
        route, pod = op.route, self._spaces[Side.POD]
        metrics = {"RTAX_MTU": route.mtu, "RTAX_ADVMSS": route.advmss}
        attrs = {
            "RTA_DST": str(route.dst.network_address) if route.dst.prefixlen else None,
            "RTA_GATEWAY": None if route.gw is None else str(route.gw),
            "RTA_OIF": pod.index(op.name),
            "RTA_PRIORITY": route.priority,
            "RTA_TABLE": route.table,
            "RTA_METRICS": metrics if any(metrics.values()) else None,
        }
        table = route.table if route.table is not None and route.table <= 255 else _RT_TABLE_MAIN
        scope = _RT_SCOPE_LINK if route.gw is None else _RT_SCOPE_UNIVERSE
        body = message(
            rtmsg,
            attrs,
            family=_FAMILY[route.dst.version],
            dst_len=route.dst.prefixlen,
            table=table,
            proto=_RTPROT_STATIC,
            scope=scope if route.scope is None else route.scope,
            type=_RTN_UNICAST,
        )
        pod.socket.change(RTM_NEWROUTE, body, NLM_F_CREATE | NLM_F_REPLACE)

    def _forget_neighbour(self, op: ops.ForgetNeighbour) -> None:
        body = message(
            ndmsg,
            {"NDA_DST": str(op.address)},
            family=_FAMILY[op.address.version],
            ifindex=self._spaces[Side.HOST].index(op.name),
        )
        with _absent_is_done():
            self._host.change(RTM_DELNEIGH, body)

    def _write_sysctl(self, op: ops.WriteSysctl) -> None:
        try:
            self._spaces[op.side].write_sysctl(op.key, op.value)
        except FileNotFoundError:
            if not op.optional:
                raise

    def _await_forwarding(self, op: ops.AwaitForwarding) -> None:
        deadline = time.monotonic() + _FORWARDING_PATIENCE
        pause = 0.0005
        while (link := self._spaces[Side.HOST].link(op.name)) is None or not link.forwarding:
            if time.monotonic() > deadline:
                raise TryAgainLater(f"bridge port {op.name} does not forward after 5 s")
            time.sleep(pause)
            pause = min(pause * 2, 0.05)


def remove_link(space: Space, name: str) -> bool:
    """Remove a link; whether it was there."""
    try:
        space.socket.change(RTM_DELLINK, message(ifinfmsg, {"IFLA_IFNAME": name}))
    except NetlinkError as err:
        if err.errno == errno.ENODEV:
            return False
        raise
    return True


@contextmanager
def _absent_is_done() -> Iterator[None]:
    try:
        yield
    except NetlinkError as err:
        if err.errno not in {errno.ENOENT, errno.ENODEV, errno.ESRCH, errno.EADDRNOTAVAIL}:
            raise


@contextmanager
def _explained(op: ops.Op) -> Iterator[None]:
    """Turn an OSError into an error that names the operation."""
    try:
        yield
    except OSError as err:
        wanted = f"{type(op).__name__} {getattr(op, 'name', None) or getattr(op, 'host', '')}"
        if err.errno == errno.EOPNOTSUPP:
            raise UnsupportedField(f"the kernel cannot do {wanted}", str(err)) from err
        raise KernelRefused(f"the kernel refused {wanted}: {err}", repr(op)) from err
