"""Packets that rules log to a group of NFLOG (linux/netfilter/nfnetlink_log.h)."""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from proxy.linux.listener import NetfilterListener
from proxy.linux.netlink import (
    ACK,
    RECEIVE,
    REQUEST,
    attribute,
    attributes,
    messages,
    pack_message,
    text,
)

_PACKET, _CONFIG = 0x400, 0x401  # subsystem 4, NFULNL_MSG_PACKET and NFULNL_MSG_CONFIG
_COMMAND, _MODE, _TIMEOUT, _THRESHOLD = 1, 2, 4, 5  # NFULA_CFG_*
_BIND, _COPY_PACKET = 1, 2
_PAYLOAD, _PREFIX = 9, 10  # NFULA_PAYLOAD, NFULA_PREFIX
_ERROR = 2
_GATHER = 10  # hundredths of a second for which the kernel gathers packets into one message
_AT_ONCE = 20  # packets that end the gathering


class LoggedPacket(NamedTuple):
    """A packet's first bytes, from its IP header on, and the prefix of the rule that logged it."""

    prefix: str
    payload: bytes


class NflogListener(NetfilterListener):
    """Receives what rules of this network namespace log to a group. A group has one listener."""

    def __init__(self, group: int, snaplen: int) -> None:
        """``snaplen`` is the most bytes of a packet. Raises OSError: EBUSY if another listens."""
        super().__init__()
        self._socket.setblocking(True)  # for the kernel's answers
        try:
            self._configure(group, snaplen)
        except OSError:
            self.close()
            raise
        self._socket.setblocking(False)

    def read(self, most: int) -> list[LoggedPacket]:
        """Return packets that wait, of at most ``most`` messages. Raises OSError."""
        found: list[LoggedPacket] = []
        for data in self.receive(most):
            found += packets(data)
        return found

    def _configure(self, group: int, snaplen: int) -> None:
        mode = struct.pack("!IBx", snaplen, _COPY_PACKET)
        settings = (
            (_COMMAND, bytes([_BIND])),
            (_MODE, mode),
            (_TIMEOUT, struct.pack("!I", _GATHER)),
            (_THRESHOLD, struct.pack("!I", _AT_ONCE)),
        )
        for kind, value in settings:
            head = struct.pack("!BBH", socket.AF_UNSPEC, 0, group)
            self._socket.send(pack_message(_CONFIG, REQUEST | ACK, head + attribute(kind, value)))
            self._confirm()

    def _confirm(self) -> None:
        """Wait for the kernel's answer; packets that come before it are none of ours yet."""
        while True:
            for answer in messages(self._socket.recv(RECEIVE)):
                if answer.kind == _ERROR:
                    code = -struct.unpack_from("=i", answer.body)[0]
                    if code == errno.EPERM:  # the group belongs to another socket
                        code = errno.EBUSY
                    if code:
                        raise OSError(code, os.strerror(code))
                    return


def packets(data: bytes) -> Iterator[LoggedPacket]:
    """Yield the packets in received data. Raises OSError."""
    for message in messages(data):
        if message.kind == _PACKET:
            parts = attributes(message.body[4:])
            yield LoggedPacket(text(parts.get(_PREFIX, b"")), parts.get(_PAYLOAD, b""))
