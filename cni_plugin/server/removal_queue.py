"""Removals of links for the server's threads, in batches.

The kernel's answer to a removal takes some 15 ms, with any number of links. A few threads wait for
these answers. Removals that arrive while all of them wait form the next batch (``removals``). A
caller returns when the kernel notifies that its links are gone (``departures``), before the answer.
Measured with 50 callers: under 100 ms, instead of over 1,000 ms one by one.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock, Thread

from cni_plugin.linux import departures
from cni_plugin.linux.namespace import Namespace
from cni_plugin.linux.removals import remove_all

_WAITERS = 4


@dataclass(slots=True)
class _Removal:
    """A caller's removal. ``left`` are the links whose removal was not notified yet."""

    left: set[str]
    done: Future[None] = field(default_factory=Future)

    def gone(self, names: Sequence[str]) -> None:
        self.left.difference_update(names)
        if not self.left and not self.done.done():
            self.done.set_result(None)

    def failed(self, errors: dict[str, OSError]) -> None:
        """Fail if the kernel refused one of the links. All others are gone."""
        refused = [errors[name] for name in self.left if name in errors]
        if refused and not self.done.done():
            self.done.set_exception(refused[0])
        self.gone([*self.left])


class RemovalQueue:
    """Removes links in the network namespace of this process. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = Lock()  # of the attributes below
        self._pending: list[_Removal] = []
        self._under_way: list[_Removal] = []
        self._waiters = ThreadPoolExecutor(_WAITERS, thread_name_prefix="removal")
        # a daemon thread: it has nothing to finish, and nothing wakes it
        Thread(target=self._listen, name="departures", daemon=True).start()

    def __call__(self, host_ns: Namespace, names: Sequence[str]) -> None:
        """Remove the links that exist. Raises OSError."""
        del host_ns  # each removal uses a socket of its own
        removal = _Removal(set(names))
        with self._lock:
            self._pending.append(removal)
        self._waiters.submit(self._remove_pending)
        removal.done.result()

    def close(self) -> None:
        """Wait for the kernel's answers."""
        self._waiters.shutdown()

    def _remove_pending(self) -> None:
        with self._lock:
            batch, self._pending = self._pending, []
            self._under_way += batch
        names = [name for removal in batch for name in removal.left]
        try:
            with Namespace() as host_ns:
                errors = remove_all(host_ns, names)
        except OSError as err:
            errors = dict.fromkeys(names, err)
        with self._lock:
            for removal in batch:
                removal.failed(errors)
                self._under_way.remove(removal)

    def _listen(self) -> None:
        with departures.listen() as listener:
            for name in departures.removed_links(listener):
                with self._lock:
                    for removal in self._under_way:
                        removal.gone([name])
