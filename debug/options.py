"""Options of several debugging commands."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from control.reported import ReportedError
from debug.places import Ground, of_host, of_lab
from lab.completion import complete_lab
from lab.options import output_option
from lab.shared import need_root
from lab.state import lab_dir

__all__ = [
    "ground",
    "ground_options",
    "needed_objects",
    "objects",
    "output_option",
    "snapshot_option",
]

if TYPE_CHECKING:
    from debug.cluster import ClusterState

_OPTIONS = (
    click.option("--name", help="Of this lab.  [default: lab]", shell_complete=complete_lab),
    click.option("--here", is_flag=True, help="Of this machine, which is a node."),
    click.option(
        "--kubeconfig",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Of the cluster that this machine is a node of; means --here.",
    ),
)
_ENTER = "other network namespaces are entered, for which you need root"


snapshot_option = click.option(
    "--snapshot",
    "file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read this file, which `podwire snapshot` wrote, instead of the cluster.",
)


def ground_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which cluster is meant: --name, --here, --kubeconfig."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def ground(name: str | None, here: bool, kubeconfig: Path | None) -> Ground:
    """Return the places of these options; without any, of the lab ``lab`` or of this machine.

    Raises ClickException, PlaceError.
    """
    need_root(_ENTER)
    if name and (here or kubeconfig):
        raise click.UsageError("--name is of a lab, --here and --kubeconfig are of this machine")
    name, here, kubeconfig = decided(name, here, kubeconfig)
    return of_lab(name) if name else of_host(kubeconfig=kubeconfig)


def decided(
    name: str | None, here: bool, kubeconfig: Path | None
) -> tuple[str | None, bool, Path | None]:
    """Return the options with what they leave open decided: who looks again looks at the same."""
    if name or here or kubeconfig:
        return name, here, kubeconfig
    return ("lab", False, None) if _is_up("lab") else (None, True, None)


def objects(ground: Ground, unread: list[str]) -> "ClusterState | None":
    """Return the API's objects; None if there is no API, or if ``unread`` says why none answers."""
    try:
        return needed_objects(ground)
    except ReportedError as err:
        unread.append(str(err))
        return None


def needed_objects(ground: Ground) -> "ClusterState | None":
    """Return the API's objects; None if it is not known how to ask. Raises ReportedError."""
    from debug.cluster import read_cluster  # which those who only want --help need not wait for

    if ground.kubeconfig is None:
        return None
    try:
        return read_cluster(ground.kubeconfig)
    except ReportedError as err:
        raise ReportedError(f"the API: {err}") from err


def _is_up(name: str) -> bool:
    keeper = lab_dir(name).keeper()
    return keeper is not None and keeper.alive
