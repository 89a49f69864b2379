"""``podwire controllers``: reads flags and runs the controllers."""

import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import click

from control.client import Client, ClientConfig
from control.client.measured import RequestMetrics
from control.client.pages import metrics_flag, pages
from control.client.process import (
    Leadership,
    client_flags,
    configuration,
    leader_flags,
    leadership,
    run,
    work_as_leader,
)
from control.controllers.accounts import AccountClients
from control.controllers.autoscaler.settings import DEFAULT, AutoscalerSettings
from control.controllers.certificates.authority import (
    DEFAULT_LIFETIME,
    AuthorityError,
    SigningAuthority,
)
from control.controllers.legacytokens import PERIOD
from control.controllers.loop import Controller, Manager
from control.controllers.nodes.cidr import ClusterRange, Network
from control.controllers.nodes.lifecycle import Grace
from control.controllers.table import ControllerSettings, controllers
from control.metrics import Registry
from control.tls import CertificateError, load_authority
from control.tokens import TokenKeyError, TokenSigner, load_private_key


def _networks(_: click.Context, __: click.Parameter, value: str) -> tuple[Network, ...]:
    try:
        networks = tuple(ip_network(part) for part in value.split(",") if part)
    except ValueError as err:
        raise click.BadParameter(str(err)) from err
    if len({network.version for network in networks}) < len(networks):
        raise click.BadParameter("want at most one range for each of IPv4 and IPv6")
    return networks


def _ranges(networks: tuple[Network, ...], mask4: int, mask6: int) -> tuple[ClusterRange, ...]:
    ranges = []
    for network in networks:
        mask, flag = (mask4, "") if network.version == 4 else (mask6, "-ipv6")
        if not network.prefixlen <= mask <= min(network.prefixlen + 16, network.max_prefixlen - 2):
            raise click.UsageError(
                f"--node-cidr-mask-size{flag} {mask} divides --cluster-cidr {network} into no or "
                f"too many ranges: want {network.prefixlen} to {network.prefixlen + 16}"
            )
        ranges.append(ClusterRange(network, mask))
    return tuple(ranges)


def _authority(path: Path | None) -> str:
    """Return the certificates in a file; raises UsageError."""
    if path is None:
        return ""
    try:
        load_authority(ssl.create_default_context(), path)
    except CertificateError as err:
        raise click.UsageError(f"--root-ca-file: {err}") from err
    return path.read_text()


def _signer(path: Path | None) -> TokenSigner | None:
    try:
        return TokenSigner(load_private_key(path)) if path else None
    except TokenKeyError as err:
        raise click.UsageError(f"--service-account-private-key-file: {err}") from err


