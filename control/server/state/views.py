"""The stored objects as another version or group shows them.

All versions of a custom kind share one stored form. An object that was stored in another version,
or before its definition's last change, is shown with this version's name, defaults and known
fields.
Of upstream's kinds, a form shows what its function makes of the object: see ``control/api/forms``.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress

from control.api.custom.cost import TooCostlyError
from control.api.forms.convert import shown
from control.api.kinds import Kind
from control.api.types.scalars import WrongTypeError
from control.server.state.conversion import Converter, NotConvertedError
from control.server.state.watch_cache import KindCache, ObjectChange
from control.server.wire.errors import StatusError
from control.server.wire.item import Item, encode_object, stamp

logger = logging.getLogger(__name__)


class VersionView(KindCache):
    """One version of the objects of a ``KindCache``; it has no objects of its own.

    ``changed`` is the revision of the last change of a custom kind's definition.
    """

    def __init__(self, base: KindCache, kind: Kind, changed: int) -> None:
        super().__init__(base.prefix, base.floor)
        self.kind = kind
        self._base, self._changed = base, changed
        self._seen: dict[str, tuple[Item, Item]] = {}
        base.listeners.add(self._heard)

    def close(self) -> None:
        """Stop to follow the objects; every watch of this version ends."""
        self._base.listeners.discard(self._heard)
        self.closed = True
        self.tell(None)

    def get(self, key: str) -> Item | None:
        """Return one object; None if it is absent."""
        item = self._base.get(key)
        return self.seen(item) if item is not None else None

    def items(self, prefix: str = "", after: str = "") -> Iterator[Item]:
        """Yield the objects whose key starts with ``prefix``, in key order, after a key."""
        return map(self.seen, self._base.items(prefix, after))

    def changes(self, after: int) -> list[ObjectChange] | None:
        """Return the changes after a revision; None if the ring no longer has all of them."""
        self.floor = self._base.floor
        found = self._base.changes(after)
        return None if found is None else list(map(self._shown, found))

    def seen(self, item: Item) -> Item:
        """Return an object as this version shows it."""
        known = self._seen.get(item.key)
        if known is not None and known[0] is item:
            return known[1]
        made = seen(self.kind, item, self._changed)
        if made is not item:
            self._seen[item.key] = item, made
        return made

    def _shown(self, change: ObjectChange) -> ObjectChange:
        old = self.seen(change.old) if change.old is not None else None
        item = seen(self.kind, change.item, self._changed)
        return ObjectChange(item, old, change.removed)

    def _heard(self, change: ObjectChange | None) -> None:
        self.floor = self._base.floor
        if change is None:
            self._seen.clear()
            self.tell(None)
        else:
            if self.listeners:
                self.tell(self._shown(change))
            self._seen.pop(change.item.key, None)


def seen(kind: Kind, item: Item, changed: int) -> Item:
    """Return an object as a version of its kind shows it."""
    if kind.form is not None:
        raw = encode_object(shown(kind, item.fresh()), item.managed)
        return stamp(item.key, raw, item.revision)
    custom = kind.custom
    if custom is None:
        return item
    is_own = b'"apiVersion":"%b"' % custom.api_version.encode() in item.head
    if is_own and item.revision > changed:
        return item
    if custom.converts and not is_own:
        return _converted(kind, item)
    with suppress(TooCostlyError, WrongTypeError):
        wire = item.fresh()
        made = custom.refreshed(wire)
        if made != wire or not is_own:
            return stamp(item.key, encode_object(made, item.managed), item.revision)
    return item


def _converted(kind: Kind, item: Item) -> Item:
    """Return what a webhook has made of an object; raises NotConvertedError."""
    made = kind.custom.memo.get(item) if kind.custom and kind.custom.memo is not None else None
    if made is None:
        raise NotConvertedError(kind, [item])
    return stamp(item.key, made, item.revision)


class ConvertedView(VersionView):
    """A version whose objects a webhook converts.

    A change is told once it is converted, one after the other. If that fails, watches start over.
    """

    def __init__(self, base: KindCache, kind: Kind, changed: int, converter: Converter) -> None:
        super().__init__(base, kind, changed)
        self._converter = converter
        self._waiting: deque[ObjectChange] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def behind(self) -> int | None:  # type: ignore[override]
        """The revision before the first change that is not told yet; None without any."""
        return self._waiting[0].item.revision - 1 if self._waiting else None

    def close(self) -> None:
        """Stop to follow the objects, and to convert them."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
        super().close()

    def items(self, prefix: str = "", after: str = "") -> Iterator[Item]:
        """Return the objects; raises NotConvertedError with all that are not converted yet."""
        found = list(self._base.items(prefix, after))
        self._require(found)
        return map(self.seen, found)

    def changes(self, after: int) -> list[ObjectChange] | None:
        """Return the changes after a revision; raises NotConvertedError, as ``items``."""
        found = self._base.changes(after) or ()
        self._require([each for it in found for each in (it.item, it.old) if each is not None])
        return super().changes(after)

    def _require(self, items: Sequence[Item]) -> None:
        missing = []
        for item in items:
            try:
                self.seen(item)
            except NotConvertedError:
                missing.append(item)
        if missing:
            raise NotConvertedError(self.kind, missing)

    def _heard(self, change: ObjectChange | None) -> None:
        if change is None or not (self.listeners or self._waiting):
            self._waiting.clear()
            super()._heard(change)
            return
        self.floor = self._base.floor
        self._waiting.append(change)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tell_all())

    async def _tell_all(self) -> None:
        while self._waiting:
            change = self._waiting[0]
            items = [each for each in (change.old, change.item) if each is not None]
            try:
                try:
                    self._require(items)
                except NotConvertedError as err:
                    await self._converter.show(self.kind, err.items)
                shown = self._shown(change)
            except (StatusError, NotConvertedError) as err:
                logger.error("watches of %s end: %s", self.kind.plural, err)
                self._waiting.clear()
                self._seen.clear()
                self.tell(None)
                return
            self._waiting.popleft()
            self.tell(shown)
            self._seen.pop(change.item.key, None)
