"""The files of a lab: its specification, its keeper, its logs."""

import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control.linux import whole
from control.linux.processes import start_ticks
from lab.spec import LabSpec, NodeSpec, numbered

ROOT = Path("/var/lib/podwire/labs")
IMAGES = Path("/var/lib/podwire/images")


def boot_id() -> str:
    """Return the ID of the host's run; times of processes of another one mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True)
class Keeper:
    """PID 1 of the lab's process namespace: the lab ends with this process."""

    pid: int
    started: int
    boot: str = field(default_factory=boot_id)

    @property
    def alive(self) -> bool:
        """True if this process, and not another with its ID, still runs."""
        return self.boot == boot_id() and start_ticks(self.pid) == self.started


@dataclass(frozen=True, slots=True)
class LabDir:
    """The folder of one lab, with the paths below it."""

    path: Path

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.path.name

    @property
    def kubeconfig(self) -> Path:
        """The user's kubeconfig."""
        return self.path / "kubeconfig"

    @property
    def logs(self) -> Path:
        """The folder of the logs MACHINE-COMPONENT.log."""
        return self.path / "logs"

    @property
    def requests(self) -> Path:
        """The socket on which the keeper is asked to start a machine."""
        return self.path / "keeper.sock"

    def machine(self, name: str) -> Path:
        """Return the folder of one machine; its ``etc``, ``var`` etc. are mounted there."""
        return self.path / "machines" / name

    def loaded_images(self, name: str) -> Path:
        """Return the image store of one node, which the others do not see."""
        return self.machine(name) / "images"

    def log(self, machine: str, component: str) -> Path:
        """Return the log of one component."""
        return self.logs / f"{machine}-{component}.log"

    def create(self, spec: LabSpec) -> None:
        """Make the folder.

        The user who called sudo may reach the kubeconfig; everything else is only for root, because
        it holds keys and Secrets.
        """
        self.path.mkdir(mode=0o711, parents=True)
        for private in ("logs", "machines", "pki"):
            (self.path / private).mkdir(mode=0o700)
        self.write_spec(spec)

    def write_spec(self, spec: LabSpec) -> None:
        """Write the lab's specification."""
        self.write("lab.json", dataclasses.asdict(spec))

    def write(self, name: str, document: dict[str, object]) -> None:
        """Write a JSON file, whole or not at all."""
        whole.write(self.path / name, json.dumps(document))

    def chown(self, user: int, group: int) -> None:
        """Give the kubeconfig to a user; raises OSError."""
        os.chown(self.kubeconfig, user, group)

    def spec(self) -> LabSpec | None:
        """Read the lab's specification; None for a half-made lab.

        A newer podwire may have written it: fields that are unknown here are passed over.
        """
        document = self._read("lab.json")
        if document is None:
            return None
        fields = _known(LabSpec, document)
        nodes = document["nodes"]
        if isinstance(nodes, list):
            fields["nodes"] = tuple(NodeSpec(**_known(NodeSpec, node)) for node in nodes)
        else:  # of a podwire whose labs had a number of nodes
            fields["nodes"] = numbered(int(str(nodes)))
        return LabSpec(**fields)

    def keeper(self) -> Keeper | None:
        """Read the recorded keeper, alive or not; None if the lab was never started."""
        document = self._read("keeper.json")
        if document is None:
            return None
        return Keeper(
            int(str(document["pid"])),
            int(str(document["started"])),
            str(document.get("boot") or boot_id()),
        )

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the lock with which only one command changes the lab's nodes or settings."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)  # a fork may hold the same open file
            os.close(fd)

    def remove(self) -> None:
        """Delete every file."""
        shutil.rmtree(self.path)

    def _read(self, name: str) -> dict[str, object] | None:
        try:
            document = json.loads((self.path / name).read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        return document if isinstance(document, dict) else None


def _known(cls: type[LabSpec] | type[NodeSpec], document: dict[str, object]) -> dict[str, Any]:
    """Return the fields of a dataclass that a document has, with tuples for lists."""
    names = {known.name for known in dataclasses.fields(cls)}
    return {key: _tuples(value) for key, value in document.items() if key in names}


def _tuples(value: Any) -> Any:
    """Return a value of JSON with tuples for its lists."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def lab_dir(name: str) -> LabDir:
    """Return the folder of the lab with this name, existing or not."""
    return LabDir(ROOT / name)


def all_labs() -> list[LabDir]:
    """Return every lab that has a folder, running or not."""
    if not ROOT.exists():
        return []
    return sorted((LabDir(path) for path in ROOT.iterdir() if path.is_dir()), key=lambda d: d.name)


@contextmanager
def locked() -> Iterator[None]:
    """Hold the lock with which only one ``lab up`` or ``lab down`` makes or removes folders."""
    ROOT.mkdir(parents=True, exist_ok=True)
    fd = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
