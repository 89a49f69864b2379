"""``podwire dns``: reads flags and runs the server."""

import sys
from pathlib import Path
from typing import Any

import click

from control.client import Client, ClientConfig
from control.client.process import client_flags, configuration, run
from control.dns.names import BadNameError, Name, parse
from control.dns.serve import serve
from control.dns.settings import FlagError, Settings, bind

_MOST_DOMAIN = 100  # bytes: a hostname, a Service and a Namespace have to fit before it


@click.command()
@client_flags
@click.option(
    "--listen",
    multiple=True,
    help="ADDRESS:PORT for UDP and TCP; repeatable.  [default: :53, without --listen-fd]",
)
@click.option(
    "--listen-fd",
    type=click.IntRange(3),
    multiple=True,
    help="An inherited socket, UDP or listening TCP; repeatable. Several servers may share it.",
)
@click.option("--cluster-domain", default="cluster.local", show_default=True)
@click.option(
    "--ttl",
    type=click.IntRange(0, 3600),
    default=5,
    show_default=True,
    help="Seconds for which clients may keep an answer.",
)
@click.option("--health-bind-address", default=":8080", show_default=True, help="Of /health.")
@click.option("--ready-bind-address", default=":8181", show_default=True, help="Of /ready.")
@click.option("--metrics-bind-address", default=":9153", show_default=True, help="Of /metrics.")
@click.option("--answer-log", is_flag=True, help="Log each query and its answer.")
def main(kubeconfig: Path, verbose: bool, **flags: Any) -> None:
    """Answer the names of the cluster's Services and Pods, as CoreDNS does."""
    try:
        settings = from_flags(flags)
    except FlagError as err:
        raise click.UsageError(str(err)) from err
    try:
        run(_serve(configuration(kubeconfig), settings), verbose=verbose)
    except* OSError as group:
        sys.exit(f"podwire dns: {group.exceptions[0]}")


async def _serve(config: ClientConfig, settings: Settings) -> None:
    async with Client(config) as client:
        await serve(client, settings)


def from_flags(flags: dict[str, Any]) -> Settings:
    """Return the settings; raises FlagError."""
    listen = flags["listen"] or (() if flags["listen_fd"] else (":53",))
    return Settings(
        _domain(flags["cluster_domain"]),
        flags["ttl"],
        tuple(bind("--listen", text) for text in listen),
        flags["listen_fd"],
        {
            f"/{page}": bind(f"--{page}-bind-address", flags[f"{page}_bind_address"])
            for page in ("health", "ready", "metrics")
        },
        flags["answer_log"],
    )


def _domain(text: str) -> Name:
    try:
        name = parse(text)
    except BadNameError as err:
        raise FlagError(f"--cluster-domain: {err}") from err
    if not 1 < len(name) <= _MOST_DOMAIN:
        raise FlagError(f"--cluster-domain {text}: want a domain of at most {_MOST_DOMAIN} bytes")
    return name
