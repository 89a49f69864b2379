"""Ends the flows that a change of state made stale."""

import logging
from collections import Counter
from collections.abc import Mapping, Set
from functools import partial

from proxy.desired.desired import Desired
from proxy.flows.record import FlowRecord
from proxy.flows.stale import (
    Flow,
    SuspectFlows,
    coming,
    has_moved,
    packed,
    served,
    suspects,
)
from proxy.flows.table import end, flows
from proxy.linux.addresses import local_addresses
from proxy.linux.netlink import consistent
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, Key, Protocol

logger = logging.getLogger("podwire.proxy.conntrack")


class FlowCleaner:
    """Remembers the state for which flows were last checked. Call it from one thread at a time."""

    def __init__(self, settings: ProxySettings, record: FlowRecord) -> None:
        self._settings = settings
        self._record = record
        self._recorded = record.read()
        self._before = Desired()
        self._ahead = False  # True if the record names frontends that the last check did not know
        self._failing = False

    def expect(self, want: Desired) -> None:
        """Record frontends before their first flow can begin.

        So a proxy that is killed right after that leaves no flow that the next run does not know
        of.
        """
        if more := coming(self._before, want, self._settings) - self._recorded:
            self._record.add(more)
            self._recorded |= more
            self._ahead = True

    def clean(self, want: Desired, held: Set[Key] = frozenset()) -> Mapping[Family, int]:
        """End the flows that became stale since the last call; return how many by family.

        Flows of the Services in ``held`` are left, because new ones would still take the old way.

        If the kernel refuses, that is logged once, and the next call tries again: balancing works
        without it, and clients that pause get a new flow.
        """
        try:
            shown = self._shown(want, held)
            count = self._clean(want, shown)
        except OSError as err:
            if not self._failing:
                logger.error(
                    "conntrack: stale UDP and SCTP flows cannot be ended: %s; "
                    "trying again with the next sync",
                    err.strerror,
                )
            self._failing = True
            return {}
        self._before, self._failing = shown, False
        return count

    def _shown(self, want: Desired, held: Set[Key]) -> Desired:
        """Return ``want`` with the state before of some Services."""
        if not held:
            return want
        shown = {key: portals for key, portals in want.items() if key not in held}
        before = {key: self._before.portals_of(key) for key in held}
        return Desired(shown | {key: portals for key, portals in before.items() if portals})

    def _clean(self, want: Desired, shown: Desired) -> Mapping[Family, int]:
        ended: Counter[Family] = Counter()
        here: frozenset[bytes] | None = None
        is_known = bool(self._before) and not self._ahead
        is_unchanged = is_known and not has_moved(self._before, want, self._settings)
        now = self._recorded if is_unchanged else served(want, self._settings)
        suspected = suspects(self._before, shown, self._settings, self._recorded - now)
        for (family, protocol), suspect_flows in suspected.items():
            here = packed(local_addresses()) if here is None else here
            stale = consistent(partial(_stale, suspect_flows, family, protocol, here))
            end(family, stale)
            ended[family] += len(stale)
        if count := ended.total():
            logger.info("ended %d flows to endpoints that no longer serve them", count)
        if now != self._recorded:
            self._record.write(now)
            self._recorded = now
        self._ahead = False
        return ended


def _stale(
    suspected: SuspectFlows, family: Family, protocol: Protocol, here: frozenset[bytes]
) -> list[Flow]:
    return suspected.stale(flows(family, protocol), here)
