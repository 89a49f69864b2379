"""``podwire store``: what is done with the API server's store beside the server."""

import asyncio
import dataclasses
import json
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from control.store import StoreConfigError, StoreUrlError, file_of, open_store
from control.store.base import StoreError, StoreUnavailableError
from control.store.members_cli import members, remove_member

if TYPE_CHECKING:
    from control.store.keep import Written


_output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Move the API server's store; a STORE is what podwire apiserver --store takes."""


@main.command()
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@_output
def copy(source: str, target: str, output: str) -> None:
    """Copy a store into an empty one: from SQLite to etcd, back, or into a file to keep.

    Stop the API servers first, copy, then start them with the new --store. Pods go on running:
    objects keep their UIDs, and clients list once more. The old store is not changed.
    """
    with _errors(f"copy {source} to {target}"):
        count = asyncio.run(_telling(_copy(source, target)))
    _report(output, {"keys": count}, f"{count} keys of {source} are in {target}")


@main.command()
@click.argument("store")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_output
def snapshot(store: str, file: Path, output: str) -> None:
    """Write a store into a FILE to keep, as it is at one moment; servers may run.

    Of SQLite the file is a store, too; of etcd it is what etcdctl snapshot save writes. It has all
    Secrets, and only its owner may read it.
    """
    from control.store import keep

    with _errors(f"snapshot of {store}"):
        size = asyncio.run(_telling(keep.snapshot(store, file, _tell)))
    _report(output, {"bytes": size}, f"{store} is in {file}: {size} bytes")


@main.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("store")
@click.option("--prefix", default="", help="What keys in a snapshot of etcd begin with.")
@_output
def restore(file: Path, store: str, prefix: str, output: str) -> None:
    """Put a snapshot into an empty store of any kind; no server may run on it."""
    from control.store import keep

    with _errors(f"restore {file} to {store}"):
        count = asyncio.run(_telling(keep.restore(file, store, prefix, _tell)))
    _report(output, {"keys": count}, f"{count} keys of {file} are in {store}")


@main.command()
@click.argument("store")
@_output
def defrag(store: str, output: str) -> None:
    """Give the disk back what compaction has freed.

    Each member of etcd answers nobody meanwhile; with SQLite the server must not run.
    """
    with _errors(f"defrag {store}"):
        found = asyncio.run(_defragmented(store))
    if output == "json":
        return click.echo(json.dumps([dataclasses.asdict(one) for one in found]))
    for one in found:
        click.echo(f"{one.name}: {one.before} bytes before, {one.after} after")
    return None


@main.command()
@click.argument("store")
@_output
def upgrade(store: str, output: str) -> None:
    """Bring a store to the format of this podwire; the API server does it at its start, too."""
    with _errors(f"upgrade {store}"):
        had, has = asyncio.run(_upgraded(store))
    text = f"has format {has} already" if had == has else f"had format {had}, and has {has}"
    _report(output, {"from": had, "to": has}, f"{store} {text}")


@main.command()
@click.argument("store")
@click.option(
    "--encryption-provider-config",
    "config",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Upstream's EncryptionConfiguration, as podwire apiserver takes it.",
)
@_output
def encrypt(store: str, config: Path, output: str) -> None:
    """Write anew what the first key of its resource has not written.

    To encrypt what was there before, or to be done with an old key: put the new key first, and
    leave the old one behind it; restart the API servers; run this; then take the old key away.
    With SQLite the server must not run meanwhile.
    """
    with _errors(f"encrypt {store}"):
        count = asyncio.run(_encrypt(store, config))
    _report(output, {"written": count}, f"{count} values of {store} were written anew")


main.add_command(members)
main.add_command(remove_member)


async def _telling(work: Coroutine[Any, Any, int]) -> int:
    """Carry out what tells its progress, and end that line."""
    try:
        return await work
    finally:
        _end_line()


async def _defragmented(url: str) -> list["Written"]:
    from control.store.keep import defragment

    return [one async for one in defragment(url)]


async def _upgraded(url: str) -> tuple[int, int]:
    from control.store.format import FORMAT
    from control.store.format import upgrade as upgraded

    if (path := file_of(url)) is not None and not path.is_file():
        raise StoreUnavailableError(f"store {path}: there is no such file")
    store = await open_store(url)
    try:
        return await upgraded(store), FORMAT
    finally:
        await store.close()


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
    from control.store.format import format_of

    old = await open_store(source)
    try:
        await format_of(old)
        new = await open_store(target)
        try:
            return await copied(old, new, _tell)
        finally:
            await new.close()
    finally:
        await old.close()


def _tell(what: str, done: int, of: int) -> None:
    """Show on a terminal how far it is."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{what}: {done}" + (f" of {of}" if what != "keys" else ""))
        sys.stderr.flush()


def _end_line() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
