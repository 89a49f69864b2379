"""``podwire snapshot FILE``."""

from pathlib import Path

import click

from debug.options import ground, ground_options
from debug.output import say
from debug.snapshot import save, take
from lab.shared import plain_errors


@click.command("snapshot")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@ground_options
def main(name: str | None, here: bool, kubeconfig: Path | None, file: Path) -> None:
    """Write what explain, doctor and drift read of a cluster to FILE, which only you can read.

    Give it to them with --snapshot, on another machine too. Secrets, tokens and environments of
    containers are not in it; names, labels, addresses, rules and connections are.
    """
    with plain_errors():
        snapshot = take(ground(name, here, kubeconfig), machines=True, rules=True)
        save(snapshot, file)
        for line in snapshot.unread:
            say(f"not read: {line}", err=True)
    say(f"{len(snapshot.spaces)} network namespaces are in {file}")