def _signing(certificate: Path | None, key: Path | None, seconds: float) -> SigningAuthority | None:
    """Return what signs requests for certificates; raises UsageError."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise click.UsageError(
            "--cluster-signing-cert-file and --cluster-signing-key-file belong together: give both"
        )
    try:
        return SigningAuthority.load(certificate, key, timedelta(seconds=seconds))
    except AuthorityError as err:
        raise click.UsageError(f"--cluster-signing-cert-file: {err}") from err


_SECONDS = click.FloatRange(min=1)
_AUTOSCALER = "horizontal_pod_autoscaler_"
# The field of AutoscalerSettings, and what it is.
_AUTOSCALER_FLAGS = {
    "sync-period": ("period", "Seconds between two looks at an autoscaler."),
    "downscale-stabilization": (
        "window",
        "Seconds for which the highest number that was asked for holds.",
    ),
    "tolerance": ("tolerance", "How far use may be from its target, as a ratio, to no effect."),
    "cpu-initialization-period": (
        "cpu_starts",
        "Seconds after the start of a Pod in which its CPU may not count.",
    ),
    "initial-readiness-delay": (
        "first_ready",
        "Seconds after the start of a Pod in which it may become ready the first time.",
    ),
}


def _autoscaler_flags(command: Callable[..., None]) -> Callable[..., None]:
    for name, (field, meaning) in reversed(_AUTOSCALER_FLAGS.items()):
        add = click.option(
            f"--horizontal-pod-autoscaler-{name}",
            type=click.FloatRange(min=0, min_open=field == "period"),
            default=getattr(DEFAULT, field),
            show_default=True,
            help=meaning,
        )
        command = add(command)
    return command


def _autoscaler(flags: dict[str, Any]) -> AutoscalerSettings:
    given = {
        field: flags[_AUTOSCALER + name.replace("-", "_")]
        for name, (field, _) in _AUTOSCALER_FLAGS.items()
    }
    return AutoscalerSettings(**given)


@click.command()
@client_flags
@click.option(
    "--cluster-cidr",
    default="",
    callback=_networks,
    help="Pod ranges, CIDR[,CIDR6], from which each node gets a part. Default: none.",
)
@click.option("--node-cidr-mask-size", type=int, default=24, show_default=True)
@click.option("--node-cidr-mask-size-ipv6", type=int, default=64, show_default=True)
@click.option(
    "--service-cluster-ip-range",
    default="",
    callback=_networks,
    help="Service ranges, which no node gets as Pod range.",
)
@click.option(
    "--node-monitor-grace-period",
    type=_SECONDS,
    default=50.0,
    show_default=True,
    help="Seconds without a heartbeat until a node counts as unreachable.",
)
@click.option(
    "--node-startup-grace-period",
    type=_SECONDS,
    default=60.0,
    show_default=True,
    help="The same for a node's first heartbeat.",
)
@click.option(
    "--max-endpoints-per-slice", type=click.IntRange(1, 1000), default=100, show_default=True
)
@_autoscaler_flags
@click.option(
    "--root-ca-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The API server's authority, which each namespace gets as kube-root-ca.crt.",
)
@click.option(
    "--service-account-private-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Signs the tokens that Secrets hold. Default: nothing fills them.",
)
@click.option(
    "--legacy-service-account-token-clean-up-period",
    type=click.FloatRange(min=0, min_open=True),
    default=PERIOD.total_seconds(),
    show_default=True,
    help="Seconds without use after which a token that a Secret holds for an account is ended.",
)
@click.option(
    "--cluster-signing-cert-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The authority that signs approved requests for certificates. Default: nothing signs.",
)
@click.option(
    "--cluster-signing-key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The key of that authority.",
)
@click.option(
    "--cluster-signing-duration",
    type=click.FloatRange(min=600),
    default=DEFAULT_LIFETIME.total_seconds(),
    show_default=True,
    help="The longest life of a signed certificate, in seconds.",
)
@click.option(
    "--use-service-account-credentials",
    is_flag=True,
    help="Give each controller a ServiceAccount, in kube-system, with the rights of its own.",
)
@metrics_flag
@leader_flags("kube-controller-manager")
def main(kubeconfig: Path, verbose: bool, **flags: Any) -> None:
    """Reconcile Deployments, Services, nodes, namespaces and more with their specs."""
    masks = flags["node_cidr_mask_size"], flags["node_cidr_mask_size_ipv6"]
    settings = ControllerSettings(
        ranges=_ranges(flags["cluster_cidr"], *masks),
        reserved=flags["service_cluster_ip_range"],
        grace=Grace(flags["node_monitor_grace_period"], flags["node_startup_grace_period"]),
        endpoints_per_slice=flags["max_endpoints_per_slice"],
        autoscaler=_autoscaler(flags),
        root_ca=_authority(flags["root_ca_file"]),
        signer=_signer(flags["service_account_private_key_file"]),
        token_period=timedelta(seconds=flags["legacy_service_account_token_clean_up_period"]),
        authority=_signing(
            flags["cluster_signing_cert_file"],
            flags["cluster_signing_key_file"],
            flags["cluster_signing_duration"],
        ),
    )
    lead = leadership(flags)
    work = _as_accounts if flags["use_service_account_credentials"] else _as_one
    address = flags["metrics_bind_address"]
    run(_serve(configuration(kubeconfig), lead, settings, work, address), verbose=verbose)


Work = Callable[[Client, tuple[Controller, ...], Registry], Awaitable[None]]


async def _serve(
    config: ClientConfig, lead: Leadership, settings: ControllerSettings, work: Work, address: str
) -> None:
    registry = Registry()
    async with Client(config, RequestMetrics(registry)) as client, pages(address, registry):

        async def lead_on() -> None:
            # Everything is made anew: a new leader starts from a list, not from an old cache.
            registry.reset()
            await work(client, controllers(settings), registry)

        await work_as_leader(client, lead, lead_on, registry)


async def _as_one(client: Client, every: tuple[Controller, ...], registry: Registry) -> None:
    await Manager(client, every, registry=registry).run()


async def _as_accounts(client: Client, every: tuple[Controller, ...], registry: Registry) -> None:
    async with AccountClients(client, [one.component for one in every]) as accounts:
        await Manager(client, every, client_of=accounts.client, registry=registry).run()
