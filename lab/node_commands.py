"""Carries out the commands of ``podwire lab node``, which lab/node_cli.py declares.

Each imports what it needs when it needs it: half of the time of ``add`` was imports.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
from rich.console import Console

from lab import join, members
from lab.report import Steps
from lab.requests import wait_ready
from lab.shared import need_root, plain_errors, running
from lab.spec import LabSpec
from lab.state import LabDir


@contextmanager
def _changing(name: str) -> Iterator[tuple[LabDir, LabSpec]]:
    """Give a running lab, which no other command changes meanwhile."""
    need_root()
    lab, _ = running(name)
    with plain_errors(), lab.changing():
        yield running(name)


def add(
    name: str, names: tuple[str, ...], labels: tuple[str, ...], taints: tuple[str, ...], zone: str
) -> None:
    """Add nodes, and wait until they are ready."""
    steps = Steps(Console())
    with _changing(name) as (lab, spec):
        added = members.new_nodes(spec, names, labels, taints, zone)
        join.add_nodes(lab, spec, added, steps)
    titles = ", ".join(node.name for node in added)
    click.echo(f"lab {name}: {titles} joined after {steps.elapsed:.1f} s")


def add_hollow(name: str, count: int) -> None:
    """Add hollow nodes, and wait until they are ready."""
    steps = Steps(Console())
    with _changing(name) as (lab, spec):
        join.add_hollow(lab, spec, members.more_hollow(spec, count), steps)
    click.echo(f"lab {name}: {count} hollow nodes joined after {steps.elapsed:.1f} s")


def stop(name: str, names: tuple[str, ...]) -> None:
    """Switch machines off."""
    from lab import halt

    with _changing(name) as (lab, spec):
        _require(spec, names)
        halt.stop_machines(lab, spec, names)
    click.echo(f"lab {name}: stopped {', '.join(names)}")


def start(name: str, names: tuple[str, ...]) -> None:
    """Start machines, and wait until the nodes among them are ready."""
    began, steps = time.time(), Steps(Console())
    with _changing(name) as (lab, spec):
        _require(spec, names)
        for each in names:
            spec = join.start_again(lab, spec, each)
        if nodes := [each for each in names if each not in spec.controls]:
            with steps.step("nodes ready") as say:
                wait_ready(lab, nodes, say, since=began)
    click.echo(f"lab {name}: {', '.join(names)} runs again")


def _require(spec: LabSpec, names: Sequence[str]) -> None:
    """Refuse machines that can not be switched off and on alone; raises LabSpecError."""
    for name in names:
        if not (spec.is_balanced and name in spec.controls):
            spec.node(name)


def remove(name: str, names: tuple[str, ...], *, force: bool, timeout: float) -> None:
    """Drain nodes, end them, and remove all of them."""
    from lab import leave

    steps = Steps(Console())
    for each in names:
        with _changing(name) as (lab, spec):
            spec.node(each)
            if not force:
                with steps.step(f"drain {each}") as say:
                    leave.drain(lab, each, timeout, say)
            leave.remove_node(lab, spec, each)
        click.echo(f"lab {name}: removed {each}")
