"""Taps: which packets pass the links of a network namespace (packet(7))."""

import os
import socket
import struct
import time
from dataclasses import dataclass

from debug.trace.filters import attach

_ALL = 0x0003  # ETH_P_ALL
_TIMESTAMP, _RECEIVE_FORCED = 35, 33  # SO_*: asm-generic/socket.h
_OUTGOING = 4  # PACKET_OUTGOING: linux/if_packet.h
_PACKET, _STATISTICS, _IGNORE_OUTGOING = 263, 6, 23  # SOL_PACKET, PACKET_*: linux/if_packet.h
_COUNTS = struct.Struct("=II")
_LONGEST = 1 << 16
_ROOM = 1 << 21  # bytes of the queue
_TIME = struct.Struct("=qq")
MOST_AT_ONCE = 1000  # messages that are read before others have their turn


@dataclass(frozen=True, slots=True)
class Tapped:
    """A packet on a link, from its IP header on. ``time`` is in nanoseconds since 1970.

    The kernel begins to stamp packets a moment after the machine's first socket asks for it; those
    that came before have the time at which they are read (sock_recv_timestamp in net/socket.c).
    """

    time: int
    link: str
    out: bool
    data: bytes
    late: bool = False  # the time may be that of reading
    netns: int = 0  # the inode of its namespace, if one listener hears several


class Tap:
    """Hears all links of the namespace where it was made, or what comes in by one of them.

    Raises OSError.
    """

    def __init__(self, program: bytes, link: str | None = None) -> None:
        """``program`` is the filter (classic BPF), with which the kernel selects packets."""
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK
        # What it hears before it has the filter is passed over later, as all that is not the probe.
        self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(_ALL))
        self.names = {index: _text(name) for index, name in socket.if_nameindex()}
        self._lost = 0
        try:
            attach(self._socket, program)
            if link is not None:
                self._socket.setsockopt(_PACKET, _IGNORE_OUTGOING, 1)
                self._socket.bind((link, _ALL))
            self._socket.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, _RECEIVE_FORCED, _ROOM)
        except OSError:
            self.close()
            raise

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors."""
        return self._socket.fileno()

    @property
    def lost(self) -> int:
        """Packets for which there was no room. Raises OSError."""
        counts = self._socket.getsockopt(_PACKET, _STATISTICS, _COUNTS.size)
        self._lost += _COUNTS.unpack(counts)[1]  # since the kernel was asked last
        return self._lost

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def read(self) -> list[Tapped]:
        """Return the packets since the last call; the others next time. Raises OSError."""
        found: list[Tapped] = []
        for _ in range(MOST_AT_ONCE):
            now = time.time_ns()
            try:
                data, extra, _flags, address = self._socket.recvmsg(_LONGEST, 64)
            except BlockingIOError:
                break
            except UnicodeDecodeError:
                continue  # on a link whose name is no text
            times = [value for _, kind, value in extra if kind == _TIMESTAMP]
            seconds, nanoseconds = _TIME.unpack(times[0][: _TIME.size]) if times else (0, 0)
            when = seconds * 1_000_000_000 + nanoseconds
            found.append(Tapped(when, address[0], address[2] == _OUTGOING, data, when >= now))
        return found


def _text(name: str) -> str:
    """Return a link's name, which may be any bytes, as text that can be written."""
    return os.fsencode(name).decode(errors="replace")
