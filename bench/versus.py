"""Two checkouts in one run: how each is started, whose turn it is, and which one is slower.

Another checkout may have other modules, so it is driven through its commands alone.
"""

import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.ratios import Ratio

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 1.03  # the most that this checkout may cost, as a share of what the other one costs
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout."""

    root: Path
    name: str = ""  # nothing, if there is one only

    @property
    def podwire(self) -> tuple[str, ...]:
        """The command line of its ``podwire``, as ``bin/podwire`` has it after setting up."""
        return (f"{self.root}/.venv/bin/python", "-P", "-m", "lab.main")

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its ``podwire``, as ``bin/podwire`` has it."""
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        return inherited | {"PYTHONPYCACHEPREFIX": f"{self.root}/.venv/pycache"}

    def set_up(self) -> None:
        """Install what it needs. Its programs are measured as they are then."""
        setup = self.root / "bin/setup"
        if not setup.exists():
            raise SystemExit(
                f"bin/bench: {self.root} is no checkout of podwire: no bin/setup there"
            )
        if subprocess.run([setup], check=False).returncode:
            raise SystemExit(f"bin/bench: {setup} failed: run it by hand, then measure again")

    @property
    def commit(self) -> str:
        """Its commit, with ``-dirty`` if somebody has changed more than its pages since."""
        changed = self._git("status", "--porcelain", "--", ":!docs")
        return (self._git("rev-parse", "--short", "HEAD") or "unknown") + ("-dirty" * bool(changed))

    def _git(self, *args: str) -> str:
        command = ["git", "-c", f"safe.directory={self.root}", "-C", str(self.root), *args]
        return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


THIS = Tree(ROOT)


def trees(against: Path | None) -> tuple[Tree, ...]:
    """This checkout, and the one beside which it is measured, if any."""
    if against is None:
        return (THIS,)
    return Tree(ROOT, "this"), Tree(against.resolve(), "other")


def in_turn(items: Sequence[Item], number: int) -> Iterable[Item]:
    """The items in the order of a round: each second round begins with the last."""
    return reversed(items) if number % 2 else items


@dataclass(frozen=True, slots=True)
class Comparison:
    """The cost of one measurement in this checkout, as a share of its cost in the other."""

    title: str
    ratio: Ratio
    limit: float = LIMIT

    @property
    def verdict(self) -> str:
        """``kept`` or ``BROKEN``; ``unsure`` if the interval holds the limit and the median not."""
        if self.ratio.value <= self.limit:
            return "kept"
        return "BROKEN" if self.ratio.low > self.limit else "unsure"


def judge(comparisons: Sequence[Comparison]) -> int:
    """Print each beside the limit; returns how many are broken."""
    print("\nthis checkout's cost, as a share of the other's, and the most that it may be")
    for each in comparisons:
        print(f"  {each.verdict:6}  {each.ratio} (at most {each.limit})  {each.title}")
    return sum(each.verdict == "BROKEN" for each in comparisons)
