"""What is the same for every request of one boot."""

from __future__ import annotations

from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id() -> str:
    """What is another after each boot."""
    return _BOOT_ID.read_text().strip()
