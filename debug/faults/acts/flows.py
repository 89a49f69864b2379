"""Entries of connection tracking, by ctnetlink: wrong ones, or so many that no other has room.

Ours have a mark, by which the kernel removes all of them at once. Source: Linux 6.18,
include/uapi/linux/netfilter/nfnetlink_conntrack.h, net/netfilter/nf_conntrack_netlink.c.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address
from itertools import islice
from typing import Any

from debug.faults.acts.base import FaultError, SpotAct
from debug.kernel.read import sysctl
from proxy.linux.netlink import NETFILTER, Netlink, attribute, nested, netfilter_header
from proxy.model.values import Family

MARK = 0x7F77  # hardly anybody else's
_NEW, _DELETE = 0x100, 0x102  # ctnetlink: subsystem 1, IPCTNL_MSG_CT_NEW and _DELETE
_ORIGINAL, _REPLY, _STATUS, _TIMEOUT, _MARK, _NAT_DST, _MARK_MASK = 1, 2, 3, 7, 8, 13, 21
_KEPT = 0x8 | 0x4 | 0x2  # confirmed, assured: never dropped for others; seen reply
_UDP = 17
_REQUEST, _CREATE = 0x1, 0x400
_SECONDS = 7200
_TRIES = 5
_ROOM = 1000  # entries beyond what seems to be free
_AT_ONCE = 400  # messages of one packet to the kernel
_MOST = 1 << 19  # entries; each takes some 300 bytes of the kernel's memory


class StaleFlow(SpotAct, frozen=True, kw_only=True):
    """A UDP flow from a fixed port, which goes on to a backend that is no more."""

    source: str
    source_port: int
    service: str
    port: int
    backend: str

    @property
    def what(self) -> str:
        """See ``SpotAct``."""
        return f"flow {self.source}:{self.source_port} to {self.service}:{self.port}"

    def enact(self) -> None:
        """See ``SpotAct``."""
        key = _key(self.source, self.source_port, self.service, self.port)
        backend = IPv4Address(self.backend).packed
        nat = nested(_NAT_DST, [attribute(1, backend), attribute(2, backend)])
        for left in reversed(range(_TRIES)):
            _end(_tuple(_ORIGINAL, *key))
            try:
                return _send([_entry(*key) + nat])
            except OSError as err:
                if err.errno != errno.EOPNOTSUPP or not left:
                    raise  # else the client has made the flow again: NAT is for new ones only
        return None

    def revert(self) -> None:
        """See ``SpotAct``."""
        forget()


class Full(SpotAct, frozen=True, kw_only=True):
    """So many flows that the table takes no other."""

    @property
    def what(self) -> str:
        """See ``SpotAct``. With a stale flow beside it, both would have the mark."""
        return "table of connection tracking"

    def read(self) -> dict[str, Any]:
        """See ``SpotAct``."""
        most = int(sysctl("net/netfilter/nf_conntrack_max") or 0)
        if not 0 < most <= _MOST:
            raise FaultError(
                f"nf_conntrack_max is {most}, for the whole machine: a namespace cannot set it, "
                f"and podwire fills tables of up to {_MOST} entries only"
            )
        return {}

    def enact(self) -> None:
        """See ``SpotAct``."""
        most = int(sysctl("net/netfilter/nf_conntrack_max") or 0)
        count = int(sysctl("net/netfilter/nf_conntrack_count") or 0)
        try:
            fill(most - count + _ROOM)  # other flows end while ours are made
        except OSError as err:
            if err.errno != errno.ENOMEM:  # what the kernel says when the table is full
                raise

    def revert(self) -> None:
        """See ``SpotAct``."""
        forget()


def fill(count: int) -> None:
    """Make entries, each of another flow; raises OSError, ENOMEM when the table is full."""
    _send(_many(max(0, count)))


def forget() -> None:
    """Remove all of our entries. Raises OSError."""
    mark = attribute(_MARK, struct.pack("!I", MARK))
    mask = attribute(_MARK_MASK, struct.pack("!I", 0xFFFFFFFF))
    with closing(Netlink(NETFILTER)) as kernel:
        kernel.request(_DELETE, netfilter_header(Family.V4) + mark + mask)


def _end(key: bytes) -> None:
    """Remove the flow of a tuple, if there is one."""
    try:
        with closing(Netlink(NETFILTER)) as kernel:
            kernel.request(_DELETE, netfilter_header(Family.V4) + key)
    except OSError as err:
        if err.errno != errno.ENOENT:
            raise


def _key(source: str, source_port: int, to: str, port: int) -> tuple[bytes, bytes, int, int]:
    return IPv4Address(source).packed, IPv4Address(to).packed, source_port, port


def _entry(source: bytes, to: bytes, source_port: int, port: int) -> bytes:
    return (
        netfilter_header(Family.V4)
        + _tuple(_ORIGINAL, source, to, source_port, port)
        + _tuple(_REPLY, to, source, port, source_port)
        + attribute(_STATUS, struct.pack("!I", _KEPT))
        + attribute(_TIMEOUT, struct.pack("!I", _SECONDS))
        + attribute(_MARK, struct.pack("!I", MARK))
    )


def _tuple(kind: int, source: bytes, to: bytes, source_port: int, port: int) -> bytes:
    ports = [attribute(number, struct.pack("!H", p)) for number, p in ((2, source_port), (3, port))]
    ends = nested(1, [attribute(1, source), attribute(2, to)])
    return nested(kind, [ends, nested(2, [attribute(1, bytes([_UDP])), *ports])])


def _many(count: int) -> Iterator[bytes]:
    """Yield entries that differ in a port: a template, in which two bytes change at four places."""
    one, other = 0x5EED, 0x7EED  # ports that stand nowhere else in the template
    template = _entry(bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2]), one, other)
    mark_one, mark_other = one.to_bytes(2, "big"), other.to_bytes(2, "big")
    parts = template.replace(mark_one, b"\0ONE\0").replace(mark_other, b"\0OTHER\0")
    for number in range(count):
        high, low = divmod(number, 60_000)
        ports = struct.pack("!H", 1024 + low), struct.pack("!H", 1 + high)
        yield parts.replace(b"\0ONE\0", ports[0]).replace(b"\0OTHER\0", ports[1])


def _send(entries: Iterator[bytes] | list[bytes]) -> None:
    """Give the kernel entries, many in one packet; raises OSError for one that it refuses.

    Refusals are read after each packet: those of more would not find room in the socket.
    """
    messages = (_message(body) for body in entries)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as kernel:
        while batch := b"".join(islice(messages, _AT_ONCE)):
            kernel.send(batch)
            _check(kernel)


def _message(body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), _NEW, _REQUEST | _CREATE, 1, 0) + body


def _check(kernel: socket.socket) -> None:
    """Read the first refusal, if there is one; a successful entry has no answer."""
    try:
        answer = kernel.recv(1 << 16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return
    (number,) = struct.unpack_from("=i", answer, 16)
    if number:
        raise OSError(-number, f"conntrack: {os.strerror(-number)}")
