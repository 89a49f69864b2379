"""What is the same for every request of one boot, and where state is."""

from __future__ import annotations

from pathlib import Path

# below the root directory of whoever asks
LOCK_FILE = "run/podwire/cni.lock"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read_boot_id() -> str:
    """What is another after each boot."""
    return _BOOT_ID.read_text().strip()
