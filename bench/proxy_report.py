"""The measurements of the proxy, shown in a terminal and on the page of figures."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench import page
from bench.charts import Bar, Chart, draw, svg
from bench.proxy_results import Result, Round
from bench.ratios import Ratio, paired
from bench.versus import LIMIT, Comparison

_PICTURE = "figures-proxy.svg"


@dataclass(frozen=True, slots=True)
class Figure:
    """One kind of figures."""

    title: str
    value: Callable[[Result], float]
    text: Callable[[Result], str]
    of_changes: bool = False  # one Service alone is never changed
    of_big: bool = False  # a Service of very many endpoints is a matter of iptables-nft alone

    def _is_measured(self, result: Result) -> bool:
        if self.of_big:
            return any(one.beside_big for one in result.rounds)
        return bool(result.changes) or not self.of_changes

    def chart(self, results: Iterable[Result]) -> Chart:
        """A bar for each result."""
        measured = [one for one in results if self._is_measured(one)]
        bars = [Bar(one.label, self.value(one), self.text(one)) for one in measured]
        return Chart(self.title, bars)

    def cell(self, result: Result) -> str:
        """The text, or nothing if it was not measured."""
        return self.text(result) if self._is_measured(result) else ""


_PROGRAMMING = (
    Figure(
        "first load, from the process's start to its last rule (of that, processor)",
        lambda one: one.median(lambda each: each.load),
        lambda one: (
            f"{one.median(lambda each: each.load):.2f} s"
            f" ({one.median(lambda each: each.load_busy):.2f} s)"
        ),
    ),
    Figure(
        "one endpoint changed, from the API's write to the kernel (99th percentile)",
        lambda one: median(one.changes),
        lambda one: f"{median(one.changes):.1f} ms ({one.late_change:.0f} ms)",
        of_changes=True,
    ),
    Figure(
        "processor at 50 changes a second",
        lambda one: one.median(lambda each: each.busy),
        lambda one: f"{one.median(lambda each: each.busy):.0%}",
        of_changes=True,
    ),
    Figure(
        "memory (at most)",
        lambda one: one.median(lambda each: each.memory),
        lambda one: (
            f"{one.median(lambda each: each.memory):.0f} MB"
            f" ({one.median(lambda each: each.most_memory):.0f} MB)"
        ),
    ),
)


_BESIDE_BIG = (
    Figure(
        "one endpoint changed while a Service of 1,000 endpoints at 20 ports is written,"
        " as a multiple of one before",
        lambda one: one.beside_big().value,
        lambda one: str(one.beside_big()),
        of_big=True,
    ),
    Figure(
        "first load of the others with such a Service, as a multiple of one without",
        lambda one: one.median(lambda each: each.load_beside_big / each.load),
        lambda one: f"{one.median(lambda each: each.load_beside_big / each.load):.2f}",
        of_big=True,
    ),
)


def _ratio(title: str, ratio: Callable[[Result], Ratio]) -> Figure:
    return Figure(title, lambda one: ratio(one).value, lambda one: str(ratio(one)))


def _carrying(results: Sequence[Result]) -> Iterable[Figure]:
    for cpus in results[0].placements:
        where = f"a new connection on {cpus}, as a multiple of one"
        yield _ratio(f"{where} straight to the pod", partial(Result.cost, cpus=cpus))
        yield _ratio(f"{where} without a proxy", partial(Result.whole_cost, cpus=cpus))
    yield _ratio("throughput, as a share of that straight to the pod", Result.rate)


def _sorted(results: Iterable[Result]) -> list[Result]:
    return sorted(results, key=lambda one: (one.services, one.backend, one.tree))


def show(results: Iterable[Result]) -> None:
    """Print all figures as bars."""
    rows = _sorted(results)
    for figure in (*_PROGRAMMING, *_BESIDE_BIG, *_carrying(rows)):
        draw(figure.chart(rows))


def write(results: Iterable[Result]) -> None:
    """Write the proxy's section of the page, and its picture."""
    rows = _sorted(results)
    carrying = tuple(_carrying(rows))
    many = max(one.services for one in rows)
    largest = [one for one in rows if one.services == many]
    charts = [figure.chart(largest) for figure in (*_PROGRAMMING, *carrying)]
    (page.FOLDER / _PICTURE).write_text(svg(charts))
    rounds = len(rows[0].rounds)
    text = f"""{_conditions(rows)}
Each Service has four endpoints. Each figure is the median of {rounds} rounds; in each round all
back ends start anew, in turns.

![The figures with {many:,} Services as bars]({_PICTURE})

{_table(rows, _PROGRAMMING)}
One Pod connects, and sends, to another of its node: straight and through a Service, in turns with
Pods of a node without a proxy. A straight connection passes the rules of its node's proxy too, so
the multiple of one without a proxy is the whole cost. Clients and servers are bound to one CPU, or
to two; transfers use two. In mode iptables the Service is the last one of its chain. The 95 %
interval stands in parentheses.

{_table(rows, carrying)}"""
    page.write("bin/bench proxy --write", text)


