"""Notices other programs' changes to our rules, reports them, and asks for a sync.

A firewall's reload, ``iptables -F`` or another proxy flushes rules that are not its own. kube-proxy
may not notice that for an hour (k/k#129128).
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

_ASK_EVERY = 0.5  # seconds, if the kernel sends no events
_ASK_AGAIN = 10.0  # seconds; the flavor of iptables is unknown before the first sync
_LATER = 0.05  # seconds, while rules are being written, or links come and go


class Repair:
    """Asks for a sync when another program changed our rules."""

    def __init__(
        self,
        applier: Applier,
        metrics: ProxyMetrics,
        changed: Callable[[], None],
        report: Reporter,
    ) -> None:
        """``changed`` asks for a sync."""
        self._applier = applier
        self._metrics = metrics
        self._changed = changed
        self._report = report
        self._again: asyncio.TimerHandle | None = None
        self._soon: asyncio.TimerHandle | None = None

    def check(self) -> None:
        """Check our rules. If another program changed them, have them written again."""
        try:
            description = self._applier.disturbed()
            self.tell_of_rivals()
        except KernelRefusedError as err:
            description = str(err)
        if description is None:
            if self._again is not None:
                self._again.cancel()
            self._again = asyncio.get_running_loop().call_later(_LATER, self.check)
        elif description:
            logger.warning(
                "another program changed the proxy's rules: %s; writing them again", description
            )
            self._metrics.add("rules_disturbed_total")
            self._report.about_node(
                "ProxyRulesDisturbed",
                f"Another program changed the proxy's rules: {description}. They are restored.",
            )
            self._changed()

    def check_links(self) -> None:
        """Check soon: events about links come in flocks."""
        self._applier.bridges.heard()
        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(_LATER, self._check_links)

    def _check_links(self) -> None:
        self._soon = None
        self.check()

    def tell_of_rivals(self) -> None:
        """Report the rules of another proxy that stay beside ours."""
        for rival in self._applier.rivals():
            why = (
                f"Another proxy's rules are on this node: {rival}. They win over this proxy's, or "
                "will, and nobody keeps both alike. Stop one proxy and run its --cleanup"
            )
            logger.error("%s", why)
            self._metrics.add("other_proxies_total")
            self._report.about_node("ProxyNotAlone", f"{why}.")

    def cancel(self) -> None:
        """Cancel checks that wait."""
        for waiting in (self._again, self._soon):
            if waiting is not None:
                waiting.cancel()


@asynccontextmanager
async def watching(applier: Applier, repair: Repair) -> AsyncIterator[None]:
    """Check after each event of the kernel's, while the context lasts."""
    loop = asyncio.get_running_loop()
    loop.add_reader(applier.events, repair.check)
    loop.add_reader(applier.bridges, repair.check_links)
    asking = asyncio.create_task(_poll(applier, repair))
    try:
        yield
    finally:
        loop.remove_reader(applier.events)
        loop.remove_reader(applier.bridges)
        asking.cancel()
        repair.cancel()


async def _poll(applier: Applier, repair: Repair) -> None:
    """Check regularly if the kernel sends no events."""
    while True:
        await asyncio.sleep(_ASK_EVERY if applier.is_blind else _ASK_AGAIN)
        if applier.is_blind:
            repair.check()
