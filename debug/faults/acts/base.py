"""What all acts share: a spot to act at, and a stage to act on."""

import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from control.reported import ReportedError
from debug.places import Ground, Place, PlaceError, inside

T = TypeVar("T")
_SO_NETNS_COOKIE = 71  # asm-generic/socket.h, Linux 5.14


class FaultError(ReportedError):
    """A fault cannot be made or healed; the text says which, why, and what to do."""


class Spot(Struct, frozen=True, omit_defaults=True):
    """A network namespace by its name. The cookie tells it from its successor after a restart."""

    node: str
    pod: tuple[str, str] | None = None
    cookie: int = 0

    def __str__(self) -> str:
        return f"Pod {'/'.join(self.pod)}" if self.pod else self.node


class Stage:
    """The lab that acts change: its places, its API, its folder, and its processes' IDs."""

    def __init__(
        self,
        ground: Ground,
        folder: Path,
        pid_of: Callable[[str, str], int | None] = lambda *_: None,
    ) -> None:
        """``pid_of`` finds the process of a machine's component."""
        self.ground, self.folder, self.pid_of = ground, folder, pid_of

    @property
    def kubeconfig(self) -> Path:
        """How the API is asked; raises FaultError."""
        if self.ground.kubeconfig is None:
            raise FaultError("there is no kubeconfig, by which the API would be asked")
        return self.ground.kubeconfig

    def place(self, spot: Spot) -> Place:
        """Find a spot; raises PlaceError."""
        return self.ground.pod(spot.pod) if spot.pod else self.ground.node(spot.node)

    def inside(self, spot: Spot, act: Callable[[], T]) -> T:
        """Return what ``act`` returns in a spot's network; raises PlaceError."""
        return inside(self.place(spot), act)

    def marked(self, spot: Spot) -> Spot:
        """Return a spot with the cookie of the namespace that is there now."""
        return replace(spot, cookie=self.inside(spot, _cookie))

    def is_same(self, spot: Spot) -> bool:
        """Tell whether the namespace is the one that was marked: with another all changes went."""
        try:
            return self.inside(spot, _cookie) == spot.cookie
        except PlaceError:
            return False


class Act(Struct, frozen=True, tag=True):
    """A change that can be taken back."""

    @property
    def key(self) -> str:
        """What it changes: two acts with one key must not be there at the same time."""
        raise NotImplementedError

    def prepared(self, stage: Stage) -> Self:
        """Return the act with what is there now; raises FaultError, PlaceError, OSError."""
        raise NotImplementedError

    def do(self, stage: Stage) -> None:
        """Change it; raises FaultError, PlaceError, OSError."""
        raise NotImplementedError

    def undo(self, stage: Stage) -> None:
        """Let it be as it was; raises FaultError, PlaceError, OSError."""
        raise NotImplementedError


class SpotAct(Act, frozen=True, kw_only=True):
    """A change inside one network namespace."""

    spot: Spot

    @property
    def key(self) -> str:
        """See ``Act``."""
        return f"{self.spot} {self.what}"

    @property
    def what(self) -> str:
        """What it changes there."""
        raise NotImplementedError

    def prepared(self, stage: Stage) -> Self:
        """See ``Act``."""
        spot = stage.marked(self.spot)
        return replace(self, spot=spot, **stage.inside(spot, self.read))

    def do(self, stage: Stage) -> None:
        """See ``Act``."""
        stage.inside(self.spot, self.enact)

    def undo(self, stage: Stage) -> None:
        """See ``Act``."""
        if stage.is_same(self.spot):
            stage.inside(self.spot, self.revert)

    def read(self) -> dict[str, Any]:
        """Return the fields that say what is there now, read inside."""
        return {}

    def enact(self) -> None:
        """Change it, inside."""
        raise NotImplementedError

    def revert(self) -> None:
        """Take it back, inside."""
        raise NotImplementedError


def run(argv: Sequence[str], stdin: str = "", absent: Sequence[str] = ()) -> str:
    """Run a program in this thread's network; return its output. Raises FaultError.

    A failure that says one of ``absent`` means that there is nothing to do.
    """
    try:
        done = subprocess.run(argv, input=stdin, text=True, capture_output=True, check=False)
    except FileNotFoundError as err:
        raise FaultError(f"{argv[0]} is not installed: podwire setup") from err
    if done.returncode and not any(word in done.stderr for word in absent):
        raise FaultError(f"{' '.join(argv)}: {' '.join(done.stderr.split())[:500]}")
    return done.stdout


def _cookie() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), "little")
