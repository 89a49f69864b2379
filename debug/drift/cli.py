"""``podwire drift``."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event

import click

from debug.again import Again
from debug.doctor.cli import seen
from debug.drift.find import find
from debug.drift.model import Drift, State
from debug.options import decided, ground, ground_options, output_option, snapshot_option
from debug.output import say, say_json
from debug.places import Ground
from debug.snapshot import take
from lab.shared import plain_errors

_AGAIN = 0.5  # seconds


def changes(
    look: Callable[[], tuple[Drift, ...]], wait: Callable[[], bool]
) -> Iterator[tuple[str, Drift]]:
    """Yield ("+", drift) for each that comes and ("-", drift) for each that goes.

    ``wait`` returns True when it is over.
    """
    before: frozenset[Drift] = frozenset()
    while True:
        now = frozenset(look())
        yield from (("+", one) for one in sorted(now - before))
        yield from (("-", one) for one in sorted(before - now))
        before = now
        if wait():
            return


def lasting(look: Callable[[], tuple[Drift, ...]], *, again: bool) -> tuple[Drift, ...]:
    """Return what differs; with ``again`` without what was only on its way, as a rollout is."""
    found = look()
    if not (found and again):
        return found
    still = frozenset(look())
    return tuple(one for one in found if one in still)


@click.command("drift", epilog="Exit code: 0 no drift, 1 some, 2 a wrong option.")
@ground_options
@snapshot_option
@click.option("--node", default="", help="Compare this node only.")
@click.option("--watch", is_flag=True, help="Go on, and print what comes (+) and goes (-).")
@output_option
def main(
    name: str | None,
    here: bool,
    kubeconfig: Path | None,
    file: Path | None,
    node: str,
    watch: bool,
    output: str,
) -> None:
    """Say what is installed and should not be, and what should be and is not.

    Rules, sets, maps, routes, the tunnel, flows, leases, links, namespaces, policies: each missing,
    foreign or stale, with its owner and what follows. Nothing is changed.
    """
    if watch and file:
        raise click.UsageError("a --snapshot does not change: there is nothing to --watch")
    with plain_errors():
        if watch:
            again = Again(partial(ground, *decided(name, here, kubeconfig)))
            never = Event()
            with suppress(KeyboardInterrupt):  # the way to end it
                for sign, one in changes(
                    lambda: find(take(_now(again), machines=True), node),
                    lambda: never.wait(_AGAIN),
                ):
                    _say_change(sign, one, output)
            return
        found = lasting(lambda: find(seen(name, here, kubeconfig, file), node), again=file is None)
        if output == "json":
            say_json(found)
        else:
            say("\n".join(_lines(found)))
    sys.exit(1 if any(one.state is not State.UNKNOWN for one in found) else 0)


def _now(again: Again) -> Ground:
    """Return the places as they are; say which nodes went, or were started again."""
    for line in again.refresh():
        say(line, err=True)
    return again.ground


def _say_change(sign: str, one: Drift, output: str) -> None:
    if output == "json":
        say_json({"change": sign, "drift": one}, line=True)
    else:
        say(f"{sign} {_told(one)}")


def _told(one: Drift) -> str:
    node = f"{one.node} " if one.node else ""
    owner = f" ({one.owner})" if one.owner else ""
    return f"{node}{one.state.value} {one.sort}: {one.what}{owner}"


def _lines(found: Iterable[Drift]) -> Iterator[str]:
    shown = list(found)
    for one in shown:
        yield _told(one)
        if one.consequence:
            yield f"    then: {one.consequence}"
    count = "1 difference" if len(shown) == 1 else f"{len(shown)} differences"
    yield count if shown else "no drift: all that should be there is, alone"
