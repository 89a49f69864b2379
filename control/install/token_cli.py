"""The commands ``podwire token create``, ``list``, ``delete`` and ``generate``."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from control.client import Client
from control.install import cluster, control_plane, credentials
from control.install.layout import InstallError, Layout
from control.install.options import HELP, life, output_option, reported, table
from control.jointokens import (
    NODE_GROUP,
    USAGES,
    JoinToken,
    TokenSecret,
    check_groups,
    check_usages,
    filter_empty,
    token_id,
)


@click.group(context_settings=HELP)
def token() -> None:
    """The tokens by which nodes join."""


_kubeconfig = click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Layout().admin,
    show_default=True,
)


@token.command("create", context_settings=HELP)
@click.argument("text", metavar="[TOKEN]", default="")
@click.option(
    "--ttl", default="24h", show_default=True, help="Its life, as 30m or 2h; 0 has no end."
)
@click.option("--usages", default=",".join(USAGES), show_default=True)
@click.option("--groups", default=NODE_GROUP, show_default=True)
@click.option("--description", default="")
@click.option("--print-join-command", is_flag=True, help="Print the whole command of a new node.")
@_kubeconfig
@output_option
def create(kubeconfig: Path, text: str, output: str, **flags: Any) -> None:
    """Create a token, or renew the one that is given."""
    with reported("token"):
        made = JoinToken.parse(text) if text else JoinToken.generate()
        ttl = life(flags["ttl"])
        secret = TokenSecret(
            made,
            check_usages(filter_empty(flags["usages"])),
            check_groups(filter_empty(flags["groups"])),
            datetime.now(UTC) + ttl if ttl else None,
            flags["description"],
        )
        command = asyncio.run(_create(kubeconfig, secret))
    if output == "json":
        return click.echo(json.dumps(_row(secret) | {"joinCommand": command}, indent=2))
    return click.echo(command if flags["print_join_command"] else str(made))


async def _create(kubeconfig: Path, secret: TokenSecret) -> str:
    async with Client.from_kubeconfig(kubeconfig) as client:
        if client.config.ca is None:
            raise InstallError(f"{kubeconfig} has no authority, by which nodes know the cluster")
        digest = credentials.authority_hash(client.config.ca)
        await cluster.create_token(client, secret)
        server = client.config.server.removeprefix("https://")
    return control_plane.Joining(server, str(secret.token), digest).command


@token.command("list", context_settings=HELP)
@_kubeconfig
@output_option
def list_tokens(kubeconfig: Path, output: str) -> None:
    """List the tokens."""
    with reported("token"):
        found = asyncio.run(_with(kubeconfig, cluster.tokens))
    rows = [_row(each) for each in found]
    if output == "json":
        return click.echo(json.dumps(rows, indent=2))
    head = ("TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS")
    lines = [head, *(tuple(_cell(each[key]) for key in _COLUMNS) for each in rows)]
    return click.echo(table(lines))


_COLUMNS = ("token", "ttl", "expires", "usages", "description", "groups")


def _row(held: TokenSecret) -> dict[str, Any]:
    left = held.expires - datetime.now(UTC) if held.expires else None
    return {
        "token": str(held.token),
        "ttl": "<forever>" if left is None else _short(left),
        "expires": "<never>"
        if held.expires is None
        else held.expires.isoformat(timespec="seconds"),
        "usages": [usage for usage in USAGES if usage in held.usages],
        "description": held.description,
        "groups": list(held.groups),
    }


def _cell(value: Any) -> str:
    text = ",".join(value) if isinstance(value, list) else str(value)
    return text or "<none>"


def _short(left: timedelta) -> str:
    seconds = int(left.total_seconds())
    if seconds < 0:
        return "<invalid>"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


@token.command("delete", context_settings=HELP)
@click.argument("texts", metavar="TOKEN|ID…", nargs=-1, required=True)
@_kubeconfig
@output_option
def delete(kubeconfig: Path, texts: tuple[str, ...], output: str) -> None:
    """Delete tokens; one that is not there is deleted already."""
    with reported("token"):
        ids = [token_id(text) for text in texts]
        done = asyncio.run(_with(kubeconfig, lambda client: _delete(client, ids)))
    if output == "json":
        return click.echo(json.dumps(done, indent=2))
    for name, was in done.items():
        click.echo(f'bootstrap token "{name}" {"deleted" if was else "is not there"}')
    return None


async def _delete(client: Client, ids: list[str]) -> dict[str, bool]:
    return {name: await cluster.delete_token(client, name) for name in ids}


async def _with(kubeconfig: Path, act: Callable[[Client], Any]) -> Any:
    async with Client.from_kubeconfig(kubeconfig) as client:
        return await act(client)


@token.command("generate", context_settings=HELP)
@output_option
def generate(output: str) -> None:
    """Print a random token, without creating it."""
    made = str(JoinToken.generate())
    click.echo(json.dumps({"token": made}, indent=2) if output == "json" else made)
