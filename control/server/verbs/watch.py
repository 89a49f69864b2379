"""Watch a collection: stream its changes from any revision that is still in the ring.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
and KEP-3157 (sendInitialEvents).
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct
from msgspec.structs import replace

from control.server.state.server import ServerState
from control.server.state.strides import ITEMS, strides
from control.server.state.watch_cache import KindCache, ObjectChange
from control.server.verbs.select import Selection, selection
from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.server.wire.info import storage_prefix
from control.server.wire.item import Item, restamp
from control.server.wire.list_options import errors_in_watch
from control.server.wire.request import ApiRequest

# A watcher that is this many changes behind is disconnected; it resumes from its last revision.
_QUEUE = 8192
_QUEUE_BYTES = 16 * 1024 * 1024
_BOOKMARK_EVERY = 60.0
# Without timeoutSeconds a watch ends after one to two times this many seconds.
_MIN_TIMEOUT = 1800.0


class ObjectNotice(Struct, frozen=True):
    """A watch event about an object: ADDED, MODIFIED or DELETED."""

    type: str
    item: Item


class BookmarkNotice(Struct, frozen=True):
    """A mark that all changes up to a revision are sent; ``initial_end``: the first one."""

    revision: int
    initial_end: bool = False


class FailureNotice(Struct, frozen=True):
    """The last event of a failed watch: ERROR."""

    refused: StatusError


WatchNotice = ObjectNotice | BookmarkNotice | FailureNotice


class _WatchPlan(Struct, frozen=True):
    """The parsed parameters of a watch."""

    wanted: Selection
    prefix: str
    since: int
    initial: bool  # send the present objects first
    announce: bool  # send a bookmark after them
    bookmarks: bool
    seconds: float

    def notice(self, change: ObjectChange) -> ObjectNotice | None:
        """Return the event that a change means for this watcher; None if it means none."""
        item, old = change.item, change.old
        if item.revision <= self.since or not item.key.startswith(self.prefix):
            return None
        before = old is not None and self.wanted.matches(old)
        after = not change.removed and self.wanted.matches(item)
        if after:
            return ObjectNotice("MODIFIED" if before else "ADDED", item)
        if not before or old is None:
            return None
        return ObjectNotice("DELETED", item if change.removed else restamp(old, item.revision))


class _Queue:
    """The unsent changes of one watcher; a watcher that is too slow is disconnected."""

    def __init__(self, cut: Callable[[], None], cache: KindCache | None = None) -> None:
        self._cache = cache
        self._changes: list[ObjectChange] = []
        self._bytes = 0
        self._ready = asyncio.Event()
        self._cut = cut
        # One timer lasts for many changes: it is for bookmarks, and the end of the watch.
        self._timer: asyncio.TimerHandle | None = None
        self.ended = False

    def offer(self, change: ObjectChange | None) -> None:
        """Add a change; None ends the queue, without a loss if its kind is not served any more."""
        if change is None and self._cache is not None and self._cache.closed:
            self.ended = True
            self._ready.set()
            return
        if change is not None:
            self._bytes += change.item.size
        if change is None or len(self._changes) >= _QUEUE or self._bytes > _QUEUE_BYTES:
            self.ended = True
            self._changes.clear()
            self._cut()
        elif not self.ended:
            self._changes.append(change)
        self._ready.set()

    def rest(self) -> list[ObjectChange]:
        """Return what is left when the queue has ended."""
        left, self._changes = self._changes, []
        return left

    def wake(self, at: float) -> None:
        """Let ``take`` return at this time of the event loop, changes or none."""
        if self._timer is not None and at == self._timer.when():
            return
        self.sleep()
        self._timer = asyncio.get_running_loop().call_at(at, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._ready.set()

    def sleep(self) -> None:
        """Let nothing but changes wake ``take``."""
        if self._timer is not None:
            self._timer.cancel()

    async def take(self) -> list[ObjectChange]:
        """Return all queued changes, as soon as there are some; none if it is woken."""
        await self._ready.wait()
        self._ready.clear()
        taken, self._changes, self._bytes = self._changes, [], 0
        return taken


async def watch(
    state: ServerState,
    request: ApiRequest,
    cut: Callable[[], None],
    begun: Callable[[], None] = lambda: None,
) -> AsyncGenerator[list[WatchNotice], None]:
    """Yield the events of a watch in order; raises StatusError (400) before the first.

    ``cut`` is called to disconnect a watcher that is too slow, ``begun`` when it has been told of
    what was there.
    """
    plan = _plan(request)
    await state.cache.fresh()
    cache = state.cache.of(request.info.kind)
    with _subscribed(cache, cut) as queue:
        if refused := _refusal(state, cache, plan):
            yield [refused]
            return
        first = _first(state, cache, plan)
        revision = state.cache.revision
        yield []
        async for signals in first:
            yield signals
        begun()
        # What a webhook converts is told later: it may be among the first events already.
        plan = replace(plan, since=max(plan.since, revision))
        async for signals in _follow(state, plan, queue, cache):
            yield signals


async def _follow(
    state: ServerState, plan: _WatchPlan, queue: _Queue, cache: KindCache
) -> AsyncGenerator[list[WatchNotice], None]:
    clock = asyncio.get_running_loop().time
    end = clock() + plan.seconds
    next_bookmark = clock() + _BOOKMARK_EVERY
    while not queue.ended and clock() < end:
        queue.wake(min(end, next_bookmark))
        changes = await queue.take()
        for group in batched(changes):
            if notices := [notice for change in group if (notice := plan.notice(change))]:
                yield [*notices]
            if len(changes) > ITEMS:
                await asyncio.sleep(0)
        signals: list[WatchNotice] = []
        if not changes and plan.bookmarks and not queue.ended:
            told = state.cache.revision if cache.behind is None else cache.behind
            signals.append(BookmarkNotice(told))
        if not changes:
            next_bookmark = clock() + _BOOKMARK_EVERY
        if signals:
            yield signals
    if notices := [notice for change in queue.rest() if (notice := plan.notice(change))]:
        yield [*notices]


@contextmanager
def _subscribed(cache: KindCache, cut: Callable[[], None]) -> Iterator[_Queue]:
    queue = _Queue(cut, cache)
    cache.listeners.add(queue.offer)
    # The definition has changed since the request was parsed: nothing will come, and a bookmark
    # would say that nothing was missed.
    queue.ended = cache.closed
    try:
        yield queue
    finally:
        queue.sleep()
        cache.listeners.discard(queue.offer)


def _plan(request: ApiRequest) -> _WatchPlan:
    given = request.query.get("sendInitialEvents", "")
    request.check_numbers()
    since = request.exact_version()
    if found := errors_in_watch(request.query):
        raise errors.invalid_list_options(found)
    send = request.flag("sendInitialEvents")
    bookmarks = request.flag("allowWatchBookmarks")
    return _WatchPlan(
        wanted=selection(request),
        prefix=storage_prefix(request.info.kind, request.info.namespace),
        since=since,
        initial=send or (not since and not given),
        announce=send and bookmarks,
        bookmarks=bookmarks,
        seconds=request.number("timeoutSeconds") or _MIN_TIMEOUT * (1 + random.random()),  # noqa: S311
    )


def _refusal(state: ServerState, cache: KindCache, plan: _WatchPlan) -> FailureNotice | None:
    if plan.initial and plan.since > state.cache.revision:
        return FailureNotice(errors.version_too_large(plan.since, state.cache.revision))
    if not plan.initial and plan.since and plan.since < cache.floor:
        message = f"too old resource version: {plan.since} ({cache.floor})"
        return FailureNotice(errors.expired(message))
    return None


def _first(
    state: ServerState, cache: KindCache, plan: _WatchPlan
) -> AsyncGenerator[list[WatchNotice], None]:
    """Return the first events: the present objects, or the changes since a revision.

    They are fixed at once; what changes from now on is in the watcher's queue.
    """
    if plan.initial:
        present = list(cache.items(plan.prefix))
        return _present(plan, present, state.cache.revision)
    return _missed(plan, cache.changes(plan.since) or () if plan.since else ())


async def _present(
    plan: _WatchPlan, items: list[Item], revision: int
) -> AsyncGenerator[list[WatchNotice], None]:
    async for group in strides(items):
        yield [ObjectNotice("ADDED", item) for item in plan.wanted.filter(group)]
    if plan.announce:
        yield [BookmarkNotice(revision, initial_end=True)]


async def _missed(
    plan: _WatchPlan, missed: Sequence[ObjectChange]
) -> AsyncGenerator[list[WatchNotice], None]:
    for changes in batched(missed):
        yield [notice for change in changes if (notice := plan.notice(change))]
        await asyncio.sleep(0)


def batched(changes: Sequence[ObjectChange]) -> Iterator[Sequence[ObjectChange]]:
    """Yield groups of changes that are small in number; their bytes are those of the ring."""
    for start in range(0, len(changes), ITEMS):
        yield changes[start : start + ITEMS]
