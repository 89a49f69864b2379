"""Carries out ``podwire break`` and ``podwire heal``."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import click

from debug.faults import journal, words
from debug.faults.acts.base import FaultError
from debug.faults.carry import break_ as make
from debug.faults.carry import heal as undo
from debug.faults.carry import read_scene, stage_of
from debug.faults.fault import Fault
from debug.faults.journal import Broken
from debug.faults.scene import Wish
from debug.faults.table import FAULTS, find
from lab.report import columns
from lab.shared import need_root, plain_errors, running
from lab.spec import LabSpec
from lab.state import LabDir, lab_dir

_TIME = re.compile(r"(\d{1,6})(s|m|h)")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LONGEST = 7 * 24 * 3600


def break_(
    fault: str, name: str, listed: bool, output: str, lasting: str, hold: bool, **wish: str
) -> None:
    """Make a fault, or list all."""
    if listed:
        return _list(name, output)
    if not fault:
        raise click.UsageError("name a fault, or list all of them with --list")
    need_root()
    with plain_errors():
        what, seconds = find(fault), parse_time(lasting)
        lab, spec = running(name)
        made = make(lab, spec, what, Wish(**wish), seconds, hold)
        told = told_of(lab, spec, what, Wish(**wish), hold)
    if output == "json":
        return click.echo(json.dumps(_wire(made) | {"does": told["does"]}))
    click.echo(f"lab {name}: {made.name} until {_clock(made.until)}: {what.title}")
    click.echo(told["does"])
    if what.repaired and not hold:
        click.echo(f"It is repaired by {what.repaired}.")
    command = f"podwire heal {fault}" + ("" if name == "lab" else f" --name {name}")
    return click.echo(f"Heal it with: {command}")


def told_of(lab: LabDir, spec: LabSpec, fault: Fault, wish: Wish, hold: bool) -> dict[str, Any]:
    """Return a fault's texts with this lab's names."""
    scene = read_scene(spec, stage_of(lab).ground, wish, hold)
    found = words.names(scene)
    texts = {
        key: words.filled(value, found, lab.name) if isinstance(value, str) else value
        for key, value in fault.wire().items()
    }
    looks = words.looks(fault, found, lab.name)
    return texts | {"find": [{"command": one.command, "shows": one.shows} for one in looks]}


def heal(fault: str, name: str, node: str, every: bool, output: str) -> None:
    """Take back one fault or all; without a name say what is broken."""
    need_root()
    if fault and every:
        raise click.UsageError("name a fault, or say --all")
    lab, _ = running(name)
    with plain_errors():
        if not (fault or every):
            return _show(journal.load(lab.path), output)
        if fault:
            find(fault)
        done = undo(lab, fault, node)
    if output == "json":
        click.echo(json.dumps({"healed": done.faults, "problems": done.problems}))
    else:
        for one in done.faults or ("nothing was broken so",):
            click.echo(f"lab {name}: {one}{' is healed' if done.faults else ''}")
    if done.problems:
        raise click.ClickException("; ".join(done.problems) + "; try again: podwire heal --all")
    return None


def parse_time(text: str) -> float:
    """Read 30s, 10m or 2h; raises FaultError."""
    found = _TIME.fullmatch(text)
    seconds = int(found[1]) * _SECONDS[found[2]] if found else 0
    if not 1 <= seconds <= _LONGEST:
        raise FaultError(f"--for {text!r:.40}: want 1s to 168h, as 30s, 10m or 2h")
    return float(seconds)


def _list(name: str, output: str) -> None:
    with plain_errors():
        there = journal.load(lab_dir(name).path) if lab_dir(name).path.is_dir() else ()
    if output == "json":
        rows = [
            one.wire() | {"broken": [_wire(b) for b in there if b.fault == one.name]}
            for one in FAULTS.values()
        ]
        return click.echo(json.dumps(rows))
    return click.echo(columns(("FAULT", "WHERE", "NOW", "WHAT"), [*_rows(there)]))


def _rows(there: tuple[Broken, ...]) -> Iterator[tuple[str, ...]]:
    for one in FAULTS.values():
        broken = [f"{b.node} until {_clock(b.until)}" for b in there if b.fault == one.name]
        if one.plan is None:
            yield one.name, "-", "", f"{one.title}. Cannot be made here: {one.why_not}"
        else:
            yield one.name, one.place, ", ".join(broken), one.title


def _show(there: tuple[Broken, ...], output: str) -> None:
    if output == "json":
        return click.echo(json.dumps([_wire(one) for one in there]))
    if not there:
        return click.echo("nothing is broken")
    rows = [(one.fault, one.node, _clock(one.until), _state(one)) for one in there]
    return click.echo(columns(("FAULT", "NODE", "UNTIL", "TIMER"), rows))


def _state(one: Broken) -> str:
    waits = one.timer is not None and one.timer.alive
    return "waits" if waits else "has ended: heal it with podwire heal"


def _wire(one: Broken) -> dict[str, Any]:
    return {
        "fault": one.fault,
        "node": one.node,
        "until": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(one.until)),
        "timer": one.timer is not None and one.timer.alive,
        "changes": [act.key for act in one.acts if act.key],
    }


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))
