"""What the programs count for each Service's port."""

import os
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from proxy.backends.ebpf.group import MAPS
from proxy.backends.ebpf.libbpf import BpfMap, Libbpf, pinned
from proxy.desired.portals import Portal
from proxy.model.naming import number_of

_KEY = 8  # bytes


class PortalCount(NamedTuple):
    """Of a Service's port: new connections, and packets with their bytes, both ways."""

    connections: int
    packets: int
    octets: int


def number_of_portal(portal: Portal) -> int:
    """By what the programs know a Service's port, in both families and under all its addresses."""
    return number_of(f"{portal.name}/{portal.protocol}")


def tallies() -> Mapping[int, PortalCount]:
    """What programs sent on, or refused, by ``number_of_portal``; nothing where there are none.
    Raises KernelRefusedError.
    """
    seen = dict(_entries("traffics", 2))
    return {
        portal: PortalCount(connections, *seen.get(portal, (0, 0)))
        for portal, (connections,) in _entries("tallies", 1)
    }


def _entries(name: str, numbers: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """A pinned map's entries, each a key with so many numbers."""
    if not (MAPS / name).exists():
        return
    library = Libbpf()
    fd = pinned(library, MAPS / name)
    if fd is None:  # removed just now
        return
    table = BpfMap(library, fd, name)
    os.close(fd)
    try:
        for key, value in table.entries(_KEY, 8 * numbers):
            yield int.from_bytes(key, "little"), struct.unpack(f"={numbers}Q", value)
    finally:
        table.close()
