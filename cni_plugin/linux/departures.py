"""Links that go away, told by the kernel as soon as they are gone.

RTM_DELLINK's own answer comes some 15 ms later: before it the kernel waits until nobody can hold
a pointer to what it frees (rcu_barrier in netdev_run_todo, net/core/dev.c). The notification is
sent when the link is out of all lists: its name is free, and its addresses and routes lead nowhere.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Iterator

from cni_plugin.linux import uapi
from cni_plugin.linux.netlink import text, unpack

_LONGEST_DATAGRAM = 1 << 16
_SO_ATTACH_FILTER = 26
# struct sock_filter: lets through the messages of one type, so that no other one wakes us
_LOAD_TYPE, _SAME, _RETURN = 0x28, 0x15, 0x06
_TYPE_AT = 4
_FILTER = b"".join(
    struct.pack("=HBBI", *step)
    for step in (
        (_LOAD_TYPE, 0, 0, _TYPE_AT),  # in network order
        (_SAME, 0, 1, socket.htons(uapi.RTM_DELLINK)),
        (_RETURN, 0, 0, 0xFFFFFFFF),
        (_RETURN, 0, 0, 0),
    )
)


def listen() -> socket.socket:
    """A socket that hears of links leaving the caller's network namespace from now on."""
    ear = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    program = ctypes.create_string_buffer(_FILTER, len(_FILTER))
    count = len(_FILTER) // struct.calcsize("=HBBI")
    fprog = struct.pack("@HP", count, ctypes.addressof(program))
    ear.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    ear.bind((0, uapi.RTMGRP_LINK))
    return ear


def heard(ear: socket.socket) -> Iterator[str]:
    """The names of links that are gone, for ever; when there are too many at once some are lost."""
    while True:
        try:
            message = ear.recv(_LONGEST_DATAGRAM)
        except OSError as err:
            if err.errno == errno.ENOBUFS:
                continue
            raise
        at = uapi.NLMSGHDR.size
        family, *_ = uapi.IFINFOMSG.unpack_from(message, at)
        if family == socket.AF_UNSPEC:  # a bridge says before that it has one port less
            yield text(unpack(message, at + uapi.IFINFOMSG.size).get(uapi.IFLA_IFNAME))