def _conditions(results: Sequence[Result]) -> str:
    ordered = dict.fromkeys(one.conditions for one in results)
    return "\n".join([*ordered, page.loads(one.machine_load for one in results)])


def _table(rows: Iterable[Result], figures: Sequence[Figure]) -> str:
    head = ["back end", "Services", *(figure.title for figure in figures)]
    return page.table(
        head,
        [[one.backend, f"{one.services:,}", *(each.cell(one) for each in figures)] for one in rows],
    )


_COSTS: dict[str, Callable[[Round], float]] = {
    "first load": lambda one: one.load,
    "processor of it": lambda one: one.load_busy,
    "memory": lambda one: one.memory,
    "memory at most": lambda one: one.most_memory,
    "time of a transfer": lambda one: median(pair[1] / pair[0] for pair in one.transfers),
}
_COSTS_OF_CHANGES: dict[str, Callable[[Round], float]] = {
    "one endpoint changed": lambda one: median(one.changes),
    "processor at 50 changes a second": lambda one: one.busy,
}


def is_comparison(results: Iterable[Result]) -> bool:
    """True if two checkouts were measured."""
    return any(one.tree == "other" for one in results)


def compare(results: Iterable[Result]) -> list[Comparison]:
    """Each back end of this checkout beside the same of the other one."""
    rows = _sorted(results)
    ours = [one for one in rows if one.tree == "this"]
    theirs = [one for one in rows if one.tree == "other"]
    return [
        Comparison(
            f"{mine.backend}, {mine.services:,} Services: {title}", _share(mine, other, cost)
        )
        for mine, other in zip(ours, theirs, strict=True)
        for title, cost in _costs(mine).items()
    ]


def _share(mine: Result, other: Result, cost: Callable[[Round], float]) -> Ratio:
    return paired([cost(one) for one in mine.rounds], [cost(one) for one in other.rounds])


def _costs(result: Result) -> dict[str, Callable[[Round], float]]:
    """The costs that are compared, by their titles."""
    changes = _COSTS_OF_CHANGES if result.changes else {}
    connections = {
        f"a new connection on {cpus}": partial(_connection, cpus=cpus) for cpus in result.placements
    }
    return _COSTS | changes | connections


def _connection(one: Round, cpus: str) -> float:
    """As a multiple of a connection without a proxy, so that the machine's speed does not count."""
    return median(turn.service / turn.bare for turn in one.turns[cpus])


def write_comparison(results: Sequence[Result]) -> None:
    """Write the section of the page about two checkouts."""
    comparisons = compare(results)
    other = next(one.commit for one in results if one.tree == "other")
    rows = [[each.title, str(each.ratio), each.verdict] for each in comparisons]
    text = f"""{_conditions(results)}
Shares of the cost at commit {other}, measured in turns in one run; the limit is {LIMIT}.

{page.table(["", "share (95 % interval)", "limit"], rows)}"""
    page.write("bin/bench proxy --against CHECKOUT --write", text)
