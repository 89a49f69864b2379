"""Rotates and removes containers' logs, as kubelet does for runtimes that only write them.

    0.log    0.log.20261130-041500    0.log.20261130-041000.gz

The newest rotated file is not compressed, so that the container can still finish its line there,
and readers reach its end. Source: k8s.io/kubernetes/pkg/kubelet/logs/container_log_manager.go
"""

import asyncio
import gzip
import logging
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from control.runtime.base import ContainerRuntimeError, LogLimits, Phase, RuntimeState

logger = logging.getLogger(__name__)

_PERIOD_SECONDS = 10.0  # kubelet's containerLogMonitorInterval
_PACKED, _UNFINISHED = ".gz", ".tmp"


class LogRuntime(Protocol):
    """The calls of a runtime that are about logs; see ``control.runtime.base.Runtime``."""

    def observe(self) -> RuntimeState:
        """Return all containers."""

    async def reopen_log(self, container_id: str) -> None:
        """Write to a new file from now on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done to the names of rotated files before the next rotation."""

    remove: tuple[str, ...]
    pack: tuple[str, ...]


def plan(rotated: Iterable[str], most_files: int) -> Plan:
    """Return which files go, and which are compressed; the oldest go first. Pure.

    Of ``most_files`` two are the newest: that which is rotated next, and the one after it. What an
    interrupted rotation has left goes too.
    """
    names = set(rotated)
    unused = {it for it in names if it.endswith(_UNFINISHED) or f"{it}{_PACKED}" in names}
    used = sorted(names - unused)
    excess = used[: max(0, len(used) - max(0, most_files - 2))]
    kept = used[len(excess) :]
    return Plan(
        (*sorted(unused), *excess), tuple(name for name in kept if not name.endswith(_PACKED))
    )


class LogRotation:
    """Keeps the logs of running containers below their limits."""

    def __init__(
        self, runtime: LogRuntime, limits: LogLimits, clock: Callable[[], float] = time.time
    ) -> None:
        self._runtime, self._limits, self._clock = runtime, limits, clock

    async def run(self) -> None:
        """Look at all logs every ten seconds, until cancelled."""
        while self._limits.most_bytes >= 0:
            await asyncio.sleep(_PERIOD_SECONDS)
            await self.once()

    async def once(self) -> None:
        """Rotate the logs that are full; one that cannot be is tried again the next time."""
        for container in self._runtime.observe().containers:
            if container.phase is Phase.RUNNING and container.log_path:
                try:
                    await self._check(container.id, Path(container.log_path))
                except (OSError, ContainerRuntimeError) as err:
                    logger.warning("log %s: cannot be rotated: %s", container.log_path, err)

    async def _check(self, container_id: str, log: Path) -> None:
        full, rotated = await asyncio.to_thread(_set_aside, log, self._limits, self._clock())
        if not full:
            return
        try:
            await self._runtime.reopen_log(container_id)
        except ContainerRuntimeError:
            if rotated is not None:
                rotated.rename(log)  # the container still writes to it: try again later
            raise


def _set_aside(log: Path, limits: LogLimits, now: float) -> tuple[bool, Path | None]:
    """Rename a full log; return if a new one is needed, and the old one's new path."""
    try:
        if log.stat().st_size < limits.most_bytes:
            return False, None
    except FileNotFoundError:  # somebody has removed it: the container writes to nowhere
        return True, None
    _make_room(log, limits.most_files)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    rotated = log.with_name(f"{log.name}.{stamp}")
    log.rename(rotated)
    return True, rotated


def _rotated(log: Path) -> dict[str, Path]:
    return {path.name: path for path in log.parent.glob(f"{log.name}.*")}


def _make_room(log: Path, most_files: int) -> None:
    files = _rotated(log)
    wanted = plan(files, most_files)
    for name in wanted.remove:
        files[name].unlink(missing_ok=True)
    for name in wanted.pack:
        _pack(files[name])


def _pack(path: Path) -> None:
    """Compress a file; a kill leaves what the next ``plan`` removes."""
    fresh = path.with_name(f"{path.name}{_UNFINISHED}")
    mode = path.stat().st_mode & 0o777
    with path.open("rb") as source, gzip.open(fresh, "wb") as packed:
        shutil.copyfileobj(source, packed)
    fresh.chmod(mode)
    fresh.rename(path.with_name(f"{path.name}{_PACKED}"))
    path.unlink()


def remove(log_path: str) -> None:
    """Remove a container's log and what was rotated of it; raises OSError."""
    log = Path(log_path)
    for path in (log, *_rotated(log).values()):
        with suppress(FileNotFoundError):
            path.unlink()
