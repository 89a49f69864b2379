"""Chooses the means by which a probe's program is loaded: bcc, or CO-RE by libbpf."""

from typing import Protocol

from control.reported import ReportedError
from debug.probe.bcc import BccMeans
from debug.probe.core import CoreMeans
from debug.probe.events import Probe
from proxy.model.errors import KernelRefusedError

MEANS: dict[str, type["BccMeans"] | type["CoreMeans"]] = {"bcc": BccMeans, "core": CoreMeans}
AUTO = "auto"  # in the order of MEANS: bcc where all that it needs is here


class Means(Protocol):
    """A loaded program."""

    title: str

    def events(self, seconds: float) -> list[bytes]: ...
    def entries(self, table: str, key: int, value: int) -> list[tuple[bytes, bytes]]: ...
    def lost(self) -> int: ...
    def close(self) -> None: ...


def opened(probe: Probe, by: str) -> tuple[Means, list[str]]:
    """Return a loaded program, and why those means that come first are not used.

    Raises ReportedError if there is none.
    """
    refused: list[str] = []
    for name in MEANS if by == AUTO else (by,):
        try:
            return MEANS[name](probe), refused
        except KernelRefusedError as err:
            refused.append(f"not by {MEANS[name].title}: {err}")
    raise ReportedError(f"podwire probe {probe.name} cannot listen here, {'; '.join(refused)}")
