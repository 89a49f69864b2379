"""A store whose values are encrypted on their way in, and decrypted on their way out."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

from msgspec.structs import replace

from control.store.base import (
    Commit,
    Delete,
    Heard,
    KeyValue,
    Store,
    StoreDamagedError,
    StoreEvent,
    StorePage,
    Update,
    Write,
)
from control.store.encryption.config import Rule
from control.store.encryption.values import Plain, UndecipherableError, ValueKey, decrypt

_PLAIN: tuple[ValueKey, ...] = (Plain(),)
_PAGE = 500


class EncryptedStore:
    """A ``control.store.base.Store`` upon another; the first rule that fits a key counts.

    Reads raise StoreDamagedError for a value that no key of its rule decrypts.
    """

    def __init__(self, inner: Store, rules: tuple[Rule, ...]) -> None:
        self._inner = inner
        self._rules = rules

    @property
    def removes_events(self) -> bool:
        return self._inner.removes_events

    @property
    def revision(self) -> int:
        return self._inner.revision

    @property
    def compacted(self) -> int:
        return self._inner.compacted

    async def newest(self) -> int:
        return await self._inner.newest()

    async def get(self, key: str) -> KeyValue | None:
        found = await self._inner.get(key)
        return None if found is None else self._opened(found)

    async def list(
        self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0
    ) -> StorePage:
        page = await self._inner.list(prefix, limit=limit, after=after, revision=revision)
        return replace(page, records=tuple(self._opened(one) for one in page.records))

    async def commit(self, *changes: Write) -> int:
        return await self._inner.commit(*(self._closed(change) for change in changes))

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[Heard, None]:
        async with aclosing(self._inner.watch(prefix, since)) as groups:
            async for heard in groups:
                yield Heard(self._heard(heard.events), heard.revision)

    async def compact(self, revision: int) -> None:
        await self._inner.compact(revision)

    async def close(self) -> None:
        await self._inner.close()

    async def write_anew(self) -> int:
        """Write what the first key of its rule did not write; return the number of values.

        After a key was put first, and before an old one goes. Raises StoreError.
        """
        written = 0
        for prefix in self._prefixes():
            after, more = "", True
            while more:
                page = await self._inner.list(prefix, limit=_PAGE, after=after)
                for stored in page.records:
                    if not self._is_current(stored):
                        change = Update(stored.key, self._opened(stored).value, stored.revision)
                        await self.commit(change)
                        written += 1
                after, more = page.records[-1].key if page.records else "", page.more
        return written

    def _prefixes(self) -> Iterator[str]:
        """Yield the prefixes of all rules, without those below others."""
        every = sorted({prefix for rule in self._rules for prefix in rule.prefixes})
        for prefix in every:
            if not any(prefix.startswith(other) for other in every if other != prefix):
                yield prefix

    def _keys(self, key: str) -> tuple[ValueKey, ...]:
        for rule in self._rules:
            if key.startswith(rule.prefixes):
                return rule.keys
        return _PLAIN

    def _is_current(self, stored: KeyValue) -> bool:
        first = self._keys(stored.key)[0]
        if first.mark:
            return stored.value.startswith(first.mark)
        return self._value(stored.key, stored.value) == stored.value

    def _closed(self, change: Write) -> Write:
        if isinstance(change, Delete):
            return change
        value = self._keys(change.key)[0].encrypt(change.value, change.key)
        return replace(change, value=value)

    def _opened(self, stored: KeyValue) -> KeyValue:
        return replace(stored, value=self._value(stored.key, stored.value))

    def _heard(self, events: Commit) -> Commit:
        return tuple(
            event
            if event.value is None
            else StoreEvent(event.key, event.revision, self._value(event.key, event.value))
            for event in events
        )

    def _value(self, key: str, stored: bytes) -> bytes:
        try:
            return decrypt(self._keys(key), stored, key)
        except UndecipherableError as err:
            raise StoreDamagedError(f"read {key}: {err}") from err
