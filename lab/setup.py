"""``podwire setup``: installs the Debian packages that podwire needs."""

import dataclasses
import json
import os
import subprocess

import click

from lab import needs
from lab.report import columns


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--check", is_flag=True, help="Install nothing; exit 1 if a package is missing.")
@click.option(
    "-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True
)
def main(check: bool, output: str) -> None:
    """Install the Debian packages that podwire needs.

    Prints all of them. Installation needs root and apt-get.
    """
    absent = needs.missing()
    if absent and not check:
        _install(absent)
        absent = needs.missing()
    _show(output)
    if absent:
        raise click.ClickException(str(needs.MissingPackagesError(absent)))


def _install(absent: tuple[needs.Package, ...]) -> None:
    names = " ".join(package.name for package in absent)
    if os.geteuid() != 0:
        raise click.ClickException(f"missing Debian packages: {names}; run: sudo podwire setup")
    click.echo(f"installing {names}", err=True)
    try:
        needs.install(absent)
    except FileNotFoundError as err:
        raise click.ClickException(
            f"there is no apt-get to install {names}: use your distribution's package manager"
        ) from err
    except subprocess.CalledProcessError as err:
        raise click.ClickException(f"apt-get could not install {names}: see above") from err


def _show(output: str) -> None:
    rows = [dataclasses.asdict(p) | {"installed": p.is_installed} for p in needs.packages()]
    if output == "json":
        return click.echo(json.dumps(rows, indent=2))
    table = [(r["name"], "yes" if r["installed"] else "missing", r["purpose"]) for r in rows]
    return click.echo(columns(("PACKAGE", "INSTALLED", "NEEDED BY"), table))
