"""Announces addresses in the nodes' own network: sockets feed ``duty``, whose frames go out."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from control.cloud.speaker.choose import Candidates
from control.cloud.speaker.duty import Duty, Tally, listens
from control.cloud.speaker.members import TICK_SECONDS
from control.cloud.speaker.sockets import Link
from control.cloud.speaker.views import Address

logger = logging.getLogger(__name__)


class Layer2:
    """Answers ARP and NDP on one interface; implements Announcer."""

    protocol = "layer2"

    def __init__(self, node: str, link: Link, report: Callable[[frozenset[Address]], None]) -> None:
        """``report`` is called with the addresses that came to this node."""
        self._link, self._report = link, report
        self._duty = Duty(node, link.mac)
        self._busy = asyncio.Event()  # somebody announces: ticks are needed
        self._heard: frozenset[Address] = frozenset()

    @property
    def tally(self) -> Tally:
        """What this node was asked for, answered and announced."""
        return self._duty.tally

    @property
    def addresses(self) -> frozenset[Address]:
        """The addresses that this node announces."""
        return self._duty.addresses

    def decide(self, may: Candidates) -> None:
        """Take which nodes may announce each address."""
        self._send(self._duty.decide(may))

    async def run(self) -> None:
        """Read and tick for ever."""
        loop = asyncio.get_running_loop()
        for each in self._link.sockets:
            loop.add_reader(each, self._read)
        logger.info("announces on %s", self._link.interface)
        try:
            while True:
                await self._busy.wait()
                await asyncio.sleep(TICK_SECONDS)
                self._tick()
        finally:
            for each in self._link.sockets:
                loop.remove_reader(each)

    def _tick(self) -> None:
        self._read()
        dead = self._duty.dead
        self._send(self._duty.tick())
        if died := self._duty.dead - dead:
            logger.warning("silent: %s", ", ".join(sorted(died)))

    def _read(self) -> None:
        for frame in self._link.read():
            self._send(self._duty.take(frame))

    def _send(self, out: Iterable[bytes]) -> None:
        for frame in out:
            self._link.send(frame)
        self._note()

    def _note(self) -> None:
        """Tell what this node announces from now on, and hear the questions for it."""
        if self._duty.idle:
            self._busy.clear()
        else:
            self._busy.set()
        if (now := self._duty.addresses) == self._heard:
            return
        came, went = now - self._heard, self._heard - now
        self._heard = now
        for address in listens(came):
            self._link.hear(address)
        for address in listens(went):
            self._link.ignore(address)
        for text in sorted(map(str, went)):
            logger.info("no longer announces %s", text)
        for text in sorted(map(str, came)):
            logger.info("announces %s", text)
        self._report(came)
