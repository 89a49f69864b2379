"""What control groups have used: CPU time and memory, of either version of cgroup.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html, and cgroup-v1/cpuacct.html, memory.html
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from control.runtime.used import Usage

_TICKS = os.sysconf("SC_CLK_TCK")


def of_folders(folders: Iterable[Path]) -> Usage | None:
    """Return what the group has used that has these folders, one in each hierarchy.

    None if it is gone. A memory of 0 means that no hierarchy counts memory.
    """
    cpu, memory = None, 0
    for folder in folders:
        found = _cpu(folder)
        cpu = found if cpu is None else max(cpu, found or 0.0)
        memory = memory or _working_set(folder)
    return None if cpu is None else Usage(cpu, memory)


def memory(folders: Iterable[Path]) -> int | None:
    """Return the bytes that a group's limit is held against; None if no hierarchy counts them."""
    for folder in folders:
        for name in ("memory.current", "memory.usage_in_bytes"):
            if text := _read(folder / name):
                return int(text)
    return None


def _cpu(folder: Path) -> float | None:
    """Return the seconds of CPU that a group has used; None if its hierarchy does not count."""
    text = _read(folder / "cpuacct.usage")
    if text:
        return int(text) / 1e9
    micros = _numbers(folder / "cpu.stat").get("usage_usec")
    return None if micros is None else micros / 1e6


def _working_set(folder: Path) -> int:
    """Return the bytes that a group uses, without file pages that are easily dropped."""
    for total, inactive in (
        ("memory.current", "inactive_file"),
        ("memory.usage_in_bytes", "total_inactive_file"),
    ):
        if text := _read(folder / total):
            dropped = _numbers(folder / "memory.stat").get(inactive, 0)
            return max(int(text) - dropped, 0)
    return 0


def of_machine(proc: Path = Path("/proc")) -> Usage:
    """Return what the whole machine uses; raises OSError."""
    jiffies = [int(word) for word in _read(proc / "stat").split("\n", 1)[0].split()[1:9]]
    busy = sum(jiffies) - jiffies[3] - jiffies[4]  # without idle and iowait
    memory = {name.rstrip(":"): kilo for name, kilo in _numbers(proc / "meminfo").items()}
    free = memory.get("MemFree", 0) + memory.get("Inactive(file)", 0)
    return Usage(busy / _TICKS, (memory.get("MemTotal", 0) - free) * 1024)


def _numbers(path: Path) -> dict[str, int]:
    """Read lines of a name and a number; what else there is is left out."""
    found = {}
    for line in _read(path).splitlines():
        name, _, rest = line.partition(" ")
        with suppress(ValueError, IndexError):
            found[name] = int(rest.split()[0])
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
