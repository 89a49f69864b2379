"""Where an installation keeps its files, and how it calls itself."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from control.reported import ReportedError


class InstallError(ReportedError):
    """A step of an installation that failed; the text says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The folders of an installation; ``root`` is / but in tests."""

    root: Path = Path("/")

    @property
    def config(self) -> Path:
        """Settings, kubeconfigs and certificates."""
        return self.root / "etc/podwire"

    @property
    def pki(self) -> Path:
        """The authority, and the certificates of the control plane."""
        return self.config / "pki"

    @property
    def state(self) -> Path:
        """What the parts keep."""
        return self.root / "var/lib/podwire"

    @property
    def units(self) -> Path:
        """The units of systemd."""
        return self.root / "etc/systemd/system"

    @property
    def cluster_file(self) -> Path:
        """The settings of a control plane."""
        return self.config / "config.yaml"

    @property
    def node_file(self) -> Path:
        """The settings of a node."""
        return self.config / "node.yaml"

    @property
    def due(self) -> Path:
        """The names of the units that changed, and have not begun again yet."""
        return self.state / "due"

    @property
    def lock(self) -> Path:
        """The file that a run locks while it changes the installation."""
        return self.state / "lock"

    @property
    def admin(self) -> Path:
        """The kubeconfig of the administrator."""
        return self.config / "admin.kubeconfig"

    @property
    def agent(self) -> Path:
        """The kubeconfig of a node, which names the certificate that the agent renews."""
        return self.config / "agent.kubeconfig"

    @property
    def node_pki(self) -> Path:
        """The certificates that the agent renews."""
        return self.state / "agent/pki"

    def kubeconfig(self, part: str) -> Path:
        """Return the kubeconfig of a part of the control plane."""
        return self.config / f"{part}.kubeconfig"


@dataclass(frozen=True, slots=True)
class Program:
    """How a unit calls podwire: an interpreter, and the environment that it runs in."""

    python: str
    environment: tuple[tuple[str, str], ...] = ()

    def argv(self, *words: str) -> tuple[str, ...]:
        """Return the command line of a subcommand."""
        return (self.python, "-P", "-m", "lab.main", *words)


def this_program() -> Program:
    """Return what runs now: a checkout's environment, or that into which a wheel was installed."""
    found = {"PYTHONDONTWRITEBYTECODE": "1"}
    if prefix := os.environ.get("PYTHONPYCACHEPREFIX"):
        found["PYTHONPYCACHEPREFIX"] = prefix
    return Program(sys.executable, tuple(found.items()))
