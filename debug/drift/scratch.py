"""A network namespace of our own, where the kernel says how it lists what we would write.

So no text is compared that one program writes and another prints. The namespace lives as long as
the thread that made it, and nothing else is in it.
"""

import ctypes
import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from control.reported import ReportedError
from debug.machine.values import objects_of
from proxy.backends.iptables.tool import IptablesTool

T = TypeVar("T")
Objects = tuple[tuple[str, dict[str, Any]], ...]

_CLONE_NEWNET = 0x40000000


class ScratchError(ReportedError):
    """What should be installed cannot be written here; the text says why."""


def listed(text: str) -> Objects:
    """Return how nft lists what ``text`` writes. Raises ScratchError."""

    def act() -> str:
        _nft(["-f", "-"], text)
        return _nft(["-j", "list", "ruleset"], "")

    return objects_of(_alone(act))


def saved(tool: IptablesTool, text: bytes) -> str:
    """Return how iptables-save prints what ``text`` restores. Raises ScratchError."""

    def act() -> str:
        tool.restore(text)
        return tool.save()

    return _alone(act)


def _alone(act: Callable[[], T]) -> T:
    """Run in a thread with a network namespace of its own, which ends with the thread."""

    def enter() -> T:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(_CLONE_NEWNET):
            why = os.strerror(ctypes.get_errno())
            raise ScratchError(f"no network namespace can be made to compare rules in: {why}")
        return act()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


def _nft(words: list[str], stdin: str) -> str:
    try:
        done = subprocess.run(
            ["nft", *words], input=stdin, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as err:
        raise ScratchError("nft is not installed, with which rules are compared") from err
    if done.returncode:
        raise ScratchError(f"nft refuses what should be installed: {done.stderr.strip()[:300]}")
    return done.stdout
