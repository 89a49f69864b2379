"""Keeps the table of counters at the desired state's addresses, and reads it when asked.

Counting is a service to people, and balancing one to packets: when the kernel refuses to count,
that is said once, and tried again with the next sync.
"""

import errno
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping

from proxy.backends.ebpf.counters import number_of_portal, portal_counts
from proxy.backends.nftables.objects import Element
from proxy.backends.nftables.observe import disturbance
from proxy.backends.nftables.render import NftablesRenderer
from proxy.backends.nftables.transaction import Transaction, table_name
from proxy.counters.exposition import text
from proxy.counters.read import counters
from proxy.counters.table import TABLE, elements, fixed, stores
from proxy.counters.totals import NOTHING, PortLabel, Source, TrafficCount, TrafficTotals, label_of
from proxy.desired.claims import ClaimResolver, WinnerChange
from proxy.desired.desired import Desired
from proxy.desired.portals import Frontend
from proxy.linux import nft_names
from proxy.linux.libnftables import Libnftables
from proxy.linux.nft_events import NftEvent
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import CounterDetail, ProxySettings
from proxy.model.values import Family

logger = logging.getLogger("podwire.proxy.counters")


class ServiceCounters:
    """One node's counters. ``apply`` is called by one thread, ``totals`` by any."""

    def __init__(
        self,
        settings: ProxySettings,
        detail: CounterDetail,
        commit: Callable[[str], None] | None = None,
    ) -> None:
        """``commit`` carries out one transaction, or raises KernelRefusedError."""
        self.detail = detail
        self._settings = settings
        self._commit = commit or Libnftables().commit
        self._known = False  # whether the kernel holds what the claims say
        self._failing = ""
        self._claims = ClaimResolver(settings)
        self._sums = TrafficTotals()
        self._writes = 0  # after which counters are new
        self._lock = threading.Lock()  # around the three above
        self._looking = threading.Lock()  # one look after the other, or totals would be mixed up

    def apply(self, want: Desired) -> None:
        """Have counters for each address that ``want`` serves, and for no other."""
        known, self._known = self._known, False
        try:
            if self.detail is CounterDetail.OFF:
                if not known:
                    remove_counters(self._commit)
            else:
                self._follow(want, known)
        except KernelRefusedError as err:
            if str(err) != self._failing:
                logger.error("Services are not counted: %s", err)
            self._failing = str(err)
        else:
            self._known, self._failing = True, ""

    def disturbed(self, touches: Iterable[NftEvent]) -> str:
        """What somebody else did to the counters; then they are set up anew."""
        what = (
            disturbance(touches, TABLE)
            if self._known and self.detail is not CounterDetail.OFF
            else ""
        )
        if what:
            self._known = False
        return what

    def totals(self) -> Mapping[PortLabel, TrafficCount]:
        """What was counted for each Service port so far, where that is anything; blocks."""
        if self.detail is CounterDetail.OFF:
            return {}
        with self._looking:
            with self._lock:
                writes = self._writes
                owners = dict(self._owners())
            found = self._look()
            with self._lock:
                return self._sums.take(found if writes == self._writes else {}, owners)

    def text(self) -> str:
        """The same for /metrics."""
        return text(self.totals(), self.detail)

    def _follow(self, want: Desired, known: bool) -> None:
        with self._lock:
            steps = [
                step
                for step in self._claims.update(want)
                if step.before is None or step.after is None
            ]
            everything = [] if known else [frontend for frontend, _ in self._claims.winners()]
        if known:
            self._advance(steps)
        else:
            self._load(everything)

    def _advance(self, steps: list[WinnerChange]) -> None:
        for family in self._settings.families:
            mine = [step for step in steps if step.frontend.family is family]
            change = Transaction(
                put=self._elements(step.frontend for step in mine if step.after),
                drop=self._elements(step.frontend for step in mine if not step.after),
            )
            if change:
                self._commit(change.text(family, TABLE))
        if steps:
            with self._lock:
                self._writes += 1
                for step in steps:
                    self._sums.forget(step.frontend)

    def _load(self, frontends: list[Frontend]) -> None:
        for family in self._settings.families:
            name = table_name(family, TABLE)
            anew = f"add table {name}\ndelete table {name}\nadd table {name}\n"
            mine = (one for one in frontends if one.family is family)
            parts = (
                *fixed(NftablesRenderer(family, self._settings), self.detail),
                *self._elements(mine),
            )
            self._commit(anew + Transaction(put=parts).text(family, TABLE))
        with self._lock:
            self._writes += 1
            self._sums.restart()

    def _elements(self, frontends: Iterable[Frontend]) -> tuple[Element, ...]:
        return tuple(part for one in frontends for part in elements(one, self.detail))

    def _owners(self) -> Iterator[tuple[Source, PortLabel]]:
        for frontend, claim in self._claims.winners():
            label = label_of(claim.portal)
            yield frontend, label
            yield number_of_portal(claim.portal), label

    def _look(self) -> dict[Source, TrafficCount]:
        """What the counters say now. Of those that cannot all be read there is nothing, because a
        part would look as though the rest had begun anew.
        """
        found: dict[Source, TrafficCount] = {}
        for read in (self._of_frontends, _of_programs):
            try:
                found.update(read())
            except (OSError, KernelRefusedError) as err:
                # Not written yet, or removed by somebody, is no fault.
                if getattr(err, "errno", None) != errno.ENOENT:
                    logger.warning("the Services' counters cannot be read: %s", err)
        return found

    def _of_frontends(self) -> Mapping[Source, TrafficCount]:
        found: dict[Source, TrafficCount] = {}
        for family in self._settings.families:
            for store in stores(self.detail):
                for frontend, packets, octets in counters(family, store):
                    before = found.get(frontend, NOTHING)
                    found[frontend] = (
                        before._replace(packets=packets, octets=octets)
                        if store.endswith("packets")
                        else before._replace(connections=packets)
                    )
        return found


def _of_programs() -> Mapping[Source, TrafficCount]:
    return {number: TrafficCount(*counted) for number, counted in portal_counts().items()}


def remove_counters(commit: Callable[[str], None]) -> None:
    """Remove the tables of any run; raises KernelRefusedError."""
    for family in Family:
        if any(table == TABLE for table, _ in nft_names.chains(family)):
            commit(f"delete table {table_name(family, TABLE)}\n")
