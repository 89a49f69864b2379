"""docs/figures.md: one page, of which each benchmark writes its own section."""

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.versus import THIS

FOLDER = THIS.root / "docs"
PAGE = FOLDER / "figures.md"


def write(command: str, text: str, path: Path | None = None) -> None:
    """Replace the section that ``command`` writes; all else on the page stays as it is."""
    path = path or PAGE
    before, begin, rest = path.read_text().partition(f"<!-- begin: {command} -->\n")
    _, end, after = rest.partition(f"<!-- end: {command} -->\n")
    if not (begin and end):
        raise SystemExit(f"{path} has no section for {command}: restore its two comment lines")
    path.write_text(f"{before}{begin}{text.strip()}\n{end}{after}")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def conditions(*peers: str) -> str:
    """A sentence: when, of which commit, on which machine, beside which versions of peers."""
    kernel = f"Linux {platform.release().split('-')[0]}"
    known = (f"commit {THIS.commit}", kernel, f"{os.cpu_count()} CPUs", *peers)
    return f"Measured on {datetime.now(UTC):%Y-%m-%d}: {', '.join(known)}."


def loads(averages: Iterable[float]) -> str:
    """A sentence: how much else the machine did, by its load averages during the measurement."""
    values = [f"{average:.1f}" for average in sorted(averages)]
    span = " to ".join(dict.fromkeys((values[0], values[-1])))
    return f"The machine's load was {span}, the benchmark itself included."


def version(*command: str) -> str:
    """The first line that a program prints about its version."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[0]
