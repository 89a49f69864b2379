"""Changes of a node that are no network state: its processes, and the files of its leases."""

import os
import signal
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Self

from msgspec.structs import replace

from control.linux.processes import start_ticks
from debug.faults.acts.base import Act, FaultError, Stage

_NETWORK = "podwire"  # of the CNI configuration that the agent writes
_OWNER = "podwire-fault-leak"


class Paused(Act, frozen=True, kw_only=True):
    """A component that is stopped, so that it does not repair what is broken."""

    node: str
    component: str
    pid: int = 0
    started: int = 0

    @property
    def key(self) -> str:
        """See ``Act``. Two faults may need it paused."""
        return ""

    def prepared(self, stage: Stage) -> Self:
        """See ``Act``."""
        pid = stage.pid_of(self.node, self.component)
        started = start_ticks(pid) if pid else None
        if not pid or not started:
            raise FaultError(f"{self.node} runs no {self.component}")
        return replace(self, pid=pid, started=started)

    def do(self, stage: Stage) -> None:  # noqa: ARG002
        """See ``Act``."""
        self._signal(signal.SIGSTOP)

    def undo(self, stage: Stage) -> None:  # noqa: ARG002
        """See ``Act``."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if start_ticks(self.pid) == self.started:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Leak(Act, frozen=True, kw_only=True):
    """Leases of containers that are no more, for all free addresses of a node's range."""

    node: str
    range: str

    @property
    def key(self) -> str:
        """See ``Act``."""
        return f"{self.node} leases"

    def prepared(self, stage: Stage) -> Self:
        """See ``Act``."""
        if not self._folder(stage).is_dir():
            raise FaultError(f"{self.node} has no leases yet: run a Pod there first")
        return self

    def do(self, stage: Stage) -> None:
        """See ``Act``. A file that is there belongs to somebody."""
        folder = self._folder(stage)
        for number, address in enumerate(IPv4Network(self.range).hosts()):
            with suppress(FileExistsError), (folder / str(address)).open("x") as file:
                file.write(f"{_OWNER}-{number}\r\neth0")

    def undo(self, stage: Stage) -> None:
        """See ``Act``."""
        folder = self._folder(stage)
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name[0].isdigit() and path.read_text(errors="replace").startswith(_OWNER):
                path.unlink(missing_ok=True)

    def _folder(self, stage: Stage) -> Path:
        return stage.folder / "machines" / self.node / "cni/networks" / _NETWORK
