"""``podwire hollow``: reads flags and runs hollow nodes."""

import logging
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

logger = logging.getLogger(__name__)

_SUFFIX = ".kubeconfig"
_path = click.Path(path_type=Path)


@click.command()
@click.option(
    "--kubeconfig-dir",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    help="Folder of NAME.kubeconfig: a node each, with the credentials of system:node:NAME. Files "
    "that come later are further nodes.",
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
    folder = _Folder(kubeconfig_dir, first)
    if not (nodes := folder.nodes()):
        raise click.UsageError(f"--kubeconfig-dir {kubeconfig_dir}: want files NAME{_SUFFIX} in it")
    limit_buffers(4 * RECORD)
    try:
        run(run_nodes(nodes, settings, folder.further), verbose=verbose)
    except* OSError as failed:
        sys.exit(f"podwire hollow: {failed.exceptions[0]}")


class _Folder:
    """A folder of credentials, each of a node; a node keeps the number that it got first."""

    def __init__(self, path: Path, first: tuple[str, ...]) -> None:
        self._path, self._first = path, first
        self._known: set[str] = set()  # the names of files

    def nodes(self) -> list[HollowNode]:
        """Return the nodes that have come since the last call; raises UsageError."""
        return [self._node(path) for path in self._new()]

    def further(self) -> list[HollowNode]:
        """Return the same; a file that is no node's is told, and left out."""
        found = []
        for path in self._new():
            try:
                found.append(self._node(path))
            except click.UsageError as err:
                logger.error("%s", err.format_message())
        return found

    def _new(self) -> list[Path]:
        names = {it.name for it in self._path.iterdir() if it.name.endswith(_SUFFIX)}
        return [self._path / name for name in _by_number(names - self._known)]

    def _node(self, path: Path) -> HollowNode:
        number = len(self._known)
        self._known.add(path.name)
        name = path.name.removesuffix(_SUFFIX)
        if problems := dns_subdomain(name):
            raise click.UsageError(f"--kubeconfig-dir: {path}: no name of a node: {problems[0]}")
        ips = tuple(str(ip_address(each) + number) for each in self._first)
        return HollowNode(name, ips, configuration(path))


def _by_number(names: Iterable[str]) -> list[str]:
    """Return node-2 before node-10."""
    return sorted(names, key=lambda name: (len(name), name))
