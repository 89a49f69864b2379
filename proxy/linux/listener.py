"""A netlink socket that hears events and never waits."""

import errno
import socket
from collections.abc import Iterable, Iterator

from proxy.linux.netlink import NETFILTER, RECEIVE

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1  # linux/netlink.h
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_ROOM = 1 << 21  # bytes of the socket's queue


class NetfilterListener:
    """Receives netfilter's events in the network namespace where it was made. Raises OSError."""

    def __init__(self, groups: Iterable[int] = ()) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, NETFILTER)
        self.lost = 0  # times that events came faster than they were read
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
            self._socket.bind((0, 0))
            for group in groups:
                self.join(group)
        except OSError:
            self.close()
            raise

    def join(self, group: int) -> None:
        """Receive a group's events from now on. Raises OSError."""
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket, and with it leave all groups."""
        self._socket.close()

    def receive(self, most: int) -> Iterator[bytes]:
        """Yield what waits, at most ``most`` messages. Raises OSError."""
        for _ in range(most):
            try:
                yield self._socket.recv(RECEIVE)
            except BlockingIOError:
                return
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise
                self.lost += 1
