"""Where hooks are attached, and where what is attached is kept."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from proxy.model.errors import KernelRefusedError

_BPF = Path("/sys/fs/bpf")
PINS = _BPF / "podwire-proxy"
LINKS = PINS / "links"
INLETS = PINS / "inlets"
MAPS = PINS / "maps"


def find_group(root: str) -> Path:
    """The folder of the cgroup ``root``, relative to the hierarchy's root; made if need be.

    The hooks act on every process below it, in any network namespace.
    """
    for point, kind in _mounts():
        if kind == "cgroup2":
            return _make(point / root.lstrip("/"))
    raise KernelRefusedError("ebpf: no cgroup2 is mounted; mount one: mount -t cgroup2 none FOLDER")


def _make(group: Path) -> Path:
    try:
        group.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise KernelRefusedError(f"ebpf: cgroup {group} cannot be made: {err.strerror}") from err
    return group


def mount_pins() -> None:
    """Make ``PINS`` usable; mounts the BPF file system if nobody has."""
    if not is_pinning_possible():
        _mount_bpf(_BPF)
    for folder in (LINKS, INLETS, MAPS):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def is_pinning_possible() -> bool:
    """Whether the BPF file system is where ``PINS`` is."""
    return (_BPF, "bpf") in _mounts()


def _mounts() -> Iterator[tuple[Path, str]]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        yield Path(before.split()[4].encode().decode("unicode_escape")), after.split()[0]


def _mount_bpf(point: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", os.fsencode(point), b"bpf", 0, None):
        why = os.strerror(ctypes.get_errno())
        raise KernelRefusedError(f"ebpf: mounting the BPF file system at {point}: {why}")
