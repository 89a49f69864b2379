"""What the programs count: new connections to each Service's port."""

import os
from collections.abc import Mapping

from proxy.desired import Portal
from proxy.ebpf.group import MAPS
from proxy.ebpf.libbpf import Library, Map, pinned
from proxy.naming import number_of

_MAP = "tallies"
_SIZE = 8  # bytes of a key, and of a value


def number_of_portal(portal: Portal) -> int:
    """By what the programs know a Service's port, in both families and under all its addresses."""
    return number_of(f"{portal.name}/{portal.protocol}")


def tallies() -> Mapping[int, int]:
    """New connections that programs sent on, or refused, by `number_of_portal`; nothing where there
    are no programs. Raises KernelRefused.
    """
    if not (MAPS / _MAP).exists():
        return {}
    library = Library()
    fd = pinned(library, MAPS / _MAP)
    if fd is None:  # removed just now
        return {}
    table = Map(library, fd, _MAP)
    os.close(fd)
    try:
        return {_number(key): _number(value) for key, value in table.entries(_SIZE, _SIZE)}
    finally:
        table.close()


def _number(packed: bytes) -> int:
    return int.from_bytes(packed, "little")
