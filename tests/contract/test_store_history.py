"""Random histories of commits, compactions and reads, compared with a dict and its past."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from control.store.base import (
    CompactedError,
    Create,
    Delete,
    KeyValue,
    Store,
    StoreError,
    StoreEvent,
    Update,
    Write,
)
from tests.support.control.stores import STORES, make_store

T = TypeVar("T")
State = dict[str, tuple[bytes, int]]

keys = st.sampled_from([f"/{folder}/{name}" for folder in "ab" for name in "xyz"])
changes = st.one_of(
    st.builds(Create, keys, st.binary(max_size=3)),
    st.builds(Update, keys, st.binary(max_size=3), st.integers(0, 6)),
    st.builds(Delete, keys, st.integers(0, 6)),
)


def permitted(state: State, change: Write) -> bool:
    present = state.get(change.key)
    if isinstance(change, Create):
        return present is None
    return present is not None and change.expected in (0, present[1])


class History(RuleBasedStateMachine):
    """The store under test, and the expected state at each revision."""

    name = ""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.zero: int | None = None  # the revision that the store began with
        self.states: list[State] = [{}]  # by the revision after that one
        self.events: list[list[StoreEvent]] = [[]]
        self.compacted = 0

    def run_(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    @initialize()
    def open(self) -> None:
        self.store: Store = self.run_(make_store(self.name, Path(self.folder.name)))
        if self.zero is None:
            self.zero = self.store.revision

    @rule(wanted=st.lists(changes, min_size=1, max_size=3, unique_by=lambda c: c.key))
    def commit(self, wanted: list[Write]) -> None:
        state = self.states[-1]
        wanted = [self.absolute(change) for change in wanted]
        if not all(permitted(state, change) for change in wanted):
            with pytest.raises(StoreError):
                self.run_(self.store.commit(*wanted))
            return
        revision = self.run_(self.store.commit(*wanted))
        assert revision == self.zero + len(self.states)
        after = dict(state)
        for change in wanted:
            if isinstance(change, Delete):
                del after[change.key]
            else:
                after[change.key] = (change.value, revision)
        self.states.append(after)
        self.events.append(
            [
                StoreEvent(c.key, revision, None if isinstance(c, Delete) else c.value)
                for c in wanted
            ]
        )

    def absolute(self, change: Write) -> Write:
        """Return a change that expects a revision of this store."""
        expected = 0 if isinstance(change, Create) else change.expected
        return replace(change, expected=self.zero + expected) if expected else change

    @rule(back=st.integers(0, 4))
    def compact(self, back: int) -> None:
        revision = max(len(self.states) - 1 - back, 0)
        self.run_(self.store.compact(self.zero + revision))
        self.compacted = max(self.compacted, revision)

    @rule(back=st.integers(0, 4), prefix=st.sampled_from(["/", "/a/", "/b"]))
    def read_the_past(self, back: int, prefix: str) -> None:
        revision = max(len(self.states) - 1 - back, 1)
        if revision >= len(self.states):
            return
        if revision < self.compacted:
            with pytest.raises(CompactedError):
                self.run_(self.store.list(prefix, revision=self.zero + revision))
            return
        page = self.run_(self.store.list(prefix, revision=self.zero + revision))
        assert page.records == records(self.states[revision], prefix)

    @rule(limit=st.integers(1, 3))
    def read_in_pages(self, limit: int) -> None:
        found: list[KeyValue] = []
        more = True
        while more:
            after = found[-1].key if found else ""
            page = self.run_(self.store.list("/", limit=limit, after=after))
            found += page.records
            more = page.more
        assert tuple(found) == records(self.states[-1], "/")

    @rule()
    def watch(self) -> None:
        wanted = [event for commit in self.events[self.compacted + 1 :] for event in commit]
        assert self.run_(self.heard(self.compacted, len(wanted))) == wanted

    async def heard(self, since: int, count: int) -> list[StoreEvent]:
        found: list[StoreEvent] = []
        events = self.store.watch("/", self.zero + since)
        while len(found) < count:
            found += (await anext(events)).events
        await events.aclose()
        return found

    @rule()
    def reopen(self) -> None:
        if self.name == "memory":
            return
        self.run_(self.store.close())
        self.open()

    @invariant()
    def knows_its_revision(self) -> None:
        if hasattr(self, "store"):
            assert self.store.revision == self.zero + len(self.states) - 1
            assert max(self.store.compacted - self.zero, 0) == self.compacted

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run_(self.store.close())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.folder.cleanup()


def records(state: State, prefix: str) -> tuple[KeyValue, ...]:
    return tuple(KeyValue(key, *state[key]) for key in sorted(state) if key.startswith(prefix))


def case(store: str, examples: int = 40) -> type:
    machine = type(f"History_{store}", (History,), {"name": store})
    test = machine.TestCase  # type: ignore[attr-defined]
    test.settings = settings(
        max_examples=examples,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    return test


assert STORES == ("memory", "sqlite", "etcd")
TestMemory = case("memory")
TestEtcd = case("etcd", 12)  # the conditions are the store's, and a call takes a millisecond
TestSqlite = case("sqlite", 25)
