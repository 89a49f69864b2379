"""A network namespace: entering it, reading it, changing it.

Source: namespaces(7), setns(2), ioctl_ns(2), rtnetlink(7).
"""

import ctypes
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from types import TracebackType
from typing import Self

from cni_plugin.linux import uapi
from cni_plugin.linux.netlink import Attributes, NetlinkError, Socket, number, pack, text, unpack
from cni_plugin.spec.kernel_state import KernelRoute, Link
from cni_plugin.spec.result import Cidr

_CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_OWN = "/proc/thread-self/ns/net"
_SYSCTL = Path("/proc/sys")
_ANY_LINK = uapi.IFINFOMSG.pack(0, 0, 0, 0, 0)
_ANYWHERE = {uapi.AF_INET: bytes(4), uapi.AF_INET6: bytes(16)}
_UNUSABLE = uapi.IFA_F_TENTATIVE | uapi.IFA_F_DADFAILED


def is_namespace(fd: int) -> bool:
    """Return true if a descriptor is of a network namespace: CNI_NETNS may name any file."""
    try:
        return fcntl.ioctl(fd, _NS_GET_NSTYPE) == _CLONE_NEWNET
    except OSError:
        return False


def is_own(fd: int) -> bool:
    """Return true if a descriptor is of the calling thread's network namespace."""
    own, other = os.stat(_OWN), os.fstat(fd)  # noqa: PTH116  # pathlib takes longer than stat(2)
    return (own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)


def is_container(fd: int | None) -> bool:
    """Return true if a descriptor is of a network namespace other than the calling thread's."""
    return fd is not None and is_namespace(fd) and not is_own(fd)


@contextmanager
def entered(fd: int | None) -> Iterator[None]:
    """Run the block inside a namespace, this thread only; None is the one that it is in.

    Raises OSError.
    """
    if fd is None:
        yield
        return
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(fd)
        try:
            yield
        finally:
            _setns(own)
    finally:
        os.close(own)


