"""Removals for the server's many threads: batched, and answered before the kernel has finished.

The kernel waits some 15 ms each time links go away, however many they are. So a few threads do
the waiting, whoever comes while all of them wait joins the next removal (``removals``), and who
asked is told when the kernel says that the links are gone, not when it has finished waiting
(``departures``). Measured with 50 at a time: over 1,000 ms one by one, under 100 ms so.
"""

from __future__ import annotations

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
    """What somebody waits for; ``left`` are the links that nobody has seen leave."""

    left: set[str]
    done: Future[None] = field(default_factory=Future)

    def gone(self, names: Sequence[str]) -> None:
        self.left.difference_update(names)
        if not self.left and not self.done.done():
            self.done.set_result(None)

    def failed(self, errors: dict[str, OSError]) -> None:
        """Take what the kernel refused; what it did not refuse is gone."""
        refused = [errors[name] for name in self.left if name in errors]
        if refused and not self.done.done():
            self.done.set_exception(refused[0])
        self.gone([*self.left])


class RemovalQueue:
    """Removes links of the host of this process; callable from any thread, like ``remove``."""

    def __init__(self) -> None:
        self._lock = Lock()  # of all that follows
        self._pending: list[_Removal] = []
        self._under_way: list[_Removal] = []
        self._waiters = ThreadPoolExecutor(_WAITERS, thread_name_prefix="removal")
        # it has nothing to finish, and nothing wakes it
        Thread(target=self._listen, name="departures", daemon=True).start()

    def __call__(self, host_ns: Namespace, names: Sequence[str]) -> None:
        """Remove links; those that are not there are fine. Raises OSError."""
        del host_ns  # busy with other questions; each removal has a socket of its own
        removal = _Removal(set(names))
        with self._lock:
            self._pending.append(removal)
        self._waiters.submit(self._remove_pending)
        removal.done.result()

    def close(self) -> None:
        """Wait for the kernel to finish."""
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
