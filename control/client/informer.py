"""Keep a local copy of a collection: list it, watch it, resume the watch after each outage.

The states and their transitions:

    list ──► watch ──(server ends it, connection breaks, silence)──► watch from the last version
     ▲         │
     └─(410)───┘        each further failure waits longer, with jitter
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, cast

from typing_extensions import TypeVar

from control.api.kind import Kind, Readable
from control.client.backoff import Backoff
from control.client.cache import Difference, InformerCache, Key
from control.client.cacheable import Cacheable
from control.client.errors import ApiError, ClientError, UnreachableError
from control.client.listing import Listing, joined
from control.client.rest import Client
from control.client.stream import ObjectEvent, UnreadableEvent, WatchEvent

if TYPE_CHECKING:
    from control.api.meta import Object

logger = logging.getLogger(__name__)

_PAGE = 500  # objects in one page of a list, as in client-go

M = TypeVar("M", bound=Readable, default="Object")
CachedT = TypeVar("CachedT", bound=Cacheable, default=M)
_Seen = TypeVar("_Seen", bound=Cacheable, default="Object")
Callback = Callable[[_Seen | None, _Seen | None], None]


class Informer(Generic[M, CachedT]):
    """Follow one collection. ``run`` it as a task; ``synced`` is set after the first list."""

    def __init__(
        self,
        client: Client,
        kind: Kind[M],
        namespace: str | None = None,
        *,
        keep: Callable[[M], CachedT] | None = None,
        by_page: bool = False,
        label_selector: str | None = None,
        field_selector: str | None = None,
        silence_seconds: float = 90,
        backoff: Backoff | None = None,
        on_recovery: Callable[[], None] = lambda: None,
    ) -> None:
        """``keep`` maps an object to the value that is cached and that subscribers get.

        It is client-go's SetTransform; without it, the whole object is cached. An object for which
        ``keep`` raises is left out. ``by_page`` reports the first list's objects page by page,
        while the server writes the next one; it is not for a collection to which this process
        writes. A watch without a byte for ``silence_seconds`` counts as dead;
        servers send a bookmark about once a minute. ``on_recovery`` is called when an outage ends.
        """
        self.kind = kind
        self._keep = keep or cast(Callable[[M], CachedT], _all)
        self._by_page = by_page
        self.synced = asyncio.Event()
        self._client = client
        self._namespace = namespace
        self._labels = label_selector
        self._fields = field_selector
        self._silence = silence_seconds
        self._on_recovery = on_recovery
        self._backoff = backoff or Backoff()
        self._cache: InformerCache[CachedT] = InformerCache()
        self._listed = False
        self._page_size = _PAGE
        self._failing = False
        self._callbacks: list[Callback[CachedT]] = []

    def snapshot(self) -> Mapping[Key, CachedT]:
        """Return all objects by (namespace, name); the snapshot never changes and is cheap."""
        return self._cache.snapshot()

    def get(self, namespace: str | None, name: str) -> CachedT | None:
        """Return one object as cached; None if it is absent."""
        return self._cache.get((namespace or "", name))

    @property
    def resource_version(self) -> str:
        """The version of the collection that ``snapshot`` returns."""
        return self._cache.resource_version

    def subscribe(self, callback: Callback[CachedT]) -> Callable[[], None]:
        """Call ``callback(old, new)`` on the event loop after each change of the snapshot.

        The present objects are reported at once as (None, object). Returns a function that
        ends the subscription.
        """
        self._callbacks.append(callback)
        for item in list(self.snapshot().values()):
            self._call(callback, (None, item))
        return lambda: self._callbacks.remove(callback)

    def learn(self, item: CachedT) -> None:
        """Add the result of our own write before the watch delivers it."""
        self._publish(self._cache.learn(item))

    def bury(self, item: CachedT) -> None:
        """Remove an object that we deleted before the watch delivers its deletion."""
        self._publish(self._cache.bury(item))

    async def run(self) -> None:
        """Follow the collection through all outages of the server, until cancelled."""
        while True:
            try:
                await self._step()
                continue
            except ApiError as err:
                if err.expired:
                    self._listed = False
                self._report(err)
            except ClientError as err:
                self._report(err)
            await asyncio.sleep(self._backoff.next())

    async def _step(self) -> None:
        if not self._listed:
            await self._list()
        began = asyncio.get_running_loop().time()
        try:
            await self._watch()
        finally:
            brief = asyncio.get_running_loop().time() - began < 1
            if not brief:
                self._backoff.reset()
        if brief:  # a server that ends every watch at once must not cause a busy loop
            await asyncio.sleep(self._backoff.next())

    async def _list(self) -> None:
        pages = self._client.pages(
            self.kind,
            self._namespace,
            label_selector=self._labels,
            field_selector=self._fields,
            limit=self._page_size,
        )
        try:
            listing = joined([self._taken_page(page) async for page in pages])
        except ApiError as err:
            if err.expired:  # between two pages: list in one page next time
                self._page_size = 0
            raise
        changes = self._cache.replace(listing)
        self._listed, self._page_size = True, _PAGE
        self._publish(changes)
        self.synced.set()

    async def _watch(self) -> None:
        watch = self._client.watch(
            self.kind,
            self._namespace,
            resource_version=self._cache.resource_version,
            label_selector=self._labels,
            field_selector=self._fields,
            silence_seconds=self._silence,
        )
        async with watch as events:
            self._recovered()
            async for event in events:
                if isinstance(event, UnreadableEvent):
                    logger.error("watch %s: unreadable: %s", self.kind.plural, event.problem)
                self._publish(self._cache.apply(self._kept_event(event)))

    def _taken_page(self, page: Listing[M]) -> Listing[CachedT]:
        kept = self._kept_page(page)
        if self._by_page and not self.synced.is_set():
            self._publish(self._cache.begin(kept.items))
        return kept

    def _kept_page(self, page: Listing[M]) -> Listing[CachedT]:
        for problem in page.unreadable:
            logger.error("list %s: left out: %s", self.kind.plural, problem)
        kept = (self._kept(item) for item in page.items)
        items = tuple(item for item in kept if item is not None)
        return Listing(items, page.resource_version)

    def _kept_event(self, event: WatchEvent[M]) -> WatchEvent[CachedT]:
        if not isinstance(event, ObjectEvent):
            return event
        kept = self._kept(event.object)
        if kept is None:
            return UnreadableEvent(event.object.resource_version, "left out")
        return ObjectEvent(event.verb, kept)

    def _kept(self, item: M) -> CachedT | None:
        """Return the value to cache for an object; None if ``keep`` fails."""
        try:
            return self._keep(item)
        except Exception:  # a defect that one object triggers must not stop the others
            logger.exception("%s %s: left out", self.kind.name, "/".join(filter(None, item.key)))
            return None

    def _publish(self, changes: list[Difference[CachedT]]) -> None:
        for change in changes:
            for callback in list(self._callbacks):
                self._call(callback, change)

    def _call(self, callback: Callback[CachedT], change: Difference[CachedT]) -> None:
        try:
            callback(*change)
        except Exception:  # one subscriber's defect must not stop the others
            logger.exception("subscriber of %s failed", self.kind.plural)

    def _report(self, err: ClientError) -> None:
        """Warn once in each outage; the client itself reports an unreachable server."""
        said = self._failing or isinstance(err, UnreachableError)
        logger.log(logging.DEBUG if said else logging.WARNING, "%s; trying again", err)
        self._failing = True

    def _recovered(self) -> None:
        if self._failing:
            logger.debug("watch %s: works again", self.kind.plural)
            self._failing = False
            self._on_recovery()


def _all(item: Any) -> Any:
    return item
