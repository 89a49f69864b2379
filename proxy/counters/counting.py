"""Keeps counters for the desired state's addresses, and reads them when asked.

Balancing matters more than counting: if the kernel refuses to count, that is logged once, and tried
again with the next sync.
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
    """One node's counters. One thread calls ``apply``; any thread may call ``totals``."""

    def __init__(
        self,
        settings: ProxySettings,
        detail: CounterDetail,
        commit: Callable[[str], None] | None = None,
    ) -> None:
        """``commit`` commits one transaction, or raises KernelRefusedError."""
        self.detail = detail
        self._settings = settings
        self._commit = commit or Libnftables().commit
        self._known = False  # True while the kernel holds counters for all claims
        self._failing = ""
        self._claims = ClaimResolver(settings)
        self._sums = TrafficTotals()
        self._writes = 0  # how many; each makes new counters
        self._lock = threading.Lock()  # guards the three above
        self._reading = threading.Lock()  # one reading at a time: they add up in order

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

    def disturbed(self, events: Iterable[NftEvent]) -> str:
        """Describe other programs' changes to the counters; they are then set up again."""
        description = (
            disturbance(events, TABLE)
            if self._known and self.detail is not CounterDetail.OFF
            else ""
        )
        if description:
            self._known = False
        return description

    def totals(self) -> Mapping[PortLabel, TrafficCount]:
        """Return the totals of each Service port that has any. It blocks."""
        if self.detail is CounterDetail.OFF:
            return {}
        with self._reading:
            with self._lock:
                writes = self._writes
                owners = dict(self._owners())
            found = self._read_all()
            with self._lock:
                return self._sums.take(found if writes == self._writes else {}, owners)

    def text(self) -> str:
        """Return the totals for /metrics."""
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
            mine = (frontend for frontend in frontends if frontend.family is family)
            parts = (
                *fixed(NftablesRenderer(family, self._settings), self.detail),
                *self._elements(mine),
            )
            self._commit(anew + Transaction(put=parts).text(family, TABLE))
        with self._lock:
            self._writes += 1
            self._sums.restart()

    def _elements(self, frontends: Iterable[Frontend]) -> tuple[Element, ...]:
        return tuple(part for frontend in frontends for part in elements(frontend, self.detail))

    def _owners(self) -> Iterator[tuple[Source, PortLabel]]:
        for frontend, claim in self._claims.winners():
            label = label_of(claim.portal)
            yield frontend, label
            yield number_of_portal(claim.portal), label

    def _read_all(self) -> dict[Source, TrafficCount]:
        """Return all counters' values.

        If the counters of a kind cannot all be read, none of them is returned: the missing ones
        would seem to begin again.
        """
        found: dict[Source, TrafficCount] = {}
        for read in (self._of_frontends, _of_programs):
            try:
                found.update(read())
            except (OSError, KernelRefusedError) as err:
                # A table that is not written yet, or was removed, is no error.
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
    """Remove the tables of any run. Raises KernelRefusedError."""
    for family in Family:
        if any(table == TABLE for table, _ in nft_names.chains(family)):
            commit(f"delete table {table_name(family, TABLE)}\n")
