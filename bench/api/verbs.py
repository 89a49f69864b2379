"""The API server beside another checkout: processor time of each verb, and memory.

    bin/bench api --against CHECKOUT [--rounds 20] [--objects 500] [--write]
    bin/bench api --peer https://127.0.0.1:6443 --kubeconfig FILE

Both servers run, bound to one CPU, and the client to another; batches go to them in turns. Fails if
a share is surely beyond its limit, memory at idle is more than 70 MB, or a decision about rights
among 500 roles takes more than 20 us. A peer runs on another machine or in namespaces of its own;
of it the waiting time is compared, for its processor time is not known here.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import page
from bench.api import rights
from bench.api.requests import SCENARIOS, Scenario, fill
from bench.api.server import Cost, RefusedError, Target, peer, served
from bench.cpus import apart, pin
from bench.ratios import Ratio, paired
from bench.versus import Comparison, in_turn, judge, trees

_MOST_IDLE = 70.0  # MB
_COMMAND = "bin/bench api --against CHECKOUT --write"
_HEADS = {"processor": "processor time", "wall": "waiting"}
Costs = dict[tuple[str, str], list[Cost]]  # by scenario and server


class Measurement:
    """What was measured of some servers."""

    def __init__(self, targets: Sequence[Target]) -> None:
        self.targets = targets
        self.costs: Costs = {}
        self.memory: dict[str, tuple[float, float, float]] = {}  # idle, after OpenAPI, with objects

    def run(self, rounds: int, objects: int) -> None:
        """Measure all scenarios in turns, and memory before and after."""
        own = [each for each in self.targets if each.pid]
        idle = {each.name: each.memory() for each in own}
        for target in own:
            target.ask("GET", "/openapi/v2")
            target.ask("GET", "/openapi/v3/apis/apps/v1")
        asked = {each.name: each.memory() for each in own}
        for target in self.targets:
            fill(target, objects)
        for turn in range(rounds):
            for scenario in SCENARIOS:
                self._round(scenario, turn)
        for each in own:
            self.memory[each.name] = idle[each.name], asked[each.name], each.memory()

    def _round(self, scenario: Scenario, turn: int) -> None:
        for target in in_turn(self.targets, turn):
            try:
                cost = scenario.run(target, turn)
            except RefusedError as err:
                if turn == 0:
                    print(f"not measured: {scenario.name}: {err}", file=sys.stderr)
                continue
            self.costs.setdefault((scenario.name, target.name), []).append(cost)

    def ratio(self, scenario: Scenario, ours: str, theirs: str, what: str) -> Ratio | None:
        """Return what one costs as a share of the other; None if one refused it."""
        pairs = [self.costs.get((scenario.name, name), []) for name in (ours, theirs)]
        if len(pairs[0]) != len(pairs[1]) or not pairs[0]:
            return None
        return paired(*([getattr(cost, what) for cost in each] for each in pairs))

    def middle(self, scenario: Scenario, name: str, what: str) -> float:
        """Return the median cost of one request in ms."""
        costs = self.costs[scenario.name, name]
        middle: float = statistics.median(getattr(each, what) for each in costs)
        return middle / scenario.count * 1e3


def report(done: Measurement, decision: float) -> str:
    """Return the table of docs/figures.md."""
    names = [each.name for each in done.targets]
    shares = [(other, _what(other)) for other in names[1:]]
    head = ["one request", "processor", "waiting"]
    head += [f"share of {name}'s {_HEADS[what]}" for name, what in shares]
    rows = []
    for scenario in SCENARIOS:
        row = [scenario.name]
        row += [f"{done.middle(scenario, names[0], what):.2f} ms" for what in ("processor", "wall")]
        for other, what in shares:
            row.append(str(done.ratio(scenario, names[0], other, what) or "does not serve it"))
        rows.append(row)
    memory = [
        [name, *(f"{value:.1f} MB" for value in values)] for name, values in done.memory.items()
    ]
    heads = ("memory of", "idle", "after OpenAPI was asked", "at the end")
    decided = f"A decision about rights among {rights.ROLES} roles takes {decision * 1e6:.1f} us."
    return f"{page.table(head, rows)}\n{page.table(heads, memory)}\n{decided}\n"


def _what(name: str) -> str:
    return "wall" if name == "peer" else "processor"


def verdict(done: Measurement, decision: float) -> int:
    """Return the number of limits that are broken; print each."""
    comparisons = [
        Comparison(each.name, ratio, each.limit)
        for each in SCENARIOS
        if any(it.name == "other" for it in done.targets)
        and (ratio := done.ratio(each, "this", "other", "processor"))
    ]
    broken = judge(comparisons) if comparisons else 0
    idle = done.memory["this"][0]
    for title, value, most in (
        ("MB at idle", idle, _MOST_IDLE),
        ("us of a decision", decision * 1e6, rights.LIMIT * 1e6),
    ):
        kept = value <= most
        print(f"  {'kept' if kept else 'BROKEN':6}  {value:.1f} (at most {most:.0f})  {title}")
        broken += not kept
    return broken


def main() -> None:
    """Measure, print, and fail beyond the limits."""
    options = _options()
    pin([os.getpid()], apart()[0])
    checkouts = trees(options.against)
    for tree in checkouts[1:]:
        tree.set_up()
    decision = rights.measure()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        targets = []
        for tree in checkouts:
            home = Path(folder, tree.name or "this")
            home.mkdir()
            targets.append(stack.enter_context(served(tree, home)))
        if options.peer:
            targets.append(peer(options.peer, options.kubeconfig))
        done = Measurement(targets)
        done.run(options.rounds, options.objects)
    text = report(done, decision)
    print(text)
    broken = verdict(done, decision)
    if options.write:
        other = f"Shares of the cost at commit {checkouts[-1].commit}." if options.against else ""
        loads = page.loads(os.getloadavg()[:1])
        page.write(_COMMAND, f"{page.conditions()}\n{loads}\n{other}\n\n{text}")
    sys.exit(bool(broken))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--peer", metavar="URL", help="a server that runs already")
    parser.add_argument("--kubeconfig", type=Path, help="whose credentials the peer takes")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--objects", type=int, default=500)
    parser.add_argument("--write", action="store_true", help="write docs/figures.md")
    options = parser.parse_args()
    if bool(options.peer) != bool(options.kubeconfig):
        parser.error("--peer and --kubeconfig belong together")
    return options
