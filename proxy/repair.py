"""Notices what somebody else does to our rules, says so, and has it put back.

A firewall's reload, ``iptables -F``, another proxy: each flushes rules that are not its own, and
kube-proxy would not notice for as long as an hour (k/k#129128).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from proxy.applier import Applier
from proxy.model.errors import KernelRefusedError
from proxy.status.events import Reporter
from proxy.status.metrics import ProxyMetrics

logger = logging.getLogger("podwire.proxy.repair")

_ASK_EVERY = 0.5  # seconds, where the kernel sends no events
_ASK_WHETHER = 10.0  # seconds: the flavor of iptables is known only after the first sync
_LATER = 0.05  # seconds, while rules are being written


class Repair:
    """Between the kernel's events and the next sync."""

    def __init__(
        self,
        kernel: Applier,
        metrics: ProxyMetrics,
        changed: Callable[[], None],
        report: Reporter,
    ) -> None:
        """``changed`` asks for a sync."""
        self._kernel = kernel
        self._metrics = metrics
        self._changed = changed
        self._report = report
        self._again: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Something happened; if it was to our rules, have everything written again."""
        try:
            what = self._kernel.disturbed()
        except KernelRefusedError as err:
            what = str(err)
        if what is None:
            self.rest()
            self._again = asyncio.get_running_loop().call_later(_LATER, self.look)
        elif what:
            logger.warning("somebody changed the proxy's rules: %s; writing them again", what)
            self._metrics.add("rules_disturbed_total")
            self._report.about_node(
                "ProxyRulesDisturbed",
                f"Somebody changed the proxy's rules: {what}. They are being restored.",
            )
            self._changed()

    def rest(self) -> None:
        """Do not look again for what has been heard so far."""
        if self._again is not None:
            self._again.cancel()


@asynccontextmanager
async def watching(kernel: Applier, repair: Repair) -> AsyncIterator[None]:
    """Look whenever the kernel says that something happened, while the context lasts."""
    loop = asyncio.get_running_loop()
    loop.add_reader(kernel.events, repair.look)
    asking = asyncio.create_task(_ask(kernel, repair))
    try:
        yield
    finally:
        loop.remove_reader(kernel.events)
        asking.cancel()
        repair.rest()


async def _ask(kernel: Applier, repair: Repair) -> None:
    """Where the kernel sends no events, it has to be asked."""
    while True:
        await asyncio.sleep(_ASK_EVERY if kernel.is_blind else _ASK_WHETHER)
        if kernel.is_blind:
            repair.look()
