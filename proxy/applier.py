"""One sync's work in the kernel: rules, then counters and flows, then what earlier runs left."""

import logging
import threading

from proxy.backends.base import BACKENDS, STANDS_ON, Backend, open_backend
from proxy.counters.counting import ServiceCounters
from proxy.desired.desired import Desired
from proxy.flows.cleaner import FlowCleaner
from proxy.flows.record import FlowRecord
from proxy.linux.memory import settle
from proxy.linux.nft_events import NftEvent, NftListener
from proxy.model.settings import ProxySettings
from proxy.model.values import NodeView
from proxy.status.metrics import ProxyMetrics

logger = logging.getLogger("podwire.proxy")


class Applier:
    """What a sync changes. ``apply`` is called by one thread, ``disturbed`` by another."""

    def __init__(
        self,
        mode: str,
        backend: Backend,
        settings: ProxySettings,
        metrics: ProxyMetrics,
        counting: ServiceCounters,
        events: NftListener,
    ) -> None:
        """``events`` are of what others write."""
        self.events = events
        self._mode = mode
        self._backend = backend
        self._settings = settings
        self._cleaner = FlowCleaner(settings, FlowRecord())
        self._metrics = metrics
        self._counting = counting
        self._alone = False  # whether no other backend's rules are left
        self._busy = threading.Lock()
        self._heard: list[NftEvent] = []

    @property
    def is_blind(self) -> bool:
        """Whether the kernel sends no events about these rules."""
        return self._backend.is_blind

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring the kernel to ``want``; raises ProxyError."""
        with self._busy:
            self._apply(want, node)

    def disturbed(self) -> str | None:
        """What somebody else did to our rules since the last call; empty if nothing, and None if
        that cannot be told now because rules are being written.
        """
        self._heard += self.events.read()
        if not self._busy.acquire(blocking=False):
            return None
        try:
            heard, self._heard = self._heard, []
            what = (self._backend.disturbed(heard), self._counting.disturbed(heard))
            return "; ".join(filter(None, what))
        finally:
            self._busy.release()

    def _apply(self, want: Desired, node: NodeView) -> None:
        """Flows are looked at only once the rules send new ones aright, and other backends' rules
        go only once ours are in force: a change of backend interrupts nothing.
        """
        self._cleaner.expect(want)
        with self.events.deaf():
            self._backend.apply(want, node)
            self._counting.apply(want)
        self._metrics.add("stale_conntrack_entries_deleted_total", self._cleaner.clean(want))
        if not self._alone:
            self._leave_alone()
            settle()

    def _leave_alone(self) -> None:
        """Remove what other backends, and earlier runs of this one, left."""
        with self.events.deaf():
            self._backend.remove(keep_own=True)
            for mode in BACKENDS.keys() - {self._mode, STANDS_ON.get(self._mode)}:
                open_backend(mode, self._settings, {}).remove()
            self._alone = True
