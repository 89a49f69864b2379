"""bench api: what it prints of costs, and what it calls broken."""

from pathlib import Path

import pytest

from bench.api.requests import SCENARIOS
from bench.api.server import Cost, Target
from bench.api.verbs import Measurement, report, verdict


class Known(Target):
    """A server of which the costs are given."""

    def __init__(self, name: str) -> None:
        self.name = name


@pytest.fixture
def measured() -> Measurement:
    done = Measurement([Known("this"), Known("other"), Known("peer")])
    for scenario in SCENARIOS:
        done.costs[scenario.name, "this"] = [Cost(2.0, 1.0)] * 3
        done.costs[scenario.name, "other"] = [Cost(2.0, 0.8)] * 3
        done.costs[scenario.name, "peer"] = [Cost(4.0, 0.0)] * 3
    done.memory["this"] = (69.0, 70.0, 80.0)
    return done


def test_reads_and_writes_have_limits_of_their_own(
    measured: Measurement, capsys: pytest.CaptureFixture[str]
) -> None:
    reads = sum(each.limit < 1.25 for each in SCENARIOS)
    assert verdict(measured, 5e-6) == reads
    said = capsys.readouterr().out
    assert "BROKEN  1.25 (1.25 to 1.25) (at most 1.1)  get a Pod" in said
    assert "kept    1.25 (1.25 to 1.25) (at most 1.4)  create a Pod" in said


def test_memory_and_decisions_have_limits(measured: Measurement) -> None:
    reads = sum(each.limit < 1.25 for each in SCENARIOS)
    measured.memory["this"] = (71.0, 72.0, 80.0)
    assert verdict(measured, 21e-6) == reads + 2


def test_a_peer_is_compared_by_its_waits_and_what_it_refuses_is_said(
    measured: Measurement,
) -> None:
    del measured.costs["apply a Deployment", "other"]
    rows = report(measured, 5e-6).splitlines()
    (get,) = (row for row in rows if row.startswith("| get a Pod"))
    assert get.endswith("| 1.25 (1.25 to 1.25) | 0.50 (0.50 to 0.50) |")
    (applied,) = (row for row in rows if row.startswith("| apply"))
    assert "| does not serve it |" in applied


def test_the_page_has_the_benchs_section() -> None:
    page = Path(__file__).parents[2] / "docs" / "figures.md"
    assert "<!-- begin: bin/bench api --against CHECKOUT --write -->" in page.read_text()
