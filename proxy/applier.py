"""Applies a desired state to the kernel: rules, counters and flows, then removal of leftovers."""

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Set

from proxy.backends import upstream
from proxy.backends.base import (
    BACKENDS,
    SHARED_WITH_UPSTREAM,
    STANDS_ON,
    Backend,
    open_backend,
)
from proxy.counters.counting import ServiceCounters
from proxy.desired.desired import Desired
from proxy.flows.cleaner import FlowCleaner
from proxy.flows.record import FlowRecord
from proxy.linux.bridges import PodBridges
from proxy.linux.memory import settle
from proxy.linux.nft_events import NftEvent, NftListener
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, NodeView
from proxy.status.metrics import (
    CLEANUP_FAILURES,
    COUNTED,
    FAILURES,
    PARTIAL_FAILURES,
    ProxyMetrics,
)

logger = logging.getLogger("podwire.proxy")


class Applier:
    """Applies desired states. One thread calls ``apply``, another ``disturbed``."""

    def __init__(
        self,
        mode: str,
        backend: Backend,
        settings: ProxySettings,
        metrics: ProxyMetrics,
        counting: ServiceCounters,
        events: NftListener,
        bridges: PodBridges,
        *,
        keep_others: bool = False,
    ) -> None:
        """``events`` are about other programs' changes.

        ``keep_others`` leaves kube-proxy's rules where they are; they are in ``rivals`` then.
        """
        self._keep_others = keep_others
        self._rivals: deque[str] = deque()  # one thread adds while another takes
        self.events = events
        self.bridges = bridges
        self._mode = mode
        self._backend = backend
        self._settings = settings
        self._cleaner = FlowCleaner(settings, FlowRecord())
        self._metrics = metrics
        metrics.refresh = self.count_packets
        self._counting = counting
        self._alone = False  # True once no other backend's rules are left
        self._busy = threading.Lock()
        self._pending_events: list[NftEvent] = []

    @property
    def is_unfinished(self) -> bool:
        """True if a big Service is not written to its end: ask for another sync."""
        return self._backend.is_unfinished

    @property
    def guarded_ports(self) -> Mapping[int, int] | None:
        """The ports of bridges whose frames programs can decide on; see ``Backend``."""
        return self._backend.guarded_ports

    @property
    def is_blind(self) -> bool:
        """True if the kernel sends no events about these rules."""
        return self._backend.is_blind

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring the kernel to ``want``. Raises ProxyError."""
        with self._busy:
            whole, began = self._backend.rewrites(node), time.monotonic()
            try:
                self._apply(want, node, whole)
            finally:
                self._measure(whole, time.monotonic() - began)

    def disturbed(self) -> str | None:
        """Return a description of other programs' changes since the last call.

        It is empty if there were none, and None if that is unknown now because rules are being
        written. Raises KernelRefusedError.
        """
        events = self.events.read()
        self._rivals.extend(upstream.beginning(events))
        self._pending_events += events
        if not self._busy.acquire(blocking=False):
            return None
        try:
            events, self._pending_events = self._pending_events, []
            self.bridges.follow()
            descriptions = (self._backend.disturbed(events), self._counting.disturbed(events))
            return "; ".join(filter(None, descriptions))
        finally:
            self._busy.release()

    def rivals(self) -> list[str]:
        """Return what of another proxy's rules was found since the last call, and stays."""
        return [self._rivals.popleft() for _ in range(len(self._rivals))]

    def _measure(self, whole: Set[Family], took: float) -> None:
        """Count a sync's duration, of a failed one too, where upstream does."""
        for family in self._settings.families:
            kind = "full" if family in whole else "partial"
            self._metrics.observe(f"sync_{kind}_proxy_rules_duration_seconds", took, family)

    def _apply(self, want: Desired, node: NodeView, whole: Set[Family]) -> None:
        """Write rules first, then check flows, then remove other backends' rules.

        Bridges are filtered, or no more, when rules and programs are in force. Flows are checked
        when new flows take the right way. Other backends' rules go when ours are in force. So a
        change of backend interrupts nothing.
        """
        self._cleaner.expect(want)
        with self.events.deaf():
            self._write(want, node, whole)
            self._counting.apply(want)
        self.bridges.set(self._backend.needs_bridge_filter, node.pod_cidrs)
        self._end_flows(want)
        if not self._alone and not self.is_unfinished:
            self._remove_leftovers()
            settle()

    def _write(self, want: Desired, node: NodeView, whole: Set[Family]) -> None:
        try:
            self._backend.apply(want, node)
        except KernelRefusedError as err:
            for family in err.families or self._settings.families:
                self._metrics.add(FAILURES[self._mode], family=family)
                if family not in whole and self._mode in PARTIAL_FAILURES:
                    self._metrics.add(PARTIAL_FAILURES[self._mode], family=family)
            raise
        for one in self._backend.rule_counts():
            for what, count in (("total", one.total), ("last", one.written)):
                name = f"sync_proxy_rules_iptables_{what}"
                self._metrics.set(name, count, one.table, one.family)

    def _end_flows(self, want: Desired) -> None:
        began = time.monotonic()
        for family, count in self._cleaner.clean(want, self._backend.held).items():
            self._metrics.add("stale_conntrack_entries_deleted_total", count)
            self._metrics.add("conntrack_reconciler_deleted_entries_total", count, family=family)
        took = time.monotonic() - began
        self._metrics.observe("conntrack_reconciler_sync_duration_seconds", took)

    def count_packets(self) -> None:
        """Bring the metrics of packets up to date, by the kernel's counters."""
        try:
            found = self._backend.packet_counts()
        except OSError as err:
            logger.warning("the kernel's packet counters cannot be read: %s", err.strerror)
            return
        for name, count in found.items():
            self._metrics.set(COUNTED[name], count)

    def _remove_leftovers(self) -> None:
        """Remove the rules of other backends, of earlier runs of this one, and of kube-proxy."""
        try:
            self._remove_others()
        except KernelRefusedError:
            if self._mode in CLEANUP_FAILURES:
                self._metrics.add(CLEANUP_FAILURES[self._mode])
            raise

    def _remove_others(self) -> None:
        with self.events.deaf():
            self._backend.remove(keep_own=True)
            for mode in BACKENDS.keys() - {self._mode, STANDS_ON.get(self._mode)}:
                if not (self._keep_others and mode in SHARED_WITH_UPSTREAM):
                    open_backend(mode, self._settings, {}).remove()
            self._meet_upstream()
            self._alone = True

    def _meet_upstream(self) -> None:
        if self._keep_others:
            self._rivals.extend(upstream.found())
            for mode in SHARED_WITH_UPSTREAM - {self._mode}:
                if open_backend(mode, self._settings, {}).exists():
                    self._rivals.append(f"chains of mode {mode}")
        elif removed := upstream.remove():
            logger.warning("kube-proxy's rules were removed: %s", ", ".join(removed))
