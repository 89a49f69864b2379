"""Carries out ``podwire probe``: listens for a time, and says what it heard."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import click
from msgspec import Struct, to_builtins
from rich.console import Console

from debug.cluster import ClusterState
from debug.options import decided, ground, objects
from debug.output import say, say_json
from debug.places import Ground
from debug.probe.means import Means, opened
from debug.probe.measure import MEASURES, PROBES, Measure
from debug.probe.naming import Scene
from debug.probe.text import line, tables
from debug.probe.wanted import Wanted, key
from lab.shared import plain_errors

_USUAL = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class How:
    """What was asked for; ``seconds`` is None for the usual time, or with ``follow`` no end."""

    seconds: float | None
    follow: bool
    node: str
    service: str  # [NAMESPACE/]NAME, or ""
    pod: str
    by: str
    lines: int
    output: str

    @property
    def wanted(self) -> Wanted:
        """Which findings are asked for."""
        return Wanted(key(self.service), key(self.pod))

    @property
    def end(self) -> float:
        """How long to listen, in seconds."""
        return self.seconds or (float("inf") if self.follow else _USUAL)


class Report(Struct, frozen=True):
    """What a probe found. ``lost`` is what the kernel had no room for."""

    probe: str
    by: str  # the means: bcc, CO-RE (libbpf)
    not_by: list[str]  # why the means that come before are not used
    seconds: float
    lost: int
    left_out: int  # in no row: there were too many sorts
    rows: list[Struct]


def run(name: str, where: tuple[str | None, bool, Path | None], how: How) -> None:
    """Measure, and print it."""
    with plain_errors():
        where = decided(*where)
        scene = Scene(lambda: _look(where), how.node)
        _need_named(how.wanted, scene.cluster)
        with Console(stderr=True).status("loading the program"):  # which bcc compiles before
            means, refused = opened(PROBES[name], how.by)
        try:
            for one in refused:
                say(one, err=True)
            with stopping() as stop:
                say(f"listening {_extent(scene)}{_until(how)}, by {means.title}", err=True)
                found = _measured(
                    MEASURES[name](means, scene, how.wanted), means, refused, how, stop
                )
            _print(found, how)
        finally:
            means.close()


def _need_named(wanted: Wanted, cluster: ClusterState) -> None:
    """Refuse the name of what is not there, of which nothing would ever be heard.

    Without the API's objects nothing is known of names. Raises ClickException.
    """
    if cluster == ClusterState():
        return
    for kind, name, objects_ in (
        ("Service", wanted.service, cluster.services),
        ("Pod", wanted.pod, cluster.pods),
    ):
        if name and all("/".join(one.key) != name for one in objects_):
            raise click.ClickException(f"there is no {kind} {name}: write NAMESPACE/NAME")


def _look(where: tuple[str | None, bool, Path | None]) -> tuple[Ground, ClusterState]:
    found = ground(*where)
    unread: list[str] = []
    cluster = objects(found, unread) or ClusterState()
    for one in unread:
        say(one, err=True)
    return found, cluster


def _extent(scene: Scene) -> str:
    nodes, pods = scene.count
    return f"on {nodes} node{'s' * (nodes != 1)} and {pods} Pod{'s' * (pods != 1)}"


def _until(how: How) -> str:
    ends = "Ctrl-C ends it"
    return f" ({ends})" if how.end == float("inf") else f" for {how.end:g} s ({ends} sooner)"


def _measured(
    measure: Measure, means: Means, refused: list[str], how: How, stop: Event
) -> tuple[Report, Measure]:
    began = time.monotonic()
    with _progress(began, how) as tell:
        ends = False
        while not ends:
            ends = stop.is_set() or time.monotonic() >= began + how.end  # and reads once more
            for one in measure.read():
                _follow(one, how)
            tell(measure.count)
    measure.finish()
    seconds = round(time.monotonic() - began, 3)
    counts = means.lost(), measure.left_out
    rows = [*measure.rows()]
    return Report(measure.probe.name, means.title, refused, seconds, *counts, rows), measure


def _follow(one: Struct, how: How) -> None:
    if not how.follow:
        return
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if how.output == "json":
        say_json({"time": now, **to_builtins(one)}, line=True)
    else:
        say(f"{now} {line(one)}")


def _print(found: tuple[Report, Measure], how: How) -> None:
    report, measure = found
    if how.output == "json" and not how.follow:
        say_json(report)
    elif not how.follow:
        say(tables(report.probe, report.rows, measure.by_service(), how.lines))
    for missing in _missing(report):
        say(missing, err=True)


def _missing(report: Report) -> Iterator[str]:
    if report.lost:
        yield f"{report.lost} were not counted: they came faster than there was room for"
    if report.left_out:
        yield f"{report.left_out} are in no row: there were too many sorts of them"


@contextmanager
def _progress(began: float, how: How) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how much was heard, and how long it goes on."""
    console = Console(stderr=True)
    if not console.is_terminal or how.follow:
        yield lambda _: None
        return
    with console.status("listening") as status:

        def tell(count: int) -> None:
            left = max(began + how.end - time.monotonic(), 0)
            status.update(f"{count} so far, {left:.0f} s left")

        yield tell


@contextmanager
def stopping() -> Iterator[Event]:
    """Let Ctrl-C and SIGTERM set an event: what was heard so far is still told."""
    stop = Event()
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    for one in before:
        signal.signal(one, lambda *_: stop.set())
    try:
        yield stop
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
