"""The commits of a group that is about to be written: which of them are. Pure."""

from collections.abc import Callable, Sequence

from control.store.base import (
    Commit,
    Delete,
    StoreError,
    StoreFullError,
    Write,
    check,
    events_of,
)

Outcome = Commit | StoreError


class Draft:
    """Adds commits one after the other, each to what those before it leave."""

    def __init__(self, current: dict[str, int], quota: int, used: Callable[[], int]) -> None:
        """``current`` has the revisions of keys before the group; ``used`` returns bytes in use."""
        self._current, self._quota, self._used = current, quota, used
        self._before: int | None = None  # bytes in use before the group, once they are asked for
        self._added = 0

    def add(self, revision: int, changes: Sequence[Write]) -> Outcome:
        """Return a commit's events at a revision, or why it cannot be."""
        try:
            for change in changes:
                check(change, self._current.get(change.key))
            self._check_quota(changes)
        except StoreError as err:
            return err
        commit = events_of(changes, revision)
        for event in commit:
            if event.value is None:
                self._current.pop(event.key, None)
            else:
                self._current[event.key] = revision
        return commit

    def _check_quota(self, changes: Sequence[Write]) -> None:
        """Refuse a commit that stores more than the quota; one that only removes is allowed."""
        added = sum(len(change.value) for change in changes if not isinstance(change, Delete))
        if not added or self._quota < 0:
            return
        if self._before is None:
            self._before = self._used()
        if self._quota < self._before + self._added + added:
            raise StoreFullError(self._quota)
        self._added += added
