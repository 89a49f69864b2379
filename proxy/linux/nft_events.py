"""The kernel's word that somebody changed nftables rules; iptables-nft's are among them."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

from proxy.linux.netlink import NETFILTER, attributes, messages

_SOL_NETLINK, _ADD_MEMBERSHIP, _DROP_MEMBERSHIP = 270, 1, 2  # linux/netlink.h
_GROUP = 7  # NFNLGRP_NFTABLES
_NF_TABLES = 10  # nfnetlink subsystem
_RECEIVE = 1 << 18


class NftEventKind(StrEnum):
    """What was touched."""

    TABLE = "table"
    CHAIN = "chain"
    RULE = "rule"
    SET = "set"
    ELEMENT = "element"
    LOST = "lost"  # events came faster than they were read: anything may have happened


# linux/netfilter/nf_tables.h: message -> what, and the attribute that names it within the table
_NEW = {
    0: (NftEventKind.TABLE, 1),
    3: (NftEventKind.CHAIN, 3),
    6: (NftEventKind.RULE, 2),
    9: (NftEventKind.SET, 2),
    12: (NftEventKind.ELEMENT, 2),
}
_DELETED = {kind + 2: what for kind, what in _NEW.items()}


class NftEvent(NamedTuple):
    """One change: ``name`` is the chain or the set; ``text`` holds every name in the message."""

    sort: NftEventKind
    deleted: bool
    table: str
    name: str
    text: bytes


class NftListener:
    """Hears of changes in the network namespace where it was made, while it listens."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        self._socket.setblocking(False)
        self._socket.bind((0, 0))

    def fileno(self) -> int:
        """For selectors."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def listen(self) -> None:
        """Hear of what happens from now on."""
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP)

    @contextmanager
    def deaf(self) -> Iterator[None]:
        """While the context lasts, where we write ourselves, hear of nothing; afterwards of
        everything. What was heard before stays to be read.

        Of a large transaction of ours there are more events than the socket has room for. Keep it
        short: what somebody else does meanwhile goes unheard.
        """
        self._socket.setsockopt(_SOL_NETLINK, _DROP_MEMBERSHIP, _GROUP)
        try:
            yield
        finally:
            self.listen()

    def read(self) -> list[NftEvent]:
        """What was heard since the last call."""
        touches: list[NftEvent] = []
        while True:
            try:
                data = self._socket.recv(_RECEIVE)
            except BlockingIOError:
                return touches
            except OSError as err:
                if err.errno != errno.ENOBUFS:
                    raise
                touches.append(NftEvent(NftEventKind.LOST, False, "", "", b""))
                continue
            touches += _touches(data)


def _touches(data: bytes) -> Iterator[NftEvent]:
    for kind, body in messages(data):
        subsystem, number = divmod(kind, 256)
        found = _NEW.get(number) or _DELETED.get(number)
        if subsystem == _NF_TABLES and found:
            sort, naming = found
            parts = attributes(body[4:])
            names = (_text(parts.get(1, b"")), _text(parts.get(naming, b"")))
            yield NftEvent(sort, number in _DELETED, *names, body)


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode(errors="replace")
