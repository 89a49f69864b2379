"""Reads whole tables of the pinned maps, as the bytes that ``layout`` packs, for who compares them.

Only tables that the proxy writes: what the programs remember is not here.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from proxy.backends.ebpf.layout import ADMITTED, FORWARD, ROW, SETTINGS, SLOT, TARGET
from proxy.backends.ebpf.libbpf import BpfMap, Libbpf, pinned
from proxy.backends.ebpf.mounts import MAPS
from proxy.backends.ebpf.policy import BLOCKS, DOORS, GUARD, SIZES, pin_name

Entries = tuple[tuple[bytes, bytes], ...]
Tables = Mapping[str, Entries]

MOST = 1 << 20  # entries that are read of one table
_SERVICES = {
    "settings": (4, SETTINGS),
    "frontends": (TARGET, FORWARD),
    "endpoints": (SLOT, TARGET),
    "seats": (SLOT, 2 * ROW),
    "members": (4 + TARGET, 1),
    "ranges": (ADMITTED, 1),
    "node_addresses": (16, 1),
}
_POLICIES = {GUARD: (4, 4), **SIZES}
_TRIES = {"ranges", DOORS, BLOCKS}  # which the kernel does not list in batches


def read_tables(root: Path = Path("/")) -> Tables:
    """Return every pinned table of a node whose files are below ``root``, each by its name.

    A table that is not pinned is missing. Raises KernelRefusedError.
    """
    folder, library = root / MAPS.relative_to("/"), Libbpf()
    found: dict[str, Entries] = {}
    for names, pin in ((_SERVICES, str), (_POLICIES, pin_name)):
        for name, sizes in names.items():
            fd = pinned(library, folder / pin(name))
            if fd is not None:
                with closing(BpfMap(library, fd, name, own=True)) as opened:
                    found[name] = tuple(_entries(opened, name, *sizes))
    return found


def _entries(opened: BpfMap, name: str, key: int, value: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield entries in the order of their keys; of a set's trie, values are not asked for."""
    if name not in _TRIES:
        yield from sorted(dict(opened.entries(key, value)).items())[:MOST]
        return
    for one in sorted(set(opened.keys(key)))[:MOST]:
        yield one, opened.lookup(one, value)
