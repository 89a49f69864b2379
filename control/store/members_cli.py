"""The commands ``podwire store members`` and ``remove-member``: who shares an etcd."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import click

from control.store.base import StoreError, StoreUrlError

if TYPE_CHECKING:
    from control.store.etcd.connection import EtcdConnection
    from control.store.etcd.membership import Member

_store = click.argument("store")
_output = click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text")


@click.command("members")
@_store
@_output
def members(store: str, output: str) -> None:
    """List the members of an etcd, and whether each has a vote."""
    with _errors(f"members of {store}"):
        found = asyncio.run(_listed(store))
    rows = [{"name": m.name, "peer": m.peer, "votes": not m.learner} for m in found]
    if output == "json":
        return click.echo(json.dumps(rows))
    for one in found:
        name = one.name or "(has not started)"
        click.echo(f"{name}  {one.peer}  {'learner' if one.learner else 'votes'}")
    return None


@click.command("remove-member")
@_store
@click.argument("name")
@_output
def remove_member(store: str, name: str, output: str) -> None:
    """Remove a member whose machine does not come back, by its NAME or by its peers' URL.

    podwire reset does this for the machine on which it runs.
    """
    with _errors(f"remove member {name} of {store}"):
        was, names = asyncio.run(_removed(store, name))
    if output == "json":
        return click.echo(json.dumps({"removed": [name] if was else [], "members": names}))
    said = "is removed" if was else "is not there"
    return click.echo(f"member {name} {said}; members: {', '.join(names)}")


async def _listed(store: str) -> "tuple[Member, ...]":
    from control.store.etcd import membership

    async with _connected(store) as connection:
        return await membership.listed(connection)


async def _removed(store: str, name: str) -> tuple[bool, list[str]]:
    """Remove a member; return whether it was there, and who stays."""
    from control.store.etcd import membership

    async with _connected(store) as connection:
        found = await membership.listed(connection)
        gone = [each for each in found if name in (each.name, each.peer)]
        for each in gone:
            await membership.remove(connection, each)
        return bool(gone), [each.name or each.peer for each in found if each not in gone]


@asynccontextmanager
async def _connected(store: str) -> "AsyncIterator[EtcdConnection]":
    from control.store.etcd.connection import EtcdConnection
    from control.store.etcd.connection import members as parsed

    scheme, _, rest = store.partition(":")
    if scheme != "etcd":
        raise StoreUrlError(f"store {store!r} has no members: want etcd:https://HOST:PORT,...")
    connection = EtcdConnection(parsed(rest))
    try:
        yield connection
    finally:
        connection.close()


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    try:
        yield
    except StoreUrlError as err:
        raise click.UsageError(str(err)) from err
    except StoreError as err:
        raise click.ClickException(f"{doing}: {err}") from err
