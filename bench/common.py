"""What the benchmarks share: namespaces of their own, and bars."""

import os
import sys
from collections.abc import Iterable

_BAR = 40


def seal(script: str) -> None:
    """Start again in network, mount and process namespaces of our own, where the shell ``script``
    has prepared what the benchmark needs.
    """
    if os.environ.get("PODWIRE_BENCH") == "sealed":
        return
    argv = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
    os.environ["PODWIRE_BENCH"] = "sealed"
    inside = ["sh", "-c", f'{script} && exec "$@"', "sh", sys.executable, *sys.argv]
    os.execvp("unshare", [*argv, *inside])  # noqa: S606


def bar(value: float, longest: float) -> str:
    """A bar, as long as ``value`` is beside ``longest``."""
    return "█" * max(1, round(value / longest * _BAR))


def draw(title: str, rows: Iterable[tuple[str, float, str]]) -> None:
    """A chart of (label, value, text for the value)."""
    rows = [row for row in rows if row[1] > 0]
    if not rows:
        return
    print(f"\n{title}")
    longest = max(value for _, value, _ in rows)
    for label, value, text in rows:
        print(f"  {label} {bar(value, longest)} {text}")
