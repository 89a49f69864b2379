"""Carries out ``podwire lesson``: from a symptom to its cause, in one's own time."""

import json
from collections.abc import Iterator
from typing import Any

import click

from debug.faults.carry import break_ as make
from debug.faults.carry import heal as undo
from debug.faults.commands import parse_time, told_of
from debug.faults.fault import Fault
from debug.faults.scene import Wish
from debug.faults.table import FAULTS, find
from debug.faults.words import filled, looks
from lab.report import columns
from lab.shared import need_root, plain_errors, running

_ASK = "Enter: a hint · c: the cause · q: end"


def lesson(
    fault: str, name: str, show: bool, output: str, lasting: str, hold: bool, **wish: str
) -> None:
    """List the lessons, print one, or hold it."""
    if not fault:
        return _list(output)
    with plain_errors():
        what = find(fault)
    if show or output == "json":
        texts = plain_texts(what)
        return click.echo(json.dumps(texts) if output == "json" else "\n".join(_whole(texts)))
    need_root()
    with plain_errors():
        seconds = parse_time(lasting)
        lab, spec = running(name)
        made = make(lab, spec, what, Wish(**wish), seconds, hold)
        try:
            _hold(told_of(lab, spec, what, Wish(**wish), hold))
        finally:  # Ctrl-C too; whoever closes the terminal has the timer
            done = undo(lab, what.name, made.node)
            click.echo("\n".join((*(f"{one} is healed" for one in done.faults), *done.problems)))
    return None


def _list(output: str) -> None:
    possible = [one for one in FAULTS.values() if one.plan is not None]
    if output == "json":
        return click.echo(json.dumps([{"name": one.name, "title": one.title} for one in possible]))
    rows = [(one.name, one.title) for one in possible]
    return click.echo(columns(("LESSON", "ABOUT"), rows))


def plain_texts(fault: Fault) -> dict[str, Any]:
    """Return a fault's texts with words in capitals for a lab's names."""
    texts = {k: filled(v, {}) if isinstance(v, str) else v for k, v in fault.wire().items()}
    found = looks(fault, {}, "lab")
    return texts | {"find": [{"command": one.command, "shows": one.shows} for one in found]}


def _hold(texts: dict[str, Any]) -> None:
    """Tell the symptom, then hints as they are asked for, and the cause at the end."""
    click.echo(f"\nSomething is broken in your lab.\n\nSymptom: {texts['symptom']}\n")
    hints = _hints(texts)
    while (answer := _ask()) != "q":
        if answer == "c" or (hint := next(hints, None)) is None:
            return click.echo("\n".join(_solution(texts)))
        click.echo(f"{hint}\n")
    return None


def _ask() -> str:
    """Return the first letter of an answer; an end of input is one too."""
    try:
        return str(click.prompt(_ASK, default="", show_default=False, prompt_suffix=" > "))[:1]
    except click.Abort:
        return "q"


def _hints(texts: dict[str, Any]) -> Iterator[str]:
    for number, look in enumerate(texts["find"], 1):
        yield f"Hint {number}: {look['shows']}\n    {look['command']}"


def _solution(texts: dict[str, Any]) -> Iterator[str]:
    yield f"\n{texts['title']}.\n{texts['does']}\n"
    yield f"Cause: {texts['cause']}\n"
    yield f"In a real cluster: {texts['heal']}"
    if texts["repaired"]:
        yield f"podwire repairs it: {texts['repaired']}."
    yield from (f"Read more: {source}" for source in texts["sources"])


def _whole(texts: dict[str, Any]) -> Iterator[str]:
    yield f"Symptom: {texts['symptom']}\n"
    yield from _hints(texts)
    yield from _solution(texts)
    if not texts["possible"]:
        yield f"It cannot be made in a lab: {texts['whyNot']}."
