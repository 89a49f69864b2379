"""``podwire kubectl``: becomes kubectl, with the kubeconfig of a lab."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from lab.completion import complete_lab
from lab.options import OptionError
from lab.spec import LabSpecError, check_name
from lab.state import lab_dir


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--lab", default="lab", show_default=True, shell_complete=complete_lab, help="Name of the lab."
)
@click.argument("arguments", metavar="[KUBECTL ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
def main(lab: str, arguments: tuple[str, ...]) -> None:
    """Run kubectl against a lab.

    It is the kubectl on PATH, or the one that bin/setup --dev brings. Its arguments, terminal,
    signals and exit code are its own: podwire kubectl get pods -w
    """
    program = find()
    if program is None:
        raise click.ClickException(
            "there is no kubectl on PATH; install kubectl 1.23 or later, or run: bin/setup --dev"
        )
    environment = os.environ | {"KUBECONFIG": str(_kubeconfig(lab))}
    os.execve(program, ["kubectl", *arguments], environment)  # noqa: S606  # no shell


def find(beside: Sequence[str] = (sys.executable,)) -> str | None:
    """Return the path of kubectl: on PATH, or in the folder of a program."""
    folders = [str(Path(each).parent) for each in beside]
    return shutil.which("kubectl") or shutil.which("kubectl", path=os.pathsep.join(folders))


def _kubeconfig(name: str) -> Path:
    """Return a lab's kubeconfig; raises ClickException if there is none."""
    try:
        lab = lab_dir(check_name(name))
    except LabSpecError as err:
        raise OptionError(str(err).replace("--name", "--lab")) from err
    if not lab.kubeconfig.exists():
        option = "" if name == "lab" else f" --name {name}"
        raise click.ClickException(f"no lab {name}; start it with: podwire lab up{option}")
    return lab.kubeconfig
