"""Keeping the node network true: Nodes in, the plan computed, the kernel and the CNI file brought
in line, on every change and once a minute."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from control.api.node import Node
from control.linux import files
from control.node_network.kernel import Kernel, NetworkError
from control.node_network.plan import Cidr, Overlay, peer, plan, pod_mtu
from control.node_network.render import conflist

logger = logging.getLogger(__name__)

_RESYNC_SECONDS = 60.0
_RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the node network was told to be."""

    node_name: str
    overlay: Overlay
    cluster: tuple[Cidr, ...]
    conflist: Path


class NodeNetwork:
    """One node's network; ``changed`` is called when Pods can be connected anew."""

    def __init__(
        self, settings: Settings, nodes: Callable[[], Iterable[Node]], changed: Callable[[], None]
    ) -> None:
        self._settings, self._nodes, self._changed = settings, nodes, changed
        self._kernel = Kernel()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """A Node changed."""
        self._wake.set()

    async def run(self) -> None:
        """For ever; a part that the kernel refuses is tried again, and said once."""
        said = ""
        while True:
            self._wake.clear()
            problem, is_new = await asyncio.to_thread(self._sync, tuple(self._nodes()))
            if is_new:
                self._changed()
            if problem and problem != said:
                logger.error("node network: %s; trying again", problem)
            said = problem
            with suppress(TimeoutError):
                pause = _RETRY_SECONDS if problem else _RESYNC_SECONDS
                await asyncio.wait_for(self._wake.wait(), pause)

    def _sync(self, nodes: tuple[Node, ...]) -> tuple[str, bool]:
        """One pass, in a thread of its own: netlink blocks.

        What went wrong, or nothing; and whether the CNI configuration is a new one.
        """
        settings = self._settings
        peers = [peer(node) for node in nodes]
        own = next((it for it in peers if it.name == settings.node_name), None)
        if own is None or not own.cidrs:
            return "", False  # not registered, or without Pod CIDRs: the allocator will wake us
        uplink = self._kernel.uplink(own.addresses)
        if uplink is None:
            shown = ", ".join(map(str, own.addresses))
            return f"no interface has this node's address {shown}: see --node-ip", False
        try:
            self._kernel.apply(plan(own, peers, settings.overlay, uplink, settings.cluster))
            mtu = pod_mtu(own, settings.overlay, uplink)
            return "", _write(settings.conflist, conflist(own.cidrs, mtu))
        except (NetworkError, OSError) as err:
            return str(err), False


def _write(path: Path, text: str) -> bool:
    """Write the CNI configuration, unless it is there already; whether it was written."""
    with suppress(FileNotFoundError):
        if path.read_text() == text:
            return False
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, text)
    return True
