"""Declares ``podwire break``, ``podwire heal`` and ``podwire lesson``; others carry them out."""

from typing import Any

import click

from lab.completion import complete_node
from lab.options import name_option, output_option


def complete_fault(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Complete the names of faults."""
    from debug.faults.table import FAULTS

    return [name for name in FAULTS if name.startswith(incomplete)]


_node = click.option(
    "--node", default="", shell_complete=complete_node, help="Of this node, else of the first."
)
_wishes = (
    _node,
    click.option("--service", default="", metavar="[NAMESPACE/]NAME", help="This Service."),
    click.option("--pod", default="", metavar="[NAMESPACE/]NAME", help="This Pod."),
    click.option(
        "--for",
        "lasting",
        default="10m",
        show_default=True,
        metavar="TIME",
        help="Heal it after this time: 30s, 10m, 2h.",
    ),
    click.option(
        "--no-hold",
        "hold",
        is_flag=True,
        default=True,
        flag_value=False,
        help="Do not pause the part of podwire that would repair it.",
    ),
)


def _wished(command: Any) -> Any:
    for option in reversed(_wishes):
        command = option(command)
    return command


@click.command("break")
@click.argument("fault", required=False, default="", shell_complete=complete_fault)
@name_option
@_wished
@click.option("--list", "listed", is_flag=True, help="List all faults, and what is broken now.")
@output_option
def break_(**options: Any) -> None:
    """Break something in a lab, on purpose, for a time.

    FAULT is a name of `podwire break --list`. What was there before is recorded, and comes back
    with `podwire heal`, or by itself in time. Nothing outside the lab is touched.
    """
    from debug.faults import commands

    commands.break_(**options)


@click.command()
@click.argument("fault", required=False, default="", shell_complete=complete_fault)
@name_option
@click.option("--node", default="", shell_complete=complete_node, help="Only on this node.")
@click.option("--all", "every", is_flag=True, help="Heal everything that is broken.")
@output_option
def heal(**options: Any) -> None:
    """Take back what `podwire break` did; without a name, list what is broken."""
    from debug.faults import commands

    commands.heal(**options)


@click.command()
@click.argument("fault", required=False, default="", shell_complete=complete_fault)
@name_option
@_wished
@click.option("--show", is_flag=True, help="Print all of the lesson, and break nothing.")
@output_option
def lesson(**options: Any) -> None:
    """Break something, and let you find out what; then tell, and heal.

    Without FAULT, list the lessons. Hints come one after the other, when you ask for them.
    """
    from debug.faults import lessons

    lessons.lesson(**options)
