"""The commands of ``podwire cni``."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NoReturn

import click

from cni_plugin.admin import install as installer
from cni_plugin.admin.inventory import (
    Attachment,
    attached,
    check_input,
    collect_input,
    live,
    networks,
    read_cache,
)
from cni_plugin.admin.standalone import PROGRAM, put_client
from cni_plugin.ipam.store import DEFAULT_DATA_DIR
from cni_plugin.linux.files import put
from cni_plugin.linux.host import Host, open_namespace, read_boot_id
from cni_plugin.linux.namespace import Namespace
from cni_plugin.server.daemon import SocketInUseError, serve
from cni_plugin.server.leave import DEFAULT_SOCKET, left_socket
from cni_plugin.server.lingering import dismiss
from cni_plugin.spec.names import is_identifier, is_link_name
from cni_plugin.verbs.answer import answer

_DIRECTORY = click.Path(file_okay=False, path_type=Path)


def _validated(test: Any, noun: str) -> Any:
    def check(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        del ctx, param
        for item in value if isinstance(value, tuple) else (value,):
            if not test(item):
                raise click.BadParameter(f"{item!r} is no {noun}")
        return value

    return check


def _is_subnet(text: str) -> bool:
    try:
        network = ip_network(text)
    except ValueError:
        return False
    return network.prefixlen <= network.max_prefixlen - 2


_data_dir = click.option(
    "--data-dir",
    default=DEFAULT_DATA_DIR,
    show_default=True,
    type=_DIRECTORY,
    help="Folder of the reservations (ipam.dataDir).",
)
_cache_dir = click.option(
    "--cache-dir",
    default="/var/lib/cni/results",
    show_default=True,
    type=_DIRECTORY,
    help="libcni's result cache.",
)
_output = click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")


@click.group(name="cni")
def main() -> None:
    """The CNI plugin."""


@main.command("serve")
@click.option(
    "--socket",
    "path",
    default=DEFAULT_SOCKET,
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Unix socket on which the server listens.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log each request.")
def serve_command(path: Path, *, verbose: bool) -> None:
    """Answer the requests of podwire-cni until SIGTERM."""
    logging.basicConfig(
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        level=logging.INFO if verbose else logging.WARNING,
    )
    try:
        serve(path, read_boot_id())
    except (SocketInUseError, OSError) as err:
        _fail("serve", err)


@main.command()
@click.option("--bin-dir", default="/opt/cni/bin", show_default=True, type=_DIRECTORY)
@click.option("--conf-dir", default="/etc/cni/net.d", show_default=True, type=_DIRECTORY)
@click.option(
    "--name",
    default="podwire",
    show_default=True,
    callback=_validated(is_identifier, "network name"),
)
@click.option(
    "--bridge",
    default="podwire0",
    show_default=True,
    callback=_validated(is_link_name, "interface name"),
)
@click.option(
    "--subnet",
    "subnets",
    multiple=True,
    default=("10.77.0.0/16",),
    show_default=True,
    callback=_validated(_is_subnet, "subnet with room for containers"),
    help="Repeatable: each container gets an address of each subnet.",
)
@click.option(
    "--mtu", default=0, type=click.IntRange(0, 65535), help="0: the MTU of the host's uplinks."
)
@click.option("--masquerade/--no-masquerade", default=True, show_default=True)
@click.option(
    "--no-conf", is_flag=True, help="Install the program only, without a network configuration."
)
def install(
    bin_dir: Path,
    conf_dir: Path,
    name: str,
    bridge: str,
    subnets: tuple[str, ...],
    mtu: int,
    *,
    masquerade: bool,
    no_conf: bool,
) -> None:
    """Install podwire-cni as a plugin of a container runtime, with a network configuration."""
    conf = installer.network_list(name, bridge, subnets, ip_masq=masquerade, mtu=mtu)
    program, network = bin_dir / PROGRAM, conf_dir / f"10-{name}.conflist"
    try:
        put_client(program)
        click.echo(program)
        if loopback := installer.put_loopback(bin_dir):
            click.echo(loopback)
        if not no_conf:
            put(network, json.dumps(conf, indent=2).encode() + b"\n", 0o644)
            click.echo(network)
            for problem in installer.overlapping(subnets, conf_dir, network):
                click.echo(
                    f"podwire cni install: warning: {problem}: containers of both could get the "
                    "same address; --subnet names another",
                    err=True,
                )
    except OSError as err:
        _fail("install", err)


@main.command()
@click.option("--bin-dir", default="/opt/cni/bin", show_default=True, type=_DIRECTORY)
@click.option("--conf-dir", default="/etc/cni/net.d", show_default=True, type=_DIRECTORY)
@_data_dir
@_cache_dir
@click.option("--force", is_flag=True, help="Also while containers are attached.")
def uninstall(
    bin_dir: Path, conf_dir: Path, data_dir: Path, cache_dir: Path, *, force: bool
) -> None:
    """Remove the program and its network configurations, unless containers are attached.

    For those the runtime would then send no DEL, or send it to another network.
    """
    with _reported("uninstall"):
        networks_left = set(installer.own_lists(conf_dir).values())
        found = [] if force else live(_attached(data_dir, cache_dir), networks_left)
    if found:
        click.echo(
            "podwire cni uninstall: containers are attached: stop them first, or use --force; "
            "then nobody removes their interfaces and rules, and frees their addresses",
            err=True,
        )
        for item in found:
            click.echo(f"  {' '.join(item.key)} {','.join(item.addresses)}".rstrip(), err=True)
        sys.exit(1)
    try:
        for path in installer.remove(bin_dir, conf_dir):
            click.echo(f"removed {path}")
        if dismiss(left_socket(os.environ)):
            click.echo("ended the server that a call has left behind")
    except OSError as err:
        _fail("uninstall", err)


@main.command("list")
@_data_dir
@_cache_dir
@_output
def list_command(data_dir: Path, cache_dir: Path, output: str) -> None:
    """List the attachments, with their addresses, and if they are alive."""
    with _reported("list"):
        found = _attached(data_dir, cache_dir)
    if output == "json":
        click.echo(json.dumps([asdict(item) for item in found], indent=2))
        return
    rows = [
        (
            item.network,
            item.container_id,
            item.ifname or "-",
            ",".join(item.addresses) or "-",
            item.host_link or "-",
            "yes" if item.alive else "no",
        )
        for item in found
    ]
    _table(("NETWORK", "CONTAINER", "INTERFACE", "ADDRESSES", "HOST LINK", "ALIVE"), rows)


@main.command()
@_data_dir
@_cache_dir
@click.option("--dry-run", is_flag=True, help="Only print what would be removed.")
def gc(data_dir: Path, cache_dir: Path, *, dry_run: bool) -> None:
    """Remove what is left of attachments that no longer exist.

    An attachment no longer exists if its interface is missing, libcni's cache has no existing
    namespace for it, and its reservation is older than a minute.
    """
    with _reported("gc"):
        found = _attached(data_dir, cache_dir)
    for item in found:
        if not item.alive:
            verb = "would remove" if dry_run else "removing"
            click.echo(f"{verb} {' '.join(item.key)} {','.join(item.addresses)}".rstrip())
    failed = False
    for network in networks(data_dir, found) if not dry_run else ():
        stdin = collect_input(network, data_dir, found)
        environment = {"CNI_COMMAND": "GC", "CNI_PATH": "/"}
        failed |= not _collect(environment, stdin, network)
    sys.exit(1 if failed else 0)


@main.command()
@_cache_dir
@_output
def check(cache_dir: Path, output: str) -> None:
    """CHECK every attachment of libcni's cache. The exit code is 1 if one of them fails."""
    rows = []
    with _reported("check"):
        cache = read_cache(cache_dir)
    for cached in cache:
        environment, stdin = check_input(cached)
        host = Host(Path("/"), open_namespace(cached.netns), read_boot_id())
        plugin_answer = answer(environment, stdin, host)
        error = json.loads(plugin_answer.stdout) if plugin_answer.code else {}
        rows.append((*cached.key, error.get("details") or error.get("msg") or "ok"))
    if output == "json":
        keys = ("network", "container_id", "ifname", "state")
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
    else:
        _table(("NETWORK", "CONTAINER", "INTERFACE", "STATE"), rows)
    sys.exit(1 if any(row[-1] != "ok" for row in rows) else 0)


def _attached(data_dir: Path, cache_dir: Path) -> list[Attachment]:
    with Namespace() as host_ns:
        return attached(data_dir, read_cache(cache_dir), host_ns.links())


def _collect(environment: dict[str, str], stdin: bytes, network: str) -> bool:
    plugin_answer = answer(environment, stdin, Host(Path("/"), None, read_boot_id()))
    if plugin_answer.code:
        error = json.loads(plugin_answer.stdout)
        click.echo(f"podwire cni: {network}: {error['msg']}: {error.get('details', '')}", err=True)
    return not plugin_answer.code


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    for row in (heads, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@contextmanager
def _reported(command: str) -> Iterator[None]:
    """Print an OSError of the block as one line and exit: half a list would look complete."""
    try:
        yield
    except OSError as err:
        _fail(command, err)


def _fail(command: str, err: Exception) -> NoReturn:
    click.echo(f"podwire cni {command}: {_in_words(err)}", err=True)
    sys.exit(1)


def _in_words(err: Exception) -> str:
    if not isinstance(err, OSError) or not err.strerror:
        return str(err)
    text = f"{err.filename}: {err.strerror}" if err.filename else err.strerror
    return f"{text}: root can do this (sudo)" if isinstance(err, PermissionError) else text
