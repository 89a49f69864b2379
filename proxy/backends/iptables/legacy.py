"""How iptables-legacy's tables look from outside: the kernel sends no events about them.

Their size is cheap to ask for. What is in them is not (5,000 Services are 42 MB), so that is looked
at only when somebody has used iptables: each command takes the lock ``LOCK``, ours too.
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
# struct ipt_getinfo; the last but one counts entries, the last bytes
_INFO = struct.Struct("32s 13I")
_HEAD = struct.Struct("32s I 4x")  # struct ipt_get_entries
_COUNTERS = bytes(16)  # struct xt_counters
_LENGTH = struct.Struct("=H")
_IN_CLOSE = 0x8 | 0x10  # inotify(7): of whoever had opened it, to write or not


class _EntryLayout(NamedTuple):
    """Where things are in a family's struct ipt_entry."""

    domain: int
    level: int
    next: int
    counters: int


_SORTS = {
    Family.V4: _EntryLayout(socket.AF_INET, socket.IPPROTO_IP, 90, 96),
    Family.V6: _EntryLayout(socket.AF_INET6, socket.IPPROTO_IPV6, 142, 152),
}


class XtablesLock:
    """Tells whether somebody used iptables-legacy."""

    def __init__(self, path: Path = LOCK) -> None:
        self._path = path
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._events = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def was_taken(self) -> bool:
        """Whether it was taken, and let go, since the last call; unknown is yes."""
        watched = self._libc.inotify_add_watch(self._events, os.fsencode(self._path), _IN_CLOSE)
        taken: bool = watched < 0
        with suppress(BlockingIOError):
            while self._events >= 0 and os.read(self._events, 4096):
                taken = True
        return taken


def size(family: Family) -> tuple[int, ...]:
    """Entries and bytes of the tables; raises KernelRefusedError."""
    with _asked(family) as asking:
        return tuple(number for table in Table for number in _info(asking, family, table))


def octets(size: tuple[int, ...]) -> int:
    """The bytes of a ``size``."""
    return sum(size[1::2])


def digest(family: Family) -> bytes:
    """What stands for the tables' rules, whatever they have counted; raises KernelRefusedError."""
    whole = hashlib.blake2b(digest_size=16)
    with _asked(family) as asking:
        for table in Table:
            whole.update(_rules(asking, family, table))
    return whole.digest()


@contextmanager
def _asked(family: Family) -> Iterator[socket.socket]:
    try:
        with socket.socket(_SORTS[family].domain, socket.SOCK_RAW, socket.IPPROTO_RAW) as asking:
            yield asking
    except OSError as err:
        raise KernelRefusedError(
            f"iptables-legacy's tables cannot be read: {err.strerror}"
        ) from err


def _info(asking: socket.socket, family: Family, table: Table) -> tuple[int, int]:
    data = bytearray(_INFO.pack(table.encode(), *([0] * 13)))
    _get(asking, family, _GET_INFO, data)
    *_, entries, length = _INFO.unpack(data)
    return entries, length


def _rules(asking: socket.socket, family: Family, table: Table) -> bytearray:
    """The table as the kernel has it, without what the rules have counted."""
    _, length = _info(asking, family, table)
    data = bytearray(_HEAD.pack(table.encode(), length)) + bytearray(length)
    _get(asking, family, _GET_ENTRIES, data)
    sort, at = _SORTS[family], _HEAD.size
    while at < len(data):
        data[at + sort.counters : at + sort.counters + len(_COUNTERS)] = _COUNTERS
        at += _LENGTH.unpack_from(data, at + sort.next)[0]
    return data


def _get(asking: socket.socket, family: Family, option: int, data: bytearray) -> None:
    """getsockopt(2), which fills ``data``."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = (ctypes.c_char * len(data)).from_buffer(data)
    length = ctypes.c_uint(len(data))
    level = _SORTS[family].level
    if libc.getsockopt(asking.fileno(), level, option, buffer, ctypes.byref(length)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
