"""The tables of iptables-legacy, about which the kernel sends no events.

Their size is cheap to read. Their rules are not (5,000 Services are 42 MB), so they are read only
after somebody has used iptables: each command takes the lock ``LOCK``, and so do ours.
"""

import ctypes
import hashlib
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from proxy.backends.iptables.names import Table
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family

LOCK = Path("/run/xtables.lock")

_GET_INFO, _GET_ENTRIES = 64, 65  # IPT_SO_GET_INFO and _ENTRIES; IP6T_SO_… have the same numbers
# struct ipt_getinfo; the last two numbers are its entries and its bytes
_INFO = struct.Struct("32s 13I")
_HEAD = struct.Struct("32s I 4x")  # struct ipt_get_entries
_COUNTERS = bytes(16)  # struct xt_counters
_LENGTH = struct.Struct("=H")
_IN_CLOSE = 0x8 | 0x10  # inotify(7): IN_CLOSE_WRITE and IN_CLOSE_NOWRITE


class _EntryLayout(NamedTuple):
    """The offsets of fields in a family's struct ipt_entry, and its socket options."""

    domain: int
    level: int
    next: int
    counters: int


_LAYOUTS = {
    Family.V4: _EntryLayout(socket.AF_INET, socket.IPPROTO_IP, 90, 96),
    Family.V6: _EntryLayout(socket.AF_INET6, socket.IPPROTO_IPV6, 142, 152),
}


class XtablesLock:
    """Watches the lock of iptables-legacy."""

    def __init__(self, path: Path = LOCK) -> None:
        self._path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._events = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def was_taken(self) -> bool:
        """Return True if a program released the lock since the last call, or if that is unknown."""
        watched = self._libc.inotify_add_watch(self._events, os.fsencode(self._path), _IN_CLOSE)
        taken: bool = watched < 0
        with suppress(BlockingIOError):
            while self._events >= 0 and os.read(self._events, 4096):
                taken = True
        return taken


def size(family: Family) -> tuple[int, ...]:
    """Return the entries and bytes of each table. Raises KernelRefusedError."""
    with _raw_socket(family) as raw_socket:
        return tuple(number for table in Table for number in _info(raw_socket, family, table))


def octets(size: tuple[int, ...]) -> int:
    """Return the bytes in a ``size``."""
    return sum(size[1::2])


def digest(family: Family) -> bytes:
    """Return a digest of the tables' rules without their counters. Raises KernelRefusedError."""
    whole = hashlib.blake2b(digest_size=16)
    with _raw_socket(family) as raw_socket:
        for table in Table:
            whole.update(_rules(raw_socket, family, table))
    return whole.digest()


@contextmanager
def _raw_socket(family: Family) -> Iterator[socket.socket]:
    """Open a socket for the family's socket options. Raises KernelRefusedError."""
    try:
        with socket.socket(
            _LAYOUTS[family].domain, socket.SOCK_RAW, socket.IPPROTO_RAW
        ) as raw_socket:
            yield raw_socket
    except OSError as err:
        raise KernelRefusedError(
            f"iptables-legacy's tables cannot be read: {err.strerror}"
        ) from err


def _info(raw_socket: socket.socket, family: Family, table: Table) -> tuple[int, int]:
    data = bytearray(_INFO.pack(table.encode(), *([0] * 13)))
    _get(raw_socket, family, _GET_INFO, data)
    *_, entries, length = _INFO.unpack(data)
    return entries, length


def _rules(raw_socket: socket.socket, family: Family, table: Table) -> bytearray:
    """Return the table as the kernel has it, with all counters zero."""
    _, length = _info(raw_socket, family, table)
    data = bytearray(_HEAD.pack(table.encode(), length)) + bytearray(length)
    _get(raw_socket, family, _GET_ENTRIES, data)
    layout, at = _LAYOUTS[family], _HEAD.size
    while at < len(data):
        data[at + layout.counters : at + layout.counters + len(_COUNTERS)] = _COUNTERS
        at += _LENGTH.unpack_from(data, at + layout.next)[0]
    return data


def _get(raw_socket: socket.socket, family: Family, option: int, data: bytearray) -> None:
    """Call getsockopt(2), which fills ``data``. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_char * len(data)).from_buffer(data)
    length = ctypes.c_uint(len(data))
    level = _LAYOUTS[family].level
    if libc.getsockopt(raw_socket.fileno(), level, option, buffer, ctypes.byref(length)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
