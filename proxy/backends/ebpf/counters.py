"""The programs' counters for each Service's port."""

import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
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
    return number_of_port(portal.name, portal.protocol)


def number_of_port(name: str, protocol: str) -> int:
    """Return that ID of a name ``namespace/service:port``."""
    return number_of(f"{name}/{protocol}")


def portal_counts(root: Path = Path("/")) -> Mapping[int, PortalCount]:
    """Return the counts by ``number_of_portal``; empty if no programs are loaded.

    They include refused connections. ``root`` are the files of the node. Raises
    KernelRefusedError.
    """
    maps = root / MAPS.relative_to("/")
    traffic = dict(_entries(maps / "traffic", 2))
    return {
        portal: PortalCount(connections, *traffic.get(portal, (0, 0)))
        for portal, (connections,) in _entries(maps / "connections", 1)
    }


def _entries(path: Path, numbers: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield a pinned map's keys, each with ``numbers`` numbers."""
    if not path.exists():
        return
    library = Libbpf()
    fd = pinned(library, path)
    if fd is None:  # another process has just removed it
        return
    table = BpfMap(library, fd, path.name)
    os.close(fd)
    try:
        for key, value in table.entries(_KEY, 8 * numbers):
            yield int.from_bytes(key, "little"), struct.unpack(f"={numbers}Q", value)
    finally:
        table.close()
