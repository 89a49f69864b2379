"""The record of what is broken, in the lab's folder: written before the first change is made."""

from pathlib import Path

import msgspec
from msgspec import Struct

from control.linux import whole
from control.linux.processes import start_ticks
from debug.faults.acts.base import FaultError
from debug.faults.acts.flows import Full, StaleFlow
from debug.faults.acts.kernel import (
    Announced,
    ExtraAddress,
    ExtraRoute,
    LinkValue,
    Setting,
    WrongNeighbor,
)
from debug.faults.acts.node import Leak, Paused
from debug.faults.acts.objects import Changed, Created
from debug.faults.acts.rules import ForwardPolicy, LegacyRule, Rules, Wiped

FILE = "faults.json"
AnyAct = (
    Setting
    | LinkValue
    | ExtraAddress
    | ExtraRoute
    | WrongNeighbor
    | Announced
    | Rules
    | ForwardPolicy
    | LegacyRule
    | Wiped
    | StaleFlow
    | Full
    | Paused
    | Leak
    | Created
    | Changed
)


class Timer(Struct, frozen=True):
    """The process that heals a fault, as this machine sees it."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """True while it waits."""
        return start_ticks(self.pid) == self.started


class Broken(Struct, frozen=True):
    """A fault that is there, or is being made or healed."""

    fault: str
    node: str
    until: float  # seconds since 1970
    acts: tuple[AnyAct, ...]
    timer: Timer | None = None

    @property
    def name(self) -> str:
        """What tells it from others."""
        return f"{self.fault} on {self.node}"


def load(folder: Path) -> tuple[Broken, ...]:
    """Read what is broken; raises FaultError, OSError."""
    path = folder / FILE
    if not path.exists():
        return ()
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Broken, ...])
    except msgspec.DecodeError as err:
        raise FaultError(
            f"{path} cannot be read ({err}), so nothing can be healed from it: remove it, and make "
            "the lab anew"
        ) from err


def store(folder: Path, broken: tuple[Broken, ...]) -> None:
    """Write what is broken, whole or not at all; raises OSError."""
    if broken:
        return whole.write(folder / FILE, msgspec.json.encode(broken).decode(), 0o600)
    (folder / FILE).unlink(missing_ok=True)
    return None
