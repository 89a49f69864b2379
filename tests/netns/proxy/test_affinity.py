"""Session affinity with real packets: every backend keeps a client at the endpoint that it has."""

from collections.abc import Callable, Iterator

import pytest
from msgspec.structs import replace

from proxy.backends.base import BACKENDS as MODES
from proxy.backends.base import Backend, open_backend
from proxy.desired.desired import Desired
from proxy.desired.tracker import Tracker
from proxy.model.values import Family
from tests.support.proxy.backends import BACKENDS, filter_bridges, grouped_lab
from tests.support.proxy.fate import Row
from tests.support.proxy.lab import ProxyLab
from tests.support.proxy.prober import TCP, Probe, ask
from tests.support.proxy.world import DEFAULT, NODE, Case
from tests.support.space import Space

_TRIES = 12  # that all of them reach one of two endpoints by chance happens once in 2048
_applied: list[Backend] = []  # in the node's worker


@pytest.fixture(scope="module")
def lab(spaces: Callable[[str], Space]) -> Iterator[ProxyLab]:
    with grouped_lab(spaces, "affinity", {}) as made:
        yield made


def apply(mode: str, options: dict[str, str], want: Desired, restarted: bool) -> None:
    """In the node: continue from the state before, or start again with the kernel's rules."""
    if restarted or not _applied:
        _applied[:] = [open_backend(mode, DEFAULT, options)]
    _applied[0].apply(want, NODE)
    filter_bridges(_applied[0], DEFAULT)


def give_up() -> None:
    """In the node: remove the rules, also those that a backend stands on."""
    _applied.clear()
    for mode in MODES:
        open_backend(mode, DEFAULT, {}).remove()


def wanted(version: int, *endpoints: str) -> tuple[Desired, Case]:
    """Return a Service with affinity and these endpoints."""
    case = Case(Row("default", frozenset(), endpoints, "cluster", {}), 0, version)
    tracker = Tracker(NODE, tuple(Family))
    tracker.set_service(case.key, replace(case.service(), affinity=60))
    tracker.set_slice(case.key, case.slice())
    return tracker.desired(), case


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_client_keeps_its_endpoint(lab: ProxyLab, backend: str, version: int) -> None:
    """A restart and a returning endpoint do not move the client."""
    mode, options = BACKENDS[backend]
    node = lab.workers["node"]

    def found(source: str, *endpoints: str, restarted: bool = False) -> str:
        want, case = wanted(version, *endpoints)
        node.call(apply, mode, options, want, restarted)
        address, port = case.destination()
        (answers,) = lab.client(source).call(ask, [Probe(str(address), port, TCP, tries=_TRIES)])
        (name,) = {answer.name for answer in answers}
        return name

    try:
        for source in ("pod", "outside"):
            first = found(source, "A", "B", restarted=True)
            assert found(source, "A", "B", restarted=True) == first
            other = found(source, *({"A", "B"} - {first}))
            assert other != first
            assert found(source, "A", "B") == other
    finally:
        node.call(give_up)
