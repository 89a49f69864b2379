"""The packet-fate table against the evaluator, which explains packets to people."""

import pytest

from proxy.desired.fate import Evaluator, Verdict
from proxy.model.values import Protocol
from tests.support.proxy.fate import Row, rows, targets
from tests.support.proxy.world import ENDPOINTS, NODE, SETTINGS, Case, desired

CASES = [
    pytest.param(Case(row, number, version), id=f"v{version} {row.id}")
    for version in (4, 6)
    for number, row in enumerate(rows(version))
]
_REFUSALS = {Verdict.REJECT: "reject", Verdict.DROP: "drop", Verdict.UNTOUCHED: "-"}


@pytest.mark.parametrize("case", CASES)
def test_the_evaluator_gives_the_fates_of_the_table(case: Case) -> None:
    evaluator = Evaluator(desired([case]), NODE, SETTINGS[case.row.settings])
    for source, expected in case.row.fates.items():
        for protocol in Protocol:
            fate = evaluator.fate(case.packet(source, protocol))
            if fate.verdict is not Verdict.FORWARD:
                assert _REFUSALS[fate.verdict] == expected, source
                continue
            names = {address: name for name, both in ENDPOINTS.items() for address in both}
            found = {names[str(one.address)]: one in fate.masqueraded for one in fate.targets}
            assert found == targets(expected), source


def test_the_table_is_whole() -> None:
    """The table has hundreds of fates in each family, and no row twice."""
    for version in (4, 6):
        table: tuple[Row, ...] = rows(version)
        assert len({row.id for row in table}) == len(table)
        assert sum(len(row.fates) for row in table) > 400
