"""Carries out ``podwire map``."""

from pathlib import Path

import click
import msgspec
from rich.console import Console

from debug import snapshot as snapshots
from debug.map import text
from debug.map.topology import topology as make
from debug.options import ground
from debug.snapshot import Snapshot
from lab.shared import plain_errors

Ground = tuple[str | None, bool, Path | None]  # of the options


def topology(options: Ground, path: Path | None, output: str) -> None:
    """Print the topology of a cluster or of a snapshot's file."""
    with plain_errors():
        graph = make(taken(options, path))
    if output == "json":
        click.echo(msgspec.json.encode(graph))
    else:
        Console(soft_wrap=True, highlight=False).print(text.draw(graph))


def taken(options: Ground, path: Path | None) -> Snapshot:
    """Return a snapshot: of a file, or taken now. Raises ReportedError, OSError."""
    if path is not None:
        return snapshots.load(path)
    return snapshots.take(ground(*options))
