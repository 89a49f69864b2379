"""The raw sockets of a node's interface: ARP, neighbor discovery and heartbeats.

No address is put on a link: the proxy takes packets to the address in prerouting, and a kernel
with the address on a link would answer ARP by itself, on every node.
"""

import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv6Address

from control.cloud.speaker.frames import (
    ETHERTYPE_ARP,
    ETHERTYPE_BEAT,
    ETHERTYPE_IPV6,
    GROUP,
    MAC,
    solicited_group,
)

# Of <linux/if_packet.h> and <asm/socket.h>; the module socket has not all of them.
_SOL_PACKET, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP, _MULTICAST = 263, 1, 2, 0
_ATTACH_FILTER = 26
_LOAD_BYTE, _JUMP_EQUAL, _RETURN = 0x30, 0x15, 0x06
_MOST_BYTES = 2048  # of a frame that is read
_MOST_FRAMES = 4096  # read at once

# Frames of IPv6 whose next header is ICMPv6, and that are solicitations or advertisements.
_NEIGHBORS = (
    (_LOAD_BYTE, 0, 0, 20),
    (_JUMP_EQUAL, 0, 4, 58),
    (_LOAD_BYTE, 0, 0, 54),
    (_JUMP_EQUAL, 1, 0, 135),
    (_JUMP_EQUAL, 0, 1, 136),
    (_RETURN, 0, 0, 0xFFFF),
    (_RETURN, 0, 0, 0),
)


class LinkError(Exception):
    """The interface has no raw sockets; the text names it, the cause and the remedy."""


class Link:
    """An interface, for frames of three kinds. Raises LinkError."""

    def __init__(self, interface: str) -> None:
        self.interface = interface
        self._sockets: list[socket.socket] = []
        try:
            self._index = socket.if_nametoindex(interface)
            self._arp = self._open(ETHERTYPE_ARP)
            self._ndp = self._open(ETHERTYPE_IPV6, _NEIGHBORS)
            self._beats = self._open(ETHERTYPE_BEAT)
            self._member(_ADD_MEMBERSHIP, GROUP)
        except OSError as err:
            self.close()
            raise LinkError(
                f"interface {interface}: no raw socket: {err}; give an Ethernet interface, "
                "and run with CAP_NET_RAW"
            ) from err
        self.mac: MAC = self._arp.getsockname()[4]

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets to wait for."""
        return tuple(self._sockets)

    def close(self) -> None:
        """Close the sockets; the kernel forgets their memberships."""
        for each in self._sockets:
            each.close()

    def read(self) -> Iterator[bytes]:
        """Yield the frames that have arrived, at most some thousands."""
        for each in self._sockets:
            for _ in range(_MOST_FRAMES):
                try:
                    frame, address = each.recvfrom(_MOST_BYTES)
                except BlockingIOError:
                    break
                except OSError as err:  # the link is down: it says so once
                    if err.errno != errno.ENETDOWN:
                        raise
                    break
                if address[2] != socket.PACKET_OUTGOING:
                    yield frame

    def send(self, frame: bytes) -> bool:
        """Send a frame; return False if the link is down, or its queue is full."""
        try:
            self._beats.send(frame)
        except OSError as err:
            if err.errno not in (errno.ENETDOWN, errno.ENOBUFS, errno.EAGAIN, errno.ENXIO):
                raise
            return False
        return True

    def hear(self, address: IPv6Address) -> None:
        """Let the interface take the questions for an address."""
        self._member(_ADD_MEMBERSHIP, solicited_group(address))

    def ignore(self, address: IPv6Address) -> None:
        """End ``hear``, once for each time."""
        with contextlib.suppress(OSError):  # the interface is gone, and the membership with it
            self._member(_DROP_MEMBERSHIP, solicited_group(address))

    def _member(self, option: int, group: MAC) -> None:
        request = struct.pack("iHH8s", self._index, _MULTICAST, len(group), group)
        self._beats.setsockopt(_SOL_PACKET, option, request)

    def _open(
        self, kind: int, program: tuple[tuple[int, int, int, int], ...] = ()
    ) -> socket.socket:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
        self._sockets.append(opened)
        if program:  # before bind, after which packets arrive
            _attach(opened, program)
        opened.bind((self.interface, kind))
        return opened


def _attach(to: socket.socket, program: tuple[tuple[int, int, int, int], ...]) -> None:
    """Let the kernel drop what a program of classic BPF refuses."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    filter_ = struct.pack("HL", len(program), ctypes.addressof(code))
    to.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, filter_)
