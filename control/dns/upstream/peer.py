"""A resolver with its health, checked as CoreDNS' plugin forward does.

A resolver that fails to reply is asked for the root's name servers, every half second until it
replies to that. After more than two such failures in a row it is down: others are asked first.
"""

import asyncio
import logging

from control.dns.message import RD
from control.dns.names import ROOT
from control.dns.records import NS
from control.dns.upstream.exchange import NoReplyError, ask
from control.dns.upstream.metrics import UpstreamMetrics
from control.dns.upstream.reply import Question
from control.dns.upstream.routes import Server

logger = logging.getLogger(__name__)

MOST_FAILS = 2
CHECK_SECONDS, CHECK_INTERVAL = 1.0, 0.5
_CHECK = Question(ROOT, NS, RD, edns=False, dnssec=False)


class Peer:
    """One resolver."""

    def __init__(self, server: Server, metrics: UpstreamMetrics) -> None:
        self.server = server
        self._metrics = metrics
        self._fails = 0
        self._checking: asyncio.Task[None] | None = None

    def is_down(self) -> bool:
        """Return True if more checks failed in a row than may."""
        return self._fails > MOST_FAILS

    def failed(self, cause: NoReplyError) -> None:
        """Begin to check, if it is not being checked already."""
        if self._checking is None:
            logger.warning("the resolver %s is checked until it replies: %s", self.server, cause)
            self._checking = asyncio.create_task(self._check(), name=f"check {self.server}")

    async def _check(self) -> None:
        while not await self._is_well():
            self._fails += 1
            self._metrics.check_failed(self.server)
            await asyncio.sleep(CHECK_INTERVAL)
        self._fails = 0
        self._checking = None
        logger.info("the resolver %s replies", self.server)

    async def _is_well(self) -> bool:
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await ask(self.server, _CHECK, 0)
        except (NoReplyError, TimeoutError):
            return False
        return True
