"""List, watch, resume: a local copy of a collection that follows the API server for ever.

The states, and what leads from one to the next:

    list ──► watch ──(server ends it, connection breaks, silence)──► watch from the last version
     ▲         │
     └─(410)───┘        every failure in a row waits longer, with jitter
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Generic, cast

from typing_extensions import TypeVar

from control.api.kinds import Kind
from control.api.meta import Object
from control.client.backoff import Backoff
from control.client.cache import Cache, Difference, Key
from control.client.errors import ApiError, ClientError, UnreachableError
from control.client.held import Held
from control.client.rest import Client, Listing, joined
from control.client.stream import Change, Event, Unreadable

logger = logging.getLogger(__name__)

_PAGE = 500  # objects that are asked for at once, as client-go does

M = TypeVar("M", bound=Object, default=Object)
Kept = TypeVar("Kept", bound=Held, default=M)
_Seen = TypeVar("_Seen", bound=Held, default=Object)
Callback = Callable[[_Seen | None, _Seen | None], None]


class Informer(Generic[M, Kept]):
    """Follows one collection. ``run`` it as a task; ``synced`` is set once the first list is in."""

    def __init__(
        self,
        client: Client,
        kind: Kind[M],
        namespace: str | None = None,
        *,
        keep: Callable[[M], Kept] | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        silence_seconds: float = 90,
        backoff: Backoff | None = None,
        on_recovery: Callable[[], None] = lambda: None,
    ) -> None:
        """``keep`` says what to keep of each object, which is then all that subscribers see
        (client-go's SetTransform); without it, all. An object on which it fails is left out.

        ``silence_seconds``: after how long without a byte a watch is taken for dead. Servers
        send bookmarks about once a minute. ``on_recovery`` is called when an outage ends."""
        self.kind = kind
        self._keep = keep or cast(Callable[[M], Kept], _all)
        self.synced = asyncio.Event()
        self._client = client
        self._namespace = namespace
        self._labels = label_selector
        self._fields = field_selector
        self._silence = silence_seconds
        self._on_recovery = on_recovery
        self._backoff = backoff or Backoff()
        self._cache: Cache[Kept] = Cache()
        self._listed = False
        self._page_size = _PAGE
        self._failing = False
        self._callbacks: list[Callback[Kept]] = []

    def snapshot(self) -> Mapping[Key, Kept]:
        """All objects by (namespace, name), as they are now; it never changes. Cheap to take."""
        return self._cache.snapshot()

    def get(self, namespace: str | None, name: str) -> Kept | None:
        """One object, as far as we know."""
        return self._cache.get((namespace or "", name))

    @property
    def resource_version(self) -> str:
        """The version of the collection that ``snapshot`` stands for."""
        return self._cache.resource_version

    def subscribe(self, callback: Callback[Kept]) -> Callable[[], None]:
        """Call ``callback(old, new)`` for every change, on the event loop, after the snapshot has
        it; at once as (None, object) for what is there already. Returns how to stop that."""
        self._callbacks.append(callback)
        for item in list(self.snapshot().values()):
            self._call(callback, (None, item))
        return lambda: self._callbacks.remove(callback)

    def learn(self, item: Kept) -> None:
        """Take the answer to our own write at once, before the watch brings it."""
        self._publish(self._cache.learn(item))

    def bury(self, item: Kept) -> None:
        """Take it at once that an object, which we deleted, is gone."""
        self._publish(self._cache.bury(item))

    async def run(self) -> None:
        """Follow for ever, through any outage of the server; end it by cancelling it."""
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
        if brief:  # a server that ends every watch at once would make us spin
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
            listing = joined([self._kept_page(page) async for page in pages])
        except ApiError as err:
            if err.expired:  # between two pages: all in one, then
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
                if isinstance(event, Unreadable):
                    logger.error("watch %s: not understood: %s", self.kind.plural, event.problem)
                self._publish(self._cache.apply(self._kept_event(event)))

    def _kept_page(self, page: Listing[M]) -> Listing[Kept]:
        for problem in page.unreadable:
            logger.error("list %s: left out: %s", self.kind.plural, problem)
        kept = (self._kept(item) for item in page.items)
        return Listing(tuple(one for one in kept if one is not None), page.resource_version)

    def _kept_event(self, event: Event[M]) -> Event[Kept]:
        if not isinstance(event, Change):
            return event
        kept = self._kept(event.object)
        if kept is None:
            return Unreadable(event.object.resource_version, "left out")
        return Change(event.verb, kept)

    def _kept(self, item: M) -> Kept | None:
        """What to keep of an object, if that can be told."""
        try:
            return self._keep(item)
        except Exception:  # a defect that one object brings out must not blind us to the others
            logger.exception("%s %s: left out", self.kind.name, "/".join(filter(None, item.key)))
            return None

    def _publish(self, changes: list[Difference[Kept]]) -> None:
        for change in changes:
            for callback in list(self._callbacks):
                self._call(callback, change)

    def _call(self, callback: Callback[Kept], change: Difference[Kept]) -> None:
        try:
            callback(*change)
        except Exception:  # one subscriber's defect must not blind the others
            logger.exception("subscriber of %s failed", self.kind.plural)

    def _report(self, err: ClientError) -> None:
        """Say once that something is wrong, not again at every try; of a server that is away the
        client tells."""
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
