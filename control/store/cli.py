"""``podwire store``: what is done with the API server's store while no server runs."""

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from control.store import StoreConfigError, StoreUrlError, open_store
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
    with _errors(f"copy {source} to {target}"):
        count = asyncio.run(_copy(source, target))
    _report(output, {"keys": count}, f"{count} keys of {source} are in {target}")


@main.command()
@click.argument("store")
@click.option(
    "--encryption-provider-config",
    "config",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Upstream's EncryptionConfiguration, as podwire apiserver takes it.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")
def encrypt(store: str, config: Path, output: str) -> None:
    """Write anew what the first key of its resource has not written.

    To encrypt what was there before, or to be done with an old key: put the new key first, and
    leave the old one behind it; restart the API servers; run this; then take the old key away.
    With SQLite the server must not run meanwhile.
    """
    with _errors(f"encrypt {store}"):
        count = asyncio.run(_encrypt(store, config))
    _report(output, {"written": count}, f"{count} values of {store} were written anew")


async def _encrypt(url: str, config: Path) -> int:
    from control.store.encryption.config import load
    from control.store.encryption.store import EncryptedStore

    rules = load(config)
    store = await open_store(url)
    try:
        return await EncryptedStore(store, rules).write_anew()
    finally:
        await store.close()


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except (StoreUrlError, StoreConfigError) as err:
        raise click.UsageError(str(err)) from err
    except StoreError as err:
        raise click.ClickException(f"{doing}: {err}") from err


def _report(output: str, found: dict[str, int], text: str) -> None:
    click.echo(json.dumps(found) if output == "json" else text)


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
