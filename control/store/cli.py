"""``podwire store``: what is done with the API server's store while no server runs."""

import asyncio
import sys

import click

from control.store import StoreUrlError, open_store
from control.store.base import StoreError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Move the API server's store; a STORE is what podwire apiserver --store takes."""


@main.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def copy(source: str, target: str, output: str) -> None:
    """Copy a store into an empty one: from SQLite to etcd, back, or into a file to keep.

    Stop the API servers first, copy, then start them with the new --store. Pods go on running:
    objects keep their UIDs, and clients list once more. The old store is not changed.
    """
    try:
        count = asyncio.run(_copy(source, target))
    except StoreUrlError as err:
        raise click.UsageError(str(err)) from err
    except StoreError as err:
        raise click.ClickException(f"copy {source} to {target}: {err}") from err
    if output == "json":
        click.echo(f'{{"keys": {count}}}')
    else:
        click.echo(f"{count} keys of {source} are in {target}")


async def _copy(source: str, target: str) -> int:
    from control.store.copy import copy as copied

    old = await open_store(source)
    try:
        new = await open_store(target)
        try:
            return await copied(old, new, _tell)
        finally:
            await new.close()
            _end_line()
    finally:
        await old.close()


def _tell(what: str, done: int, of: int) -> None:
    """Show on a terminal how far it is."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{what}: {done}" + (f" of {of}" if what == "revisions" else ""))
        sys.stderr.flush()


def _end_line() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
