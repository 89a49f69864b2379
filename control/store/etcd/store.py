"""A store in etcd, behind the ``Store`` protocol; other API servers may write to it, too.

One watch follows all of etcd, and everything that reads the past of the last minutes reads what it
has brought. A commit returns when the watch has brought it, so that who reads a cache afterwards
finds it there.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial
from typing import Self

from control.rpc import answer_of
from control.store.base import (
    Commit,
    CompactedError,
    FutureRevisionError,
    Heard,
    KeyValue,
    StoreError,
    StorePage,
    StoreUnavailableError,
    Write,
    check_size,
)
from control.store.etcd import messages
from control.store.etcd.connection import (
    COMPACT,
    GRANT,
    RANGE,
    TXN,
    EtcdConnection,
    LeaseGoneError,
    Members,
    RevisionGoneError,
    RevisionToComeError,
)
from control.store.etcd.leases import LIFE, Leases
from control.store.etcd.shared import SharedCall
from control.store.etcd.v3 import rpc_pb2 as pb
from control.store.recent import RecentCommits, matching

logger = logging.getLogger(__name__)

Commits = list[Commit]  # a name for what the method ``list`` hides
_EMPTY = 1  # the revision of a new etcd, the only one without an event
_AGAIN = 0.2  # seconds until a watch that has ended is made again
_HEARD = 10.0  # seconds in which a commit should come by the watch


class EtcdStore:
    """A ``control.store.base.Store`` in etcd; make one with ``open``."""

    removes_events = True

    def __init__(
        self, members: Members, connection: EtcdConnection, revision: int, event_life: int = LIFE
    ) -> None:
        self._prefix = members.prefix.encode()
        self._connection = connection
        self._recent = RecentCommits(0 if revision == _EMPTY else revision)
        self._recent.advance(revision)
        self._compacted = 0
        self._leases = Leases(self._grant, event_life)
        self._newest = SharedCall(partial(self._read, messages.newest(self._prefix)))
        self._following: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, members: Members, event_life: int = LIFE) -> Self:
        """Connect, and begin to follow etcd. Raises StoreUnavailableError."""
        connection = EtcdConnection(members)
        try:
            answer = await connection.read(RANGE, messages.newest(members.prefix.encode()))
            made = cls(members, connection, answer.header.revision, event_life)
            made._compacted = await made._find_compacted()
        except StoreError:
            connection.close()
            raise
        made._following = asyncio.create_task(made._follow(), name="etcd-watch")
        return made

    @property
    def revision(self) -> int:
        return self._recent.revision

    @property
    def compacted(self) -> int:
        return self._compacted

    async def newest(self) -> int:
        return (await self._newest.ask()).header.revision

    async def get(self, key: str) -> KeyValue | None:
        answer = await self._read(pb.RangeRequest(key=self._prefix + key.encode()))
        return messages.record(self._prefix, answer.kvs[0]) if answer.kvs else None

    async def list(
        self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0
    ) -> StorePage:
        found: list[KeyValue] = []
        at, more = revision, True
        while more and (not limit or len(found) < limit):
            rest = limit - len(found) if limit else 0
            last = found[-1].key if found else ""
            request = messages.page(
                self._prefix, prefix, after=after, revision=at, limit=rest, last=last
            )
            answer = await self._read(request, at)
            at = at or answer.header.revision
            found += [messages.record(self._prefix, one) for one in answer.kvs]
            more = answer.more
        return StorePage(tuple(found), at, more=more)

    async def commit(self, *changes: Write) -> int:
        check_size(changes)
        try:
            answer = await self._write(changes)
        except LeaseGoneError:  # once more with another one
            self._leases.forget()
            answer = await self._write(changes)
        if not answer.succeeded:
            messages.refuse(changes, answer)
        revision = answer.header.revision
        await self._heard(revision)
        return revision

    async def _write(self, changes: Sequence[Write]) -> pb.TxnResponse:
        lease = await self._leases.give(sum(map(messages.expires, changes)))
        request = messages.transaction(self._prefix, changes, lease)
        return await self._connection.call(TXN, request)

    async def _grant(self, seconds: int) -> int:
        answer = await self._connection.call(GRANT, pb.LeaseGrantRequest(TTL=seconds))
        return answer.ID

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[Heard, None]:
        seen = since
        while True:
            self._check_open()
            if seen < self._compacted:
                raise CompactedError(seen, self._compacted)
            commits, reached = await self._after(seen)
            if reached > seen:
                seen = reached
                yield Heard(matching(commits, prefix), seen)
            await self._recent.wait(seen)

    async def compact(self, revision: int) -> None:
        self._check_open()
        if revision <= self._compacted:
            return
        try:
            await self._connection.call(COMPACT, pb.CompactionRequest(revision=revision))
        except RevisionToComeError as err:
            raise FutureRevisionError(revision, self.revision) from err
        except RevisionGoneError:  # another server was first
            self._compacted = await self._find_compacted()
        else:
            self._compacted = revision

    async def close(self) -> None:
        self._connection.close()
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None
        self._recent.wake()

    async def _read(self, request: pb.RangeRequest, revision: int = 0) -> pb.RangeResponse:
        self._check_open()
        try:
            return await self._connection.read(RANGE, request)
        except RevisionToComeError as err:
            raise FutureRevisionError(revision, self.revision) from err
        except RevisionGoneError as err:
            self._compacted = await self._find_compacted()
            raise CompactedError(revision, self._compacted) from err

    async def _find_compacted(self) -> int:
        """Find the newest compacted revision: etcd says of each only whether it can be read."""
        gone, readable = 0, self.revision
        while readable - gone > 1:
            middle = (gone + readable) // 2
            if await self._is_readable(middle):
                readable = middle
            else:
                gone = middle
        return readable if gone else 0

    async def _is_readable(self, revision: int) -> bool:
        request = messages.newest(self._prefix)
        request.revision = revision
        try:
            await self._connection.read(RANGE, request)
        except RevisionGoneError:
            return False
        return True

    async def _follow(self) -> None:
        while not self._connection.is_closed:
            try:
                await answer_of(self._hear())
            except CompactedError as err:  # away for longer than the history lasts
                self._compacted = err.oldest
                self._recent.restart(err.oldest)
            except StoreError as err:
                if not self._connection.is_closed:
                    logger.warning("watch of etcd: %s; again in %.1f s", err, _AGAIN)
            await asyncio.sleep(_AGAIN)

    async def _hear(self) -> None:
        async for revision, commit in self._events(self._recent.revision):
            if commit:
                self._recent.append(commit)
            else:
                self._recent.advance(revision)

    async def _events(self, since: int) -> AsyncGenerator[tuple[int, Commit], None]:
        """Yield commits after a revision, and those of other keys without events.

        Raises CompactedError, StoreError.
        """
        parts: list[pb.Event] = []
        async with aclosing(self._connection.watch(messages.watch(since))) as answers:
            async for answer in answers:
                if answer.compact_revision:
                    raise CompactedError(since, answer.compact_revision)
                if answer.canceled:
                    raise StoreUnavailableError(f"etcd ended a watch: {answer.cancel_reason}")
                parts += answer.events
                if not answer.fragment:
                    for found in messages.commits(self._prefix, parts):
                        yield found
                    parts.clear()

    async def _after(self, seen: int) -> tuple[Commits, int]:
        """Return commits after a revision, and the revision reached: from memory or from etcd."""
        commits = self._recent.after(seen)
        if commits is not None:
            return commits, max(seen, self.revision)
        return await self._past(seen)

    async def _past(self, since: int) -> tuple[Commits, int]:
        """Read what happened after a revision that is no longer in memory, up to the present."""
        found: Commits = []
        until = self.revision
        try:
            async with aclosing(self._events(since)) as events:
                async for revision, commit in events:
                    if commit:
                        found.append(commit)
                    if revision >= until:
                        return found, revision
        except CompactedError as err:
            self._compacted = max(self._compacted, err.oldest)
            raise
        raise StoreUnavailableError("etcd ended a watch of the past")

    async def _heard(self, revision: int) -> None:
        """Wait until the watch has brought a commit, but not for ever: it has been made."""
        try:
            async with asyncio.timeout(_HEARD):
                while self._recent.revision < revision and not self._connection.is_closed:
                    await self._recent.wait(self._recent.revision)
        except TimeoutError:
            logger.warning("watch of etcd: revision %d has not come in %.0f s", revision, _HEARD)

    def _check_open(self) -> None:
        if self._connection.is_closed:
            raise StoreUnavailableError("the store is closed")
