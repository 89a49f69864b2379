"""One table, three subjects: podwire-cni with a server, alone, and the reference plugins.

Where the table says that the reference falls short, it has to: a row that it keeps after all is
out of date, and so is what docs/cni/design.md says of it.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.support.cni import rows, rows_more, rows_options
from tests.support.cni.bench import Bench, Row
from tests.support.cni.runner import C_CLIENT, REFERENCE, Node
from tests.support.space import Space

ROWS = (*rows.ROWS, *rows_more.ROWS, *rows_options.ROWS)
SUBJECTS = ("served", "alone", "reference")
CASES = [
    pytest.param(subject, number, id=f"{subject}-{row.point}-{row.says}")
    for subject in SUBJECTS
    for number, row in enumerate(ROWS)
    if subject != "reference" or row.reference is not None
]


@pytest.fixture(scope="module")
def nodes(
    spaces: Callable[[str], Space], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Node]]:
    made = {name: Node(spaces("node"), tmp_path_factory.mktemp(name)) for name in SUBJECTS}
    made["alone"].plugin = C_CLIENT
    made["reference"].plugin = REFERENCE / "bridge"
    with made["served"].served():
        yield made


@pytest.mark.netns
@pytest.mark.parametrize(("subject", "number"), CASES)
def test_conformance(
    subject: str, number: int, nodes: dict[str, Node], spaces: Callable[[str], Space]
) -> None:
    row: Row = ROWS[number]
    bench = Bench(nodes[subject], spaces, number + 100)
    if subject == "reference":
        bench.kind, bench.ipam, bench.version = "bridge", "host-local", "1.0.0"
    if subject == "reference" and not row.reference:
        with pytest.raises((AssertionError, KeyError)):
            row.check(bench)
    else:
        row.check(bench)
