"""List, watch, resume: a local copy of a collection that follows the API server for ever.

The states, and what leads from one to the next:

    list ──► watch ──(server ends it, connection breaks, silence)──► watch from the last version
     ▲         │
     └─(410)───┘        every failure in a row waits longer, with jitter
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Generic

from control.api.kinds import Kind
from control.client.backoff import Backoff
from control.client.cache import Cache, Difference, Item, Key
from control.client.errors import ApiError, ClientError, UnreachableError
from control.client.rest import Client
from control.client.stream import Unreadable

logger = logging.getLogger(__name__)

Callback = Callable[[Item | None, Item | None], None]


class Informer(Generic[Item]):
    """Follows one collection. `run` it as a task; `synced` is set once the first list is in."""

    def __init__(
        self,
        client: Client,
        kind: Kind[Item],
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
        silence_seconds: float = 90,
        backoff: Backoff | None = None,
        on_recovery: Callable[[], None] = lambda: None,
    ) -> None:
        """`silence_seconds`: after how long without a byte a watch is taken for dead. Servers
        send bookmarks about once a minute. `on_recovery` is called when an outage ends."""
        self.kind = kind
        self.synced = asyncio.Event()
        self._client = client
        self._namespace = namespace
        self._labels = label_selector
        self._fields = field_selector
        self._silence = silence_seconds
        self._on_recovery = on_recovery
        self._backoff = backoff or Backoff()
        self._cache: Cache[Item] = Cache()
        self._listed = False
        self._failing = False
        self._callbacks: list[Callback[Item]] = []

    def snapshot(self) -> Mapping[Key, Item]:
        """All objects by (namespace, name), as they are now; it never changes. Cheap to take."""
        return self._cache.snapshot()

    def get(self, namespace: str | None, name: str) -> Item | None:
        """One object, as far as we know."""
        return self._cache.get((namespace or "", name))

    @property
    def resource_version(self) -> str:
        """The version of the collection that `snapshot` stands for."""
        return self._cache.resource_version

    def subscribe(self, callback: Callback[Item]) -> Callable[[], None]:
        """Call `callback(old, new)` for every change, on the event loop, after the snapshot has
        it; at once as (None, object) for what is there already. Returns how to stop that."""
        self._callbacks.append(callback)
        for item in list(self.snapshot().values()):
            self._call(callback, (None, item))
        return lambda: self._callbacks.remove(callback)

    def learn(self, item: Item) -> None:
        """Take the answer to our own write at once, before the watch brings it."""
        self._publish(self._cache.learn(item))

    def bury(self, item: Item) -> None:
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
        listing = await self._client.list(
            self.kind, self._namespace, label_selector=self._labels, field_selector=self._fields
        )
        for problem in listing.unreadable:
            logger.error("list %s: left out: %s", self.kind.plural, problem)
        changes = self._cache.replace(listing)
        self._listed = True
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
                self._publish(self._cache.apply(event))

    def _publish(self, changes: list[Difference[Item]]) -> None:
        for change in changes:
            for callback in list(self._callbacks):
                self._call(callback, change)

    def _call(self, callback: Callback[Item], change: Difference[Item]) -> None:
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
