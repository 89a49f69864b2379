"""The kernel's notifications of removed links.

The answer to RTM_DELLINK comes some 15 ms after the notification: the kernel waits first until no
pointer to the freed memory is in use (rcu_barrier in netdev_run_todo, net/core/dev.c). At the time
of the notification the link's name is free already, and its addresses and routes are gone.
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
# struct sock_filter: passes messages of one type only, so that no other message wakes the thread
_LOAD_HALF, _JUMP_EQUAL, _RETURN = 0x28, 0x15, 0x06
_TYPE_AT = 4
_FILTER = b"".join(
    struct.pack("=HBBI", *step)
    for step in (
        (_LOAD_HALF, 0, 0, _TYPE_AT),  # in network order
        (_JUMP_EQUAL, 0, 1, socket.htons(uapi.RTM_DELLINK)),
        (_RETURN, 0, 0, 0xFFFFFFFF),
        (_RETURN, 0, 0, 0),
    )
)


def listen() -> socket.socket:
    """A socket that receives notifications of links removed in the caller's network namespace."""
    listener = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    program = ctypes.create_string_buffer(_FILTER, len(_FILTER))
    count = len(_FILTER) // struct.calcsize("=HBBI")
    fprog = struct.pack("@HP", count, ctypes.addressof(program))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    listener.bind((0, uapi.RTMGRP_LINK))
    return listener


def removed_links(listener: socket.socket) -> Iterator[str]:
    """Yield the names of removed links, without end. Some are lost if the socket overflows."""
    while True:
        try:
            message = listener.recv(_LONGEST_DATAGRAM)
        except OSError as err:
            if err.errno == errno.ENOBUFS:
                continue
            raise
        at = uapi.NLMSGHDR.size
        family, *_ = uapi.IFINFOMSG.unpack_from(message, at)
        if family == socket.AF_UNSPEC:  # AF_BRIDGE: a link left its bridge, before its removal
            yield text(unpack(message, at + uapi.IFINFOMSG.size).get(uapi.IFLA_IFNAME))
