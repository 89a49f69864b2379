"""``podwire hollow``: reads flags and runs hollow nodes."""

import sys
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path

import click

from control.agent.config import FlagError, addresses, labels, taints
from control.agent.hollow.nodes import TAINT, HollowNode, HollowSettings, run_nodes
from control.api.validation.text import dns_subdomain
from control.client.process import configuration, run
from control.tls import RECORD, limit_buffers

_SUFFIX = ".kubeconfig"
_path = click.Path(path_type=Path)


@click.command()
@click.option(
    "--kubeconfig-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of NAME.kubeconfig: a node each, with the credentials of system:node:NAME.",
)
@click.option(
    "--first-node-ip",
    required=True,
    help="The first node's address, IP[,IP6]; each further one, in the order of their names' "
    "lengths and names, has the next. Nobody has to answer there.",
)
@click.option("--node-labels", default="", help="Further labels to register with, KEY=VALUE,...")
@click.option(
    "--register-with-taints",
    default=f"{TAINT[0]}={TAINT[1]}:{TAINT[2]}",
    show_default=True,
    help="Taints to register with, KEY[=VALUE]:EFFECT,...; a known node keeps its own.",
)
@click.option("--root-dir", type=_path, default=Path("/var/lib/podwire/hollow"), show_default=True)
@click.option("-v", "--verbose", is_flag=True, help="Log every decision.")
def main(
    verbose: bool,
    kubeconfig_dir: Path,
    first_node_ip: str,
    node_labels: str,
    register_with_taints: str,
    root_dir: Path,
) -> None:
    """Run nodes whose containers are only said to run.

    Each is a node to everybody else: it registers, renews its Lease, reports its status and that of
    its Pods. No container is made, and no packet is forwarded.
    """
    try:
        first = addresses("--first-node-ip", first_node_ip)
        settings = HollowSettings(
            root_dir,
            labels("--node-labels", node_labels),
            taints("--register-with-taints", register_with_taints),
        )
    except FlagError as err:
        raise click.UsageError(str(err)) from err
    nodes = _nodes(kubeconfig_dir, first)
    limit_buffers(4 * RECORD)
    try:
        run(run_nodes(nodes, settings), verbose=verbose)
    except* OSError as failed:
        sys.exit(f"podwire hollow: {failed.exceptions[0]}")


def _nodes(folder: Path, first: tuple[str, ...]) -> list[HollowNode]:
    """Return the nodes of a folder; raises UsageError."""
    found = []
    for number, path in enumerate(_by_number(folder.glob(f"*{_SUFFIX}"))):
        name = path.name.removesuffix(_SUFFIX)
        if problems := dns_subdomain(name):
            raise click.UsageError(f"--kubeconfig-dir: {path}: no name of a node: {problems[0]}")
        ips = tuple(str(ip_address(each) + number) for each in first)
        found.append(HollowNode(name, ips, configuration(path)))
    if not found:
        raise click.UsageError(f"--kubeconfig-dir {folder}: want files NAME{_SUFFIX} in it")
    return found


def _by_number(paths: Iterable[Path]) -> list[Path]:
    """Return node-2 before node-10."""
    return sorted(paths, key=lambda path: (len(path.name), path.name))
