"""``podwire dns``: reads flags and runs the server."""

import resource
import sys
from pathlib import Path
from typing import Any

import click

from control.client import Client, ClientConfig
from control.client.process import client_flags, configuration, run
from control.dns.names import BadNameError, Name, parse
from control.dns.serve import serve
from control.dns.settings import FlagError, Settings, UpstreamSettings, bind
from control.dns.upstream.forwarder import POLICIES
from control.dns.upstream.routes import RouteError, nameservers, read_routes
from control.dns.zone import POD_MODES

_MOST_FILES = 4096  # above MOST_WAITING and MOST_CONNECTIONS
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
@click.option(
    "--upstream",
    multiple=True,
    metavar="ADDRESS[:PORT]|FILE",
    help="A resolver for names outside the cluster, or a resolv.conf file; repeatable.",
)
@click.option(
    "--stub-domain",
    multiple=True,
    metavar="DOMAIN=ADDRESS[:PORT][,...]",
    help="Who is asked for the names below a domain; repeatable.",
)
@click.option(
    "--upstream-policy",
    type=click.Choice(list(POLICIES)),
    default="random",
    show_default=True,
    help="The order in which several resolvers are asked.",
)
@click.option(
    "--cache-ttl",
    type=click.IntRange(0, 3600),
    default=30,
    show_default=True,
    help="Most seconds for which a resolver's replies are kept; 0 keeps none.",
)
@click.option("--health-bind-address", default=":8080", show_default=True, help="Of /health.")
@click.option("--ready-bind-address", default=":8181", show_default=True, help="Of /ready.")
@click.option("--metrics-bind-address", default=":9153", show_default=True, help="Of /metrics.")
@click.option(
    "--pods",
    type=click.Choice(POD_MODES),
    default=POD_MODES[0],
    show_default=True,
    help="Whether 10-1-2-3.NAMESPACE.pod has a record: in any Namespace, if there is such a Pod, "
    "or never.",
)
@click.option(
    "--endpoint-pod-names",
    is_flag=True,
    help="Name an endpoint without a hostname after its Pod, not after its address.",
)
@click.option("--answer-log", is_flag=True, help="Log each query and its answer.")
def main(kubeconfig: Path, verbose: bool, **flags: Any) -> None:
    """Answer the names of the cluster's Services and Pods, as CoreDNS does."""
    try:
        settings = from_flags(flags)
    except FlagError as err:
        raise click.UsageError(str(err)) from err
    _allow_sockets()
    try:
        run(_serve(configuration(kubeconfig), settings), verbose=verbose)
    except* OSError as group:
        sys.exit(f"podwire dns: {group.exceptions[0]}")


async def _serve(config: ClientConfig, settings: Settings) -> None:
    async with Client(config) as client:
        await serve(client, settings)


def _allow_sockets() -> None:
    """Let the process have a socket for each question that waits for a resolver."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(_MOST_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


def from_flags(flags: dict[str, Any]) -> Settings:
    """Return the settings; raises FlagError."""
    domain = _domain(flags["cluster_domain"])
    listen = flags["listen"] or (() if flags["listen_fd"] else (":53",))
    return Settings(
        domain,
        flags["ttl"],
        tuple(bind("--listen", text) for text in listen),
        flags["listen_fd"],
        {
            f"/{page}": bind(f"--{page}-bind-address", flags[f"{page}_bind_address"])
            for page in ("health", "ready", "metrics")
        },
        flags["answer_log"],
        flags["pods"],
        flags["endpoint_pod_names"],
        _upstream(flags, domain),
    )


def _upstream(flags: dict[str, Any], domain: Name) -> UpstreamSettings:
    try:
        upstreams = [each for text in flags["upstream"] for each in _addresses(text)]
        routes = read_routes(upstreams, flags["stub_domain"], domain)
    except RouteError as err:
        raise FlagError(f"--upstream or --stub-domain: {err}") from err
    return UpstreamSettings(tuple(routes), flags["upstream_policy"], flags["cache_ttl"])


def _addresses(text: str) -> list[str]:
    """Return the resolvers of a file with a '/' in its path; other text is an address."""
    if "/" not in text:
        return [text]
    try:
        found = nameservers(Path(text).read_text())
    except (OSError, UnicodeError) as err:
        raise FlagError(f"--upstream {text}: {err}") from err
    if not found:
        raise FlagError(f"--upstream {text}: no line of it is 'nameserver ADDRESS'")
    return found


def _domain(text: str) -> Name:
    try:
        name = parse(text)
    except BadNameError as err:
        raise FlagError(f"--cluster-domain: {err}") from err
    if not 1 < len(name) <= _MOST_DOMAIN:
        raise FlagError(f"--cluster-domain {text}: want a domain of at most {_MOST_DOMAIN} bytes")
    return name
