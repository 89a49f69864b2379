"""Weights with real packets: every backend sends as many connections as the shares say."""

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.support.proxy.backends import BACKENDS, apply, grouped_lab, remove
from tests.support.proxy.fate import Row
from tests.support.proxy.lab import ProxyLab
from tests.support.proxy.prober import TCP, Probe, ask
from tests.support.proxy.world import DEFAULT, Case, desired
from tests.support.space import Space

ROW = Row("default", frozenset(), ("A=10", "B=90", "C=0"), "cluster", {})
_TRIES, _AT_ONCE = 100, 20
_EXPECTED = 200  # of 2000 connections, with a standard deviation of 13.4
_FAR = 134  # ten times that


@pytest.fixture(scope="module")
def lab(spaces: Callable[[str], Space]) -> Iterator[ProxyLab]:
    with grouped_lab(spaces, "weights", {}) as made:
        yield made


@pytest.mark.parametrize("source", ["pod", "outside"])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("backend", BACKENDS)
def test_connections_follow_the_shares(
    lab: ProxyLab, backend: str, version: int, source: str
) -> None:
    case = Case(ROW, 0, version)
    mode, options = BACKENDS[backend]
    lab.workers["node"].call(apply, mode, options, DEFAULT, desired([case]))
    address, port = case.destination()
    probe = Probe(str(address), port, TCP, tries=_TRIES, timeout=60.0)
    answers = lab.client(source).call(ask, [probe] * _AT_ONCE)
    lab.workers["node"].call(remove)
    found = Counter(answer.name for some in answers for answer in some)
    assert found.keys() == {"A", "B"}
    assert abs(found["A"] - _EXPECTED) < _FAR
