"""An explanation as lines for a terminal: pure."""

from collections.abc import Iterator

from debug.explain.result import Branch, Explanation, Hop, RuleLine

_INDENT = "  "


def lines(explanation: Explanation) -> Iterator[str]:
    """Yield the lines."""
    yield f"{explanation.source} to {explanation.target}"
    yield from _branch(explanation.way, "", explanation.packet)
    yield from explanation.notes


def _branch(branch: Branch, indent: str, packet: str) -> Iterator[str]:
    place = ""
    for hop in branch.hops:
        shown = list(_hop(hop, indent + _INDENT, packet))
        packet = hop.packet
        if shown and hop.place != place:
            yield f"{indent}{hop.place}"
            place = hop.place
        yield from shown
    if branch.end:
        why = f": {branch.why}" if branch.why else ""
        yield f"{indent}{_MARKS.get(branch.end, '?')} {branch.end} at {branch.at}{why}"
    for number, one in enumerate(branch.branches, 1):
        total = len(branch.branches)
        yield f"{indent}branch {number} of {total}: {_share(one)}{_conditions(one)}"
        yield from _branch(one, indent + _INDENT, packet)
    if branch.reply is not None:
        yield f"{indent}the reply"
        yield from _branch(branch.reply, indent + _INDENT, "")


_MARKS = {"delivered": "✓", "dropped": "✗", "lost": "✗", "left": "…", "unknown": "?"}


def _share(branch: Branch) -> str:
    return f"{branch.probability:.1%}"


def _conditions(branch: Branch) -> str:
    return f", if {' and '.join(branch.conditions)}" if branch.conditions else ""


def _hop(hop: Hop, indent: str, before: str) -> Iterator[str]:
    """Yield a hop's lines: none for a hook where nothing happened."""
    changed = hop.packet != before
    if not (hop.text or hop.rules or changed):
        return
    text = f" {hop.text}" if hop.text else ""
    yield f"{indent}{hop.stage}{text}" + (f"   {hop.packet}" if changed else "")
    for rule in hop.rules:
        yield f"{indent}{_INDENT}{_rule(rule)}"


def _rule(rule: RuleLine) -> str:
    handle = f" #{rule.handle}" if rule.handle else ""
    parts = [*rule.matched, *rule.did, *([rule.verdict] if rule.verdict else [])]
    comment = f' "{rule.comment}"' if rule.comment else ""
    return f"{rule.table} {rule.chain}{handle}{comment}: {'; '.join(parts)}"
