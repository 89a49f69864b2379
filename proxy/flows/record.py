"""The UDP and SCTP frontends that this node serves, recorded for the next run.

A Service that is removed while no proxy runs leaves flows that look like flows of other programs'
NAT. The record says which flows were ours. It is in /run, because a boot ends all flows. Each
network namespace, such as a lab's node, has its own record.
"""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from proxy.desired.portals import Frontend
from proxy.model.values import Family, Protocol

logger = logging.getLogger("podwire.proxy.conntrack")

FOLDER = Path("/run/podwire/proxy")
_NAMESPACE = Path("/proc/self/ns/net")
_NODE = "*"  # stands for a NodePort's addresses


class FlowRecord:
    """One network namespace's file, with a line for each frontend: ``4 UDP 10.96.0.10 53``."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._path = folder / f"tracked-{_NAMESPACE.stat().st_ino}"
        self._failing = False

    def read(self) -> frozenset[Frontend]:
        """Return the frontends that were written last, without malformed lines."""
        try:
            lines = self._path.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return frozenset()
        return frozenset(frontend for line in lines for frontend in _parsed(line))

    def write(self, served: Iterable[Frontend]) -> None:
        """Replace the record in one step. A failure is logged once, and stops nothing."""
        part = self._path.with_name(f"{self._path.name}-new")
        with self._writing():
            part.write_text(_text(served))
            part.replace(self._path)

    def add(self, coming: Iterable[Frontend]) -> None:
        """Append frontends that are not served yet, which costs less than writing all.

        An interrupted write spoils one line at most, of a frontend that has no flow yet.
        """
        with self._writing(), self._path.open("a") as file:
            file.write("\n" + _text(coming))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Make the folder, and log a failed write once."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as err:
            if not self._failing:
                logger.warning(
                    "%s cannot be written: %s; if a Service is removed while no proxy runs, its"
                    " flows will stay",
                    self._path,
                    err.strerror,
                )
            self._failing = True

    def remove(self) -> None:
        """Remove the file. A second call does nothing."""
        self._path.unlink(missing_ok=True)


def _text(frontends: Iterable[Frontend]) -> str:
    return "".join(
        f"{frontend.family.value} {frontend.protocol} {frontend.address or _NODE} {frontend.port}\n"
        for frontend in frontends
    )


def _parsed(line: str) -> Iterator[Frontend]:
    try:
        family, protocol, address, port = line.split()
        where = None if address == _NODE else ip_address(address)
        yield Frontend(Family(int(family)), where, int(port), Protocol(protocol))
    except ValueError:
        return
