"""Reads which endpoint the programs remember for a client of a Service with session affinity."""

import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from proxy.backends.ebpf.layout import pack_address, unpack_address, unpack_target
from proxy.backends.ebpf.libbpf import BpfMap, Libbpf, pinned
from proxy.backends.ebpf.maps import memory_pin
from proxy.backends.ebpf.mounts import MAPS
from proxy.model.values import Address, Target

_CLIENT, _STICKY = struct.Struct("=Q16s"), struct.Struct("=20s4xQ")  # bpf/maps.h


class StickyClient(NamedTuple):
    """A client of a Service's port, the endpoint that it has, and how long ago it called (s)."""

    portal: int  # counters.number_of_port
    address: Address
    endpoint: Target
    age: float


def sticky_client(portal: int, address: Address, root: Path = Path("/")) -> StickyClient | None:
    """Return what is remembered of one client, None if nothing is.

    ``root`` are the files of the node. Raises KernelRefusedError.
    """
    for opened in _opened(root):
        key = _CLIENT.pack(portal, pack_address(address))
        value = opened.find(key, _STICKY.size)
        return _read(key, value) if value is not None else None
    return None


def sticky_clients(root: Path = Path("/")) -> Iterator[StickyClient]:
    """Yield all clients that are remembered. Raises KernelRefusedError."""
    for opened in _opened(root):
        for key, value in opened.entries(_CLIENT.size, _STICKY.size):
            yield _read(key, value)


def _opened(root: Path) -> Iterator[BpfMap]:
    """Yield the map, if it is there, and close it."""
    library = Libbpf()
    fd = pinned(library, root / MAPS.relative_to("/") / memory_pin("clients"))
    if fd is not None:
        with closing(BpfMap(library, fd, "clients", own=True)) as opened:
            yield opened


def _read(key: bytes, value: bytes) -> StickyClient:
    portal, address = _CLIENT.unpack(key)
    target, seen = _STICKY.unpack(value)
    age = max(time.monotonic_ns() - seen, 0) / 1e9
    return StickyClient(portal, unpack_address(address), Target.of(*unpack_target(target)[:2]), age)
