"""What a cluster of hollow nodes costs as it grows: time, processor and memory of each part.

    bin/bench scale [--nodes 10,25,50,100] [--pods 100] [--store sqlite] [--write]

For each size a lab is made with as many hollow nodes, then as many Pods a node as Deployments ask
for, until all are Ready; then it rests, and all Pods are deleted. Fails if the largest has more
than 60 s until its last Pod is scheduled, or 3 GB in all.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from bench import page
from bench.charts import Bar, Chart, draw, svg
from bench.scale_lab import Size, measure, progress

MOST_SECONDS, MOST_BYTES = 60.0, 3e9
PAGE = page.FOLDER / "scale.md"
FIGURE = page.FOLDER / "figures-scale.svg"
_COMMAND = "bin/bench scale --write"
_PICTURE = "![What grows with the number of nodes and Pods, as bars](figures-scale.svg)"
_PARTS = ("apiserver", "etcd", "scheduler", "controllers", "hollow")  # beside which all are small


def charts(sizes: Sequence[Size]) -> list[Chart]:
    """Return the plots: what grows with the number of nodes and Pods."""

    def chart(title: str, value: Callable[[Size], float], unit: str) -> Chart:
        bars = [Bar(_title(it), value(it), f"{value(it):.1f} {unit}") for it in sizes]
        return Chart(title, bars)

    found = [
        chart("Until the last Pod is scheduled", lambda it: it.scheduled, "s"),
        chart("Until the last Pod is Ready", lambda it: it.ready, "s"),
        chart("Until the last Pod is gone", lambda it: it.gone, "s"),
        chart("A list of all Pods", lambda it: it.listing * 1e3, "ms"),
        chart("Memory of all parts", lambda it: it.memory / 1e6, "MB"),
        chart("At rest: processors in use", lambda it: sum(it.rest.values()), ""),
    ]
    for part in _PARTS:
        if any(part in it.loaded for it in sizes):
            found.append(chart(f"Memory of {part}", partial(_memory, part), "MB"))
    return found


def _memory(part: str, size: Size) -> float:
    return size.loaded[part].memory / 1e6


def report(sizes: Sequence[Size]) -> str:
    """Return the tables of docs/scale.md."""
    head = ["nodes", "Pods", "scheduled", "Ready", "gone", "list", "memory", "at rest"]
    rows = [
        [
            str(it.nodes),
            f"{it.pods:,}",
            f"{it.scheduled:.0f} s",
            f"{it.ready:.0f} s",
            f"{it.gone:.0f} s",
            f"{it.listing * 1e3:.0f} ms",
            f"{it.memory / 1e6:,.0f} MB",
            f"{sum(it.rest.values()):.2f} processors",
        ]
        for it in sizes
    ]
    return f"{page.table(head, rows)}\n{_parts(sizes)}\n{_requests(sizes)}"


def _parts(sizes: Sequence[Size]) -> str:
    head, rows = ["part", *map(_title, sizes)], []
    for part in _PARTS:
        if all(part in it.loaded for it in sizes):
            rows.append([part, *(_cell(it, part) for it in sizes)])
    return page.table(head, rows)


def _cell(size: Size, part: str) -> str:
    idle, loaded = size.idle[part], size.loaded[part]
    placed, ran = (it.processor - idle.processor for it in (size.bound[part], loaded))
    more = f"{idle.memory / 1e6:.0f} to {loaded.memory / 1e6:.0f} MB"
    return f"{placed:.1f} s, {ran:.1f} s, {more}, {size.rest[part]:.2f}"


def _requests(sizes: Sequence[Size]) -> str:
    """Return the table of what is asked of the API server for each Pod."""
    names = list(dict.fromkeys(name for it in sizes for name in it.requests))
    rows = [[name, *(f"{it.requests.get(name, 0):.2f}" for it in sizes)] for name in names]
    total = ["all", *(f"{sum(it.requests.values()):.2f}" for it in sizes)]
    return page.table(["requests for each Pod", *map(_title, sizes)], [*rows, total])


def _title(size: Size) -> str:
    return f"{size.nodes} nodes, {size.pods:,} Pods"


def main() -> None:
    """Measure, print, and fail beyond the limits."""
    options = _options()
    sizes = []
    for nodes in options.nodes:
        sizes.append(measure(nodes, options.pods, [f"--store={options.store}"], progress))
        progress("")
        print(report(sizes[-1:]), flush=True)
    for each in charts(sizes):
        draw(each)
    text = report(sizes)
    if options.write:
        FIGURE.write_text(svg(charts(sizes)))
        told = f"{page.conditions()}\n{page.loads(os.getloadavg()[:1])}"
        page.write(_COMMAND, f"{told}\n\n{_PICTURE}\n\n{text}", PAGE)
    last = max(sizes, key=lambda it: it.pods)
    if last.scheduled > MOST_SECONDS or last.memory > MOST_BYTES:
        sys.exit(f"over {MOST_SECONDS:.0f} s or {MOST_BYTES / 1e9:.0f} GB: see above")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/bench scale", description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=_numbers, default=[10, 25, 50, 100], metavar="N,N,...")
    parser.add_argument("--pods", type=int, default=100, help="Pods a node")
    parser.add_argument("--store", default="sqlite", help="as of podwire lab up")
    parser.add_argument("--write", action="store_true", help="write docs/scale.md")
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
