"""The commands ``podwire certs check-expiration`` and ``renew``."""

import json
from datetime import UTC, datetime

import click

from control.install import credentials, renewal
from control.install.layout import InstallError, Layout, this_program
from control.install.options import HELP, output_option, progress_of, reported, require_root, table

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
