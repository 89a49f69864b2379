"""The Debian packages that podwire needs: finds missing ones, and installs them.

``debian-packages.txt`` is the list; bin/setup reads it too.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from control.reported import ReportedError

_LIST = Path(__file__).with_name("debian-packages.txt")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"  # a user's PATH lacks /usr/sbin


class MissingPackagesError(ReportedError):
    """Packages are missing; the text names them and the command to install them."""

    def __init__(self, packages: Iterable["Package"], command: str = "sudo podwire setup") -> None:
        names = " ".join(package.name for package in packages)
        super().__init__(
            f"missing Debian packages: {names}; install them with: {command}, or with "
            "your distribution's package manager"
        )


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package; ``sign`` is its program or shared library, to see if it is installed."""

    name: str
    sign: str
    purpose: str

    @property
    def is_installed(self) -> bool:
        """True if the program is on PATH, or the library can be loaded."""
        if ".so." not in self.sign:
            return shutil.which(self.sign, path=_PATH) is not None
        try:
            ctypes.CDLL(self.sign)
        except OSError:
            return False
        return True


ETCD = (Package("etcd-server", "etcd", "a lab with --store etcd"),)


def packages() -> tuple[Package, ...]:
    """Return all packages that podwire needs, by name."""
    lines = _LIST.read_text().splitlines()
    return tuple(Package(*line.split(maxsplit=2)) for line in lines if not line.startswith("#"))


def missing() -> tuple[Package, ...]:
    """Return the packages that this machine does not have."""
    return tuple(package for package in packages() if not package.is_installed)


def require() -> None:
    """Raise MissingPackagesError if this machine lacks a package."""
    if absent := missing():
        raise MissingPackagesError(absent)


def require_of(wanted: Iterable[Package]) -> None:
    """Raise MissingPackagesError if this machine lacks one of the packages of a kind of lab."""
    if absent := [package for package in wanted if not package.is_installed]:
        names = " ".join(package.name for package in absent)
        raise MissingPackagesError(absent, f"sudo apt-get install {names}")


def install(wanted: Iterable[Package]) -> None:
    """Install packages with apt-get, whose messages go to standard error.

    Raises FileNotFoundError without apt-get, CalledProcessError if it fails.
    """
    apt = ["apt-get", "--quiet=2"]
    names = [package.name for package in wanted]
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        [*apt, "update"],
        [*apt, "install", "--yes", "--no-install-recommends", *names],
    ):
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
