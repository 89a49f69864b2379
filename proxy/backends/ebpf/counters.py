"""The programs' counters for each Service's port."""

import os
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from proxy.backends.ebpf.libbpf import BpfMap, Libbpf, pinned
from proxy.backends.ebpf.mounts import MAPS
from proxy.desired.portals import Portal
from proxy.model.naming import number_of

_KEY = 8  # bytes


class PortalCount(NamedTuple):
    """A Service port's new connections, and its packets with their bytes in both directions."""

    connections: int
    packets: int
    octets: int


def number_of_portal(portal: Portal) -> int:
    """Return the ID by which the programs know a Service's port, for both families and all
    addresses.
    """
    return number_of(f"{portal.name}/{portal.protocol}")


def portal_counts() -> Mapping[int, PortalCount]:
    """Return the counts by ``number_of_portal``; empty if no programs are loaded.

    They include refused connections. Raises KernelRefusedError.
    """
    traffic = dict(_entries("traffic", 2))
    return {
        portal: PortalCount(connections, *traffic.get(portal, (0, 0)))
        for portal, (connections,) in _entries("connections", 1)
    }


def _entries(name: str, numbers: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield a pinned map's keys, each with ``numbers`` numbers."""
    if not (MAPS / name).exists():
        return
    library = Libbpf()
    fd = pinned(library, MAPS / name)
    if fd is None:  # another process has just removed it
        return
    table = BpfMap(library, fd, name)
    os.close(fd)
    try:
        for key, value in table.entries(_KEY, 8 * numbers):
            yield int.from_bytes(key, "little"), struct.unpack(f"={numbers}Q", value)
    finally:
        table.close()
