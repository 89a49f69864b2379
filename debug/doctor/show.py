"""Findings as text: what is wrong first, each with its evidence, then a line for what is well."""

from collections import Counter
from collections.abc import Iterable, Iterator

from debug.model import Finding, Level

MARKS = {Level.OK: "✓", Level.UNKNOWN: "?", Level.WARN: "!", Level.FAIL: "✗"}


def lines(findings: Iterable[Finding], *, every: bool = False) -> Iterator[str]:
    """Yield the lines; ``every`` shows what is well with its evidence too."""
    ordered = sorted(findings, key=lambda one: -one.level.weight)
    well = [one for one in ordered if one.level is Level.OK]
    for one in ordered:
        if every or one.level is not Level.OK:
            yield from _told(one)
    if well and not every:
        names = list(dict.fromkeys(one.check for one in well))
        bad = {one.check for one in ordered if one.level is not Level.OK}
        yield f"{MARKS[Level.OK]} ok: {', '.join(name for name in names if name not in bad)}"
    yield _sum(ordered)


def _told(one: Finding) -> Iterator[str]:
    where = f" on {one.node}" if one.node else ""
    yield f"{MARKS[one.level]} {one.level.value:<7} {one.check}{where}: {one.summary}"
    for line in one.evidence:
        yield f"    read: {line}"
    for title, text in (
        ("cause", one.cause),
        ("then", one.consequence),
        ("fix", one.fix),
        ("see", one.link),
    ):
        if text:
            yield f"    {title}: {text}"


def _sum(findings: list[Finding]) -> str:
    counts = Counter(one.level for one in findings)
    shown = (f"{counts[level]} {level.value}" for level in reversed(Level) if counts[level])
    return (
        f"{len({one.check for one in findings})} checks: {', '.join(shown) or 'nothing to check'}"
    )
