"""``podwire doctor``."""

import sys
from functools import partial
from pathlib import Path

import click

from debug.doctor.examine import confirmed, examine, exit_code, is_moving
from debug.doctor.look import look_at
from debug.doctor.proof import prove
from debug.doctor.show import lines
from debug.doctor.table import ALSO, CHECKS
from debug.options import ground, ground_options, output_option, snapshot_option
from debug.output import say, say_json
from debug.snapshot import Snapshot, load, take
from lab.shared import plain_errors


def seen(name: str | None, here: bool, kubeconfig: Path | None, file: Path | None) -> Snapshot:
    """Return a snapshot file's, or a new one of what the options name."""
    if file is None:
        return take(ground(name, here, kubeconfig), machines=True)
    if name or here or kubeconfig:
        raise click.UsageError("--snapshot is read instead of a cluster: name no cluster beside it")
    return load(file)


@click.command("doctor", epilog="Exit code: 0 well, 1 a warning, 2 a fail.")
@ground_options
@snapshot_option
@click.option("--node", default="", help="Check this node only.")
@click.option(
    "--check",
    "checks",
    multiple=True,
    metavar="CHECK",  # all names would be one word, which no page could break
    type=click.Choice([*dict.fromkeys((*CHECKS, *ALSO))]),
    help="Only this one; repeatable. docs/debug/doctor.md lists them.",
)
@click.option("--all", "every", is_flag=True, help="Show what is well, too, with what was read.")
@click.option("--proof", is_flag=True, help="Send a packet that proves each fail, where one can.")
@output_option
def main(
    name: str | None,
    here: bool,
    kubeconfig: Path | None,
    file: Path | None,
    node: str,
    checks: tuple[str, ...],
    every: bool,
    proof: bool,
    output: str,
) -> None:
    """Say what is wrong with a cluster's network, why, and what to do.

    Each finding is ok, warn, fail or unknown, with what was read and where. Nothing is changed.
    With --proof a fail's packet is sent, from inside a Pod or node: pings and connections.
    """
    with plain_errors():
        look = partial(seen, name, here, kubeconfig, file)
        snapshot = look()
        if node and all(one.node != node for one in snapshot.spaces):
            known = ", ".join(sorted({one.node for one in snapshot.spaces}))
            raise click.UsageError(f"no node {node} was read: there are {known}")
        findings = examine(snapshot, node, checks)
        if file is None and is_moving(findings):
            snapshot = look()
            findings = confirmed(findings, examine(snapshot, node, checks))
        if proof:
            if file:
                raise click.UsageError(
                    "--proof sends packets, for which a --snapshot has no network"
                )
            place = ground(name, here, kubeconfig)
            findings = tuple(prove(place, look_at(snapshot), findings))
        if output == "json":
            say_json(findings)
        else:
            for line in lines(findings, every=every):
                say(line)
    sys.exit(exit_code(findings))
