"""The commands ``podwire certs check-expiration``, ``renew`` and ``upload``."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import click

from control.client import Client
from control.install import cluster, control_plane, credentials, renewal, sharing
from control.install.layout import InstallError, Layout, this_program
from control.install.options import HELP, output_option, progress_of, reported, require_root, table
from control.install.sharing import check_key, create_key

_LAYOUT = Layout()
_HEAD = ("CERTIFICATE", "EXPIRES", "RESIDUAL TIME", "RENEWED BY")


@click.group(context_settings=HELP)
def certs() -> None:
    """The certificates of this machine: their ends, and their renewal."""


@certs.command("check-expiration", context_settings=HELP)
@output_option
def check_expiration(output: str) -> None:
    """Show when each certificate ends, and who renews it."""
    with reported("certs"):
        require_root()
        found = renewal.endings(_LAYOUT)
        if not found:
            raise InstallError(
                f"nothing is installed here: there is no certificate in {_LAYOUT.pki}"
            )
    rows = list(renewal.rows(found, datetime.now(UTC)))
    if output == "json":
        return click.echo(json.dumps(rows, indent=2))
    return click.echo(table([_HEAD, *(tuple(row.values()) for row in rows)]))


@certs.command("renew", context_settings=HELP)
@click.option("--all", "every", is_flag=True, help="Also those that do not end within 90 days.")
@output_option
def renew(every: bool, output: str) -> None:
    """Renew the control plane's certificates that end within 90 days.

    What reads them restarts; new connections wait meanwhile. A timer does this once a day.
    An authority is not renewed: a warning says when it ends within a year.
    """
    with reported("certs"):
        require_root()
        changed, restarted = renewal.renew(
            _LAYOUT, this_program(), datetime.now(UTC), progress_of(output), every=every
        )
        warnings = credentials.warnings(_LAYOUT, datetime.now(UTC))
    for line in warnings:
        click.echo(line, err=True)
    if output == "json":
        shown = {
            "renewed": list(changed),
            "restarted": list(restarted),
            "warnings": list(warnings),
        }
        return click.echo(json.dumps(shown, indent=2))
    return click.echo(f"renewed: {', '.join(changed) or 'nothing, for nothing ends soon'}")


@certs.command("upload", context_settings=HELP)
@click.option("--certificate-key", "key", default="", metavar="HEX", help="Default: a random one.")
@output_option
def upload(key: str, output: str) -> None:
    """Seal the keys for other control planes anew, and print the command by which they join.

    For two hours; the cluster must have its objects in etcd.
    """
    with reported("certs"):
        require_root()
        made = asyncio.run(_upload(check_key(key or create_key())))
    if output == "json":
        shown = {"certificateKey": made.key, "controlPlaneJoinCommand": made.plane_command}
        return click.echo(json.dumps(shown, indent=2))
    return click.echo(made.plane_command)


async def _upload(key: str) -> control_plane.Joining:
    if not _LAYOUT.cluster_file.exists():
        raise InstallError(f"this machine has no control plane: there is no {_LAYOUT.cluster_file}")
    settings = control_plane.load(_LAYOUT)
    if not settings.has_etcd:
        raise InstallError("the objects of this cluster are in SQLite: it has one control plane")
    async with Client.from_kubeconfig(_LAYOUT.admin) as client:
        await sharing.upload(client, _LAYOUT, key)
        token = await cluster.ensure_token(client, None, sharing.LIFE / timedelta(hours=1))
    digest = credentials.authority_hash((_LAYOUT.pki / "ca.crt").read_bytes())
    return control_plane.Joining(settings.endpoint, str(token), digest, key)
