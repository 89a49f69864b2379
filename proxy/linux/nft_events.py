"""The kernel's events about nftables rules, among which iptables-nft's are
(linux/netfilter/nf_tables.h).
"""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

from proxy.linux.netlink import NETFILTER, RECEIVE, attributes, messages, text

_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 270, 1, 2  # linux/netlink.h
_GROUP = 7  # NFNLGRP_NFTABLES
_NF_TABLES = 10  # nfnetlink subsystem


class NftEventKind(StrEnum):
    """The kind of object that an event is about."""

    TABLE = "table"
    CHAIN = "chain"
    RULE = "rule"
    SET = "set"
    ELEMENT = "element"
    LOST = "lost"  # events came faster than they were read, so any object may have changed


# Message -> kind of object, and the attribute that names it within the table.
_NEW = {
    0: (NftEventKind.TABLE, 1),
    3: (NftEventKind.CHAIN, 3),
    6: (NftEventKind.RULE, 2),
    9: (NftEventKind.SET, 2),
    12: (NftEventKind.ELEMENT, 2),
}
_DELETED = {kind + 2: what for kind, what in _NEW.items()}


class NftEvent(NamedTuple):
    """One object that was added or deleted.

    ``name`` is the chain or the set that it is, or is in. ``text`` is the message, which holds
    every name.
    """

    kind: NftEventKind
    deleted: bool
    table: str
    name: str
    text: bytes


class NftListener:
    """Receives events of the network namespace where it was made, while it listens."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        self._socket.setblocking(False)
        self._socket.bind((0, 0))

    def fileno(self) -> int:
        """Return the socket's descriptor, for selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def listen(self) -> None:
        """Receive events from now on."""
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """Receive no events while the context lasts, because this process writes rules itself.

        Events from before stay to be read. A large transaction has more events than the socket has
        room for. Keep the context short: changes that others make meanwhile go unnoticed.
        """
        self._socket.setsockopt(_SOL_NETLINK, _DROP_MEMBERSHIP, _GROUP)
        try:
            yield
        finally:
            self.listen()

    def read(self) -> list[NftEvent]:
        """Return the events since the last call. Raises OSError."""
        events: list[NftEvent] = []
        while True:
            try:
                data = self._socket.recv(RECEIVE)
            except BlockingIOError:
                return events
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise
                events.append(NftEvent(NftEventKind.LOST, False, "", "", b""))
                continue
            events += _events(data)


def _events(data: bytes) -> Iterator[NftEvent]:
    """Yield the events in received data."""
    for message_type, body, *_ in messages(data):
        subsystem, number = divmod(message_type, 256)
        found = _NEW.get(number) or _DELETED.get(number)
        if subsystem == _NF_TABLES and found:
            event_kind, naming = found
            parts = attributes(body[4:])
            table_and_name = (text(parts.get(1, b"")), text(parts.get(naming, b"")))
            yield NftEvent(event_kind, number in _DELETED, *table_and_name, body)
