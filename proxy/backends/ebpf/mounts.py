"""The file systems that the backend uses: the cgroup hierarchy and the BPF file system."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from proxy.model.errors import KernelRefusedError

_BPF = Path("/sys/fs/bpf")
PINS = _BPF / "podwire-proxy"
LINKS = PINS / "links"
INLETS = PINS / "inlets"
MAPS = PINS / "maps"


def find_cgroup(root: str) -> Path:
    """Return the folder of the cgroup ``root``, a path below the hierarchy's root; make it if
    needed.

    The programs act on every process below it, in any network namespace. Raises KernelRefusedError.
    """
    for point, kind in _mounts():
        if kind == "cgroup2":
            return _make(point / root.lstrip("/"))
    raise KernelRefusedError("ebpf: no cgroup2 is mounted; mount one: mount -t cgroup2 none FOLDER")


def _make(cgroup: Path) -> Path:
    try:
        cgroup.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise KernelRefusedError(f"ebpf: cgroup {cgroup} cannot be made: {err.strerror}") from err
    return cgroup


def mount_pins() -> None:
    """Make ``PINS`` usable: mount the BPF file system unless it is mounted."""
    if not is_pinning_possible():
        _mount_bpf(_BPF)
    for folder in (LINKS, INLETS, MAPS):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def is_pinning_possible() -> bool:
    """Return True if the BPF file system is mounted where ``PINS`` is."""
    return (_BPF, "bpf") in _mounts()


def remove_pins() -> None:
    """Unpin every program and map, which detaches the programs. A second call does nothing."""
    if is_pinning_possible():
        with suppress(FileNotFoundError):
            shutil.rmtree(PINS)


def known_file_systems() -> frozenset[str]:
    """Return the types of file systems that this kernel has."""
    lines = Path("/proc/filesystems").read_text().splitlines()
    return frozenset(line.split()[-1] for line in lines)


def _mounts() -> Iterator[tuple[Path, str]]:
    """Yield (mount point, type) of each mounted file system."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        yield Path(before.split()[4].encode().decode("unicode_escape")), after.split()[0]


def _mount_bpf(point: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(point), b"bpf", 0, None):
        why = os.strerror(ctypes.get_errno())
        raise KernelRefusedError(f"ebpf: the BPF file system cannot be mounted at {point}: {why}")
