"""Which UDP and SCTP addresses and ports this node serves, written down for the next run.

A Service that is removed while no proxy runs leaves flows behind that nobody else can tell from
those of other people's NAT: this record says which were ours. It is in /run, so that a boot, which
ends all flows, begins a new one too; each network namespace, as each node of a lab is one, has its
own.
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
_NODE = "*"  # in the place of an address: a NodePort


class FlowRecord:
    """One network namespace's file: a line for each, ``4 UDP 10.96.0.10 53``."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._path = folder / f"tracked-{_NAMESPACE.stat().st_ino}"
        self._failing = False

    def read(self) -> frozenset[Frontend]:
        """What was written last; a line that makes no sense says nothing."""
        try:
            lines = self._path.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return frozenset()
        return frozenset(one for line in lines for one in _parsed(line))

    def write(self, served: Iterable[Frontend]) -> None:
        """Replace it in one step; that it cannot be written is said once, and stops nothing."""
        part = self._path.with_name(f"{self._path.name}-new")
        with self._writing():
            part.write_text(_text(served))
            part.replace(self._path)

    def add(self, coming: Iterable[Frontend]) -> None:
        """Write down what is not served yet, at the cost of it alone. A write that breaks off
        spoils one line, which nobody has needed so far.
        """
        with self._writing(), self._path.open("a") as file:
            file.write("\n" + _text(coming))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            yield
        except OSError as err:
            if not self._failing:
                logger.warning(
                    "%s cannot be written: %s; flows of Services that go while no proxy"
                    " runs will stay",
                    self._path,
                    err.strerror,
                )
            self._failing = True

    def remove(self) -> None:
        """Leave nothing; may be asked twice."""
        self._path.unlink(missing_ok=True)


def _text(some: Iterable[Frontend]) -> str:
    return "".join(
        f"{one.family.value} {one.protocol} {one.address or _NODE} {one.port}\n" for one in some
    )


def _parsed(line: str) -> Iterator[Frontend]:
    try:
        family, protocol, address, port = line.split()
        where = None if address == _NODE else ip_address(address)
        yield Frontend(Family(int(family)), where, int(port), Protocol(protocol))
    except ValueError:
        return
