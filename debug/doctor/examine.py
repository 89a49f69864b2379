"""Runs the checks over a snapshot. Pure."""

from collections.abc import Iterable, Iterator

from debug.doctor.look import Look, look_at, unknown
from debug.doctor.table import ALSO, CHECKS, Check
from debug.model import Finding, Level
from debug.output import defect
from debug.snapshot import Snapshot

# They compare the API's objects with kernels, which are read a moment later.
_MOVING = frozenset({"stale-endpoint", "rules-wiped", "stale-udp", "pod-link", "wrong-target-port"})
SURE = {Level.OK: 0, Level.UNKNOWN: 0, Level.WARN: 1, Level.FAIL: 2}


def examine(snapshot: Snapshot, node: str = "", only: Iterable[str] = ()) -> tuple[Finding, ...]:
    """Return every finding, of one node if it is named, and of some checks if those are."""
    look = look_at(snapshot)
    wanted = {check for name in only for check in ALSO.get(name, {name})}
    findings = [*_unread(snapshot)]
    if why := look.why_no_nodes:
        findings.append(unknown("snapshot", "", why, fix="ask on a node, or name the lab: --name"))
    for name, check in CHECKS.items():
        if not wanted or name in wanted:
            findings += _checked(name, check, look)
    return tuple(one for one in findings if not node or one.node in (node, ""))


def is_moving(findings: Iterable[Finding]) -> bool:
    """Return True if something may only be on its way from the API into a kernel."""
    return any(_moves(one) for one in findings)


def confirmed(first: Iterable[Finding], again: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return a second look's findings without what moved: what the first look did not have."""
    had = {(one.check, one.node, one.about) for one in first}
    return tuple(one for one in again if not _moves(one) or (one.check, one.node, one.about) in had)


def _moves(one: Finding) -> bool:
    return one.check in _MOVING and one.level in (Level.WARN, Level.FAIL)


def _checked(name: str, check: Check, look: Look) -> list[Finding]:
    """Run a check: one that fails at an object or a rule of a strange shape stops no other."""
    try:
        return list(check(look))
    except Exception as err:  # noqa: BLE001
        return [unknown(name, "", "this could not be checked", defect(err))]


def _unread(snapshot: Snapshot) -> Iterator[Finding]:
    for line in snapshot.unread:
        yield unknown("snapshot", "", f"not read: {line}", fix="run it as root, on each node")
    if snapshot.cluster is None:
        fix = "name the cluster: --kubeconfig FILE"
        yield unknown("snapshot", "", "the API's objects were not read", fix=fix)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level; unknown is not worse than ok for the exit code."""
    return max((one.level for one in findings), key=lambda level: level.weight, default=Level.OK)


def exit_code(findings: Iterable[Finding]) -> int:
    """0 if nothing is known to be wrong, 1 for a warning, 2 for a fail."""
    return max((SURE[one.level] for one in findings), default=0)
