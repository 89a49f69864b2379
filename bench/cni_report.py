"""The measurements of the CNI plugin on the page of figures."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench import page
from bench.charts import Bar, Chart, svg
from bench.ratios import Ratio
from bench.versus import LIMIT, Comparison, Tree

PACKAGE = "containernetworking-plugins"
_PICTURE = "figures-cni.svg"


@dataclass(frozen=True, slots=True)
class Figure:
    """The wall time of one verb of one client in one scenario."""

    scenario: str
    verb: str
    client: str
    wall: float  # milliseconds
    share: Ratio  # of the reference's

    @property
    def head(self) -> str:
        """Its column in a table."""
        return f"{self.verb}, {self.client}"


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of the measurement."""

    rounds: int
    reference: str  # the package and its version
    machine_load: float

    def __str__(self) -> str:
        return f"{page.conditions(self.reference)}\n{page.loads([self.machine_load])}"


@contextmanager
def reference() -> Iterator[str]:
    """The version of the reference's package; in the seal, dpkg's files are not there."""
    query = ("dpkg-query", "--show", "--showformat=${Package} ${Version}", PACKAGE)
    yield page.version(*query)


def write(figures: Sequence[Figure], conditions: Conditions) -> None:
    """Write the CNI plugin's section of the page, and its picture."""
    (page.FOLDER / _PICTURE).write_text(svg(list(_charts(figures))))
    shares = [one for one in figures if one.client != "reference"]
    text = f"""{conditions}
Shares of the wall time of the reference, which is Debian's {PACKAGE}; medians of
{conditions.rounds} rounds, in which all take turns. The 95 % interval stands in parentheses.

![Milliseconds of each client as bars]({_PICTURE})

{_table(shares)}"""
    page.write("bin/bench cni --write", text)


def write_comparison(
    comparisons: Iterable[Comparison], other: Tree, conditions: Conditions
) -> None:
    """Write the section of the page about two checkouts."""
    rows = [[each.title, str(each.ratio), each.verdict] for each in comparisons]
    text = f"""{conditions}
Shares of the time at commit {other.commit}, medians of {conditions.rounds} rounds in turns.
The limit is {LIMIT}.

{page.table(["", "share (95 % interval)", "limit"], rows)}"""
    page.write("bin/bench cni --against CHECKOUT --write", text)


def _table(figures: Sequence[Figure]) -> str:
    heads = list(dict.fromkeys(one.head for one in figures))
    cells = {(one.scenario, one.head): str(one.share) for one in figures}
    scenarios = dict.fromkeys(one.scenario for one in figures)
    rows = [[each, *(cells.get((each, head), "") for head in heads)] for each in scenarios]
    return page.table(["", *heads], rows)


def _charts(figures: Iterable[Figure]) -> Iterable[Chart]:
    """A chart for each verb of each scenario."""
    grouped: dict[str, list[Figure]] = {}
    for one in figures:
        grouped.setdefault(f"{one.verb}, {one.scenario}", []).append(one)
    for title, group in grouped.items():
        yield Chart(title, [Bar(one.client, one.wall, f"{one.wall:.1f} ms") for one in group])
