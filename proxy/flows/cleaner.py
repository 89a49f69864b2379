"""Ends the flows that a change of state left behind."""

import logging

from proxy.desired.desired import Desired
from proxy.flows.record import FlowRecord
from proxy.flows.stale import comes, moves, packed, served, suspects
from proxy.flows.table import end, flows
from proxy.linux.addresses import local_addresses
from proxy.model.settings import ProxySettings

logger = logging.getLogger("podwire.proxy.conntrack")


class FlowCleaner:
    """Remembers the state up to which flows were looked at. Called from one thread at a time."""

    def __init__(self, settings: ProxySettings, record: FlowRecord) -> None:
        self._settings = settings
        self._record = record
        self._recorded = record.read()
        self._before = Desired()
        self._ahead = False  # whether the record names what was not in force at the last look
        self._failing = False

    def expect(self, want: Desired) -> None:
        """Write down what will be served, before the first flow to it can begin: who is killed
        right after that leaves no flow that the next run does not know of.
        """
        if more := comes(self._before, want, self._settings) - self._recorded:
            self._record.add(more)
            self._recorded |= more
            self._ahead = True

    def clean(self, want: Desired) -> int:
        """End what became stale since the last call; returns how many flows.

        If the kernel does not let us, that is said once, and the next call tries again: balancing
        works without it, and clients that pause get a new flow.
        """
        try:
            count = self._clean(want)
        except OSError as err:
            if not self._failing:
                logger.error(
                    "stale UDP and SCTP flows cannot be ended: conntrack: %s", err.strerror
                )
            self._failing = True
            return 0
        self._before, self._failing = want, False
        return count

    def _clean(self, want: Desired) -> int:
        count = 0
        here: frozenset[bytes] | None = None
        known = bool(self._before) and not self._ahead
        same = known and not moves(self._before, want, self._settings)
        now = self._recorded if same else served(want, self._settings)
        suspected = suspects(self._before, want, self._settings, self._recorded - now)
        for (family, protocol), looked_at in suspected.items():
            here = packed(local_addresses()) if here is None else here
            stale = looked_at.stale(flows(family, protocol), here)
            end(family, stale)
            count += len(stale)
        if count:
            logger.info("ended %d flows to endpoints that no longer serve them", count)
        if now != self._recorded:
            self._record.write(now)
            self._recorded = now
        self._ahead = False
        return count