def _setns(fd: int) -> None:
    if _libc().setns(fd, _CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


@cache
def _libc() -> ctypes.CDLL:
    """The C library, opened by the process that calls it: an image cannot hold it."""
    return ctypes.CDLL(None, use_errno=True)


class Namespace:
    """The network namespace ``fd``, or the caller's own.

    ``socket`` is an rtnetlink socket inside it.
    """

    def __init__(self, fd: int | None = None) -> None:
        self.fd = fd
        with entered(fd):
            self.socket = Socket()

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
        """The link of a name; None if there is none."""
        found = self._get_link(name)
        return None if found is None else _link(found)

    def index(self, name: str) -> int:
        """The index of the link of a name; 0 if there is none."""
        found = self._get_link(name)
        return 0 if found is None else uapi.IFINFOMSG.unpack_from(found)[2]

    def _get_link(self, name: str) -> bytes | None:
        wanted: Attributes = {
            uapi.IFLA_IFNAME: name,
            uapi.IFLA_EXT_MASK: uapi.RTEXT_FILTER_SKIP_STATS,
        }
        return self.socket.get(uapi.RTM_GETLINK, _ANY_LINK + pack(wanted))

    def links(self) -> list[Link]:
        """All links."""
        return [_link(item) for item in self.socket.dump(uapi.RTM_GETLINK, _ANY_LINK)]

    def addresses(self, index: int) -> tuple[Cidr, ...]:
        """The addresses of a link that are neither tentative nor duplicate."""
        body = uapi.IFADDRMSG.pack(0, 0, 0, 0, index)
        return tuple(_addresses(self.socket.dump(uapi.RTM_GETADDR, body), index))

    def routes(self) -> tuple[KernelRoute, ...]:
        """The unicast routes of both IP versions, of all tables."""
        return tuple(
            route
            for family in _ANYWHERE
            for item in self.socket.dump(uapi.RTM_GETROUTE, _routes_of(family))
            for route in _unicast(item)
        )

    def remove_link(self, name: str) -> bool:
        """Remove a link. Return false if there is none."""
        try:
            self.socket.change(uapi.RTM_DELLINK, _ANY_LINK + pack({uapi.IFLA_IFNAME: name}))
        except NetlinkError as err:
            if err.absent:
                return False
            raise
        return True

    def set_down(self, name: str) -> None:
        """Take a link down, if it exists."""
        body = uapi.IFINFOMSG.pack(0, 0, 0, 0, uapi.IFF_UP) + pack({uapi.IFLA_IFNAME: name})
        try:
            self.socket.change(uapi.RTM_NEWLINK, body)
        except NetlinkError as err:
            if not err.absent:
                raise

    def rate_limit(self, name: str) -> int:
        """The bytes per second of a link's token bucket (tc-tbf(8)); 0 if it has none."""
        link = self.link(name)
        if link is None:
            return 0
        for item in self.socket.dump(uapi.RTM_GETQDISC, bytes(uapi.TCMSG_SIZE)):
            attributes = unpack(item, uapi.TCMSG_SIZE)
            if number(item[4:8]) == link.index and text(attributes.get(uapi.TCA_KIND)) == "tbf":
                return _rate(unpack(attributes.get(uapi.TCA_OPTIONS, b"")))
        return 0

    def sysctl(self, key: str) -> str | None:
        """The value of ``net/...`` below /proc/sys; None if it does not exist."""
        with entered(self.fd):
            try:
                return (_SYSCTL / key).read_bytes().decode().strip()
            except FileNotFoundError:
                return None

    def write_sysctl(self, key: str, value: str) -> None:
        """Write ``net/...`` below /proc/sys. Raises OSError."""
        with entered(self.fd):
            descriptor = os.open(f"{_SYSCTL}/{key}", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, value.encode())
            finally:
                os.close(descriptor)


def _link(item: bytes) -> Link:
    _, _, index, flags, _ = uapi.IFINFOMSG.unpack_from(item)
    attributes = unpack(item, uapi.IFINFOMSG.size)
    info = unpack(attributes.get(uapi.IFLA_LINKINFO, b""))
    port = None
    if text(info.get(uapi.IFLA_INFO_SLAVE_KIND)) == "bridge":
        port = unpack(info.get(uapi.IFLA_INFO_SLAVE_DATA, b""))
    return Link(
        index=index,
        name=text(attributes.get(uapi.IFLA_IFNAME)),
        kind=text(info.get(uapi.IFLA_INFO_KIND)),
        mac=attributes.get(uapi.IFLA_ADDRESS, b"").hex(":"),
        mtu=number(attributes.get(uapi.IFLA_MTU)),
        up=bool(flags & uapi.IFF_UP),
        running=bool(flags & uapi.IFF_RUNNING),
        promiscuous=bool(flags & uapi.IFF_PROMISC),
        master=number(attributes.get(uapi.IFLA_MASTER)),
        peer=number(attributes.get(uapi.IFLA_LINK)),
        alias=text(attributes.get(uapi.IFLA_IFALIAS)),
        hairpin=_flag(port, uapi.IFLA_BRPORT_MODE),
        isolated=_flag(port, uapi.IFLA_BRPORT_ISOLATED),
        locked=_flag(port, uapi.IFLA_BRPORT_LOCKED),
        forwarding=None
        if port is None
        else number(port.get(uapi.IFLA_BRPORT_STATE)) == uapi.BR_STATE_FORWARDING,
    )


def _rate(options: dict[int, bytes]) -> int:
    """The rate of a token bucket. A rate above 32 bits has an attribute of its own."""
    at = uapi.TBF_RATE_AT
    low = options.get(uapi.TCA_TBF_PARMS, b"")[at : at + 4]
    return number(options.get(uapi.TCA_TBF_RATE64)) or number(low)


def _flag(port: dict[int, bytes] | None, kind: int) -> bool | None:
    return None if port is None else bool(number(port.get(kind)))


def _addresses(items: Iterable[bytes], index: int) -> Iterator[Cidr]:
    for item in items:
        _, prefix, flags, _, link = uapi.IFADDRMSG.unpack_from(item)
        attributes = unpack(item, uapi.IFADDRMSG.size)
        own = attributes.get(uapi.IFA_LOCAL) or attributes.get(uapi.IFA_ADDRESS)
        flags |= number(attributes.get(uapi.IFA_FLAGS))
        if link == index and own is not None and not flags & _UNUSABLE:
            yield ip_interface((own, prefix))


def _routes_of(family: int) -> bytes:
    return uapi.RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def _unicast(item: bytes) -> Iterator[KernelRoute]:
    """A route, or several: one for each next hop."""
    family, length, _, _, table, _, _, kind, _ = uapi.RTMSG.unpack_from(item)
    attributes = unpack(item, uapi.RTMSG.size)
    if kind != uapi.RTN_UNICAST:
        return
    for link, gateway in _next_hops(attributes):
        yield KernelRoute(
            dst=ip_network((attributes.get(uapi.RTA_DST, _ANYWHERE[family]), length)),
            gw=None if gateway is None else ip_address(gateway),
            link=link,
            table=number(attributes.get(uapi.RTA_TABLE)) or table,
            priority=number(attributes.get(uapi.RTA_PRIORITY)),
        )


def _next_hops(attributes: dict[int, bytes]) -> Iterator[tuple[int, bytes | None]]:
    if uapi.RTA_OIF in attributes:
        yield number(attributes[uapi.RTA_OIF]), attributes.get(uapi.RTA_GATEWAY)
    hops, at = attributes.get(uapi.RTA_MULTIPATH, b""), 0
    while at + uapi.RTNEXTHOP.size <= len(hops):
        length, link = uapi.RTNEXTHOP.unpack_from(hops, at)
        if length < uapi.RTNEXTHOP.size:
            return
        inner = unpack(hops[at : at + length], uapi.RTNEXTHOP.size)
        yield link, inner.get(uapi.RTA_GATEWAY)
        at += (length + 3) & ~3
