"""Keeps the node network in line with the Nodes.

After every change of a Node's part in it, of what is ours in the kernel, and once a minute.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from control.api.node import Node
from control.linux import whole
from control.node_network.drift import DriftListener
from control.node_network.kernel import NodeNetworkError, NodeNetworkKernel
from control.node_network.plan import Cidr, Overlay, differ, peer, plan, pod_mtu
from control.node_network.render import conflist

logger = logging.getLogger(__name__)

_RESYNC_SECONDS = 60.0
_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class NodeNetworkSettings:
    """The node network's settings."""

    node_name: str
    overlay: Overlay
    cluster: tuple[Cidr, ...]
    conflist: Path


class NodeNetwork:
    """One node's network; ``configured`` is called when the CNI configuration is a new one.

    ``nodes`` returns all Nodes, or none before they are known: the routes to those that it leaves
    out are removed.
    """

    def __init__(
        self,
        settings: NodeNetworkSettings,
        nodes: Callable[[], Iterable[Node]],
        configured: Callable[[], None],
    ) -> None:
        self._settings, self._nodes, self._configured = settings, nodes, configured
        self._kernel = NodeNetworkKernel()
        self._wake = asyncio.Event()

    def changed(self, old: Node | None, new: Node | None) -> None:
        """Synchronize soon, if a Node's part in the network has changed."""
        if differ(old, new):
            self._wake.set()

    def wake(self) -> None:
        """Synchronize soon."""
        self._wake.set()

    async def run(self) -> None:
        """Synchronize for ever; a failure is tried again, and logged once."""
        listener = DriftListener(self.wake)
        try:
            await self._keep()
        finally:
            listener.close()

    async def _keep(self) -> None:
        said = ""
        while True:
            self._wake.clear()
            problem, is_new = await asyncio.to_thread(self._sync, tuple(self._nodes()))
            if is_new:
                self._configured()
            if problem and problem != said:
                logger.error("node network: %s; trying again", problem)
            said = problem
            with suppress(TimeoutError):
                pause = _RETRY_SECONDS if problem else _RESYNC_SECONDS
                await asyncio.wait_for(self._wake.wait(), pause)

    def _sync(self, nodes: tuple[Node, ...]) -> tuple[str, bool]:
        """Synchronize once, in a thread, because netlink blocks.

        Return (the problem, or "", True if the CNI configuration is a new one).
        """
        settings = self._settings
        peers = [peer(node) for node in nodes]
        own = next((node for node in peers if node.name == settings.node_name), None)
        if own is None or not own.cidrs:
            return "", False  # the Node has no Pod CIDRs yet: their allocation wakes us
        uplink = self._kernel.uplink(own.addresses)
        if uplink is None:
            shown = ", ".join(map(str, own.addresses))
            return f"no interface has this node's address {shown}: see --node-ip", False
        try:
            self._kernel.apply(plan(own, peers, settings.overlay, uplink, settings.cluster))
            mtu = pod_mtu(own, settings.overlay, uplink)
            return "", _write(settings.conflist, conflist(own.cidrs, mtu))
        except (NodeNetworkError, OSError) as err:
            return str(err), False


def _write(path: Path, text: str) -> bool:
    """Write the CNI configuration; True if it was not there already."""
    with suppress(FileNotFoundError):
        if path.read_text() == text:
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.write(path, text)
    return True
