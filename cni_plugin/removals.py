"""Removals of links that are pending together, done together.

The kernel waits some 15 ms each time links go away, however many they are. So a few threads do
the waiting, whoever comes while all of them wait joins the next removal, whose links are put into
one group (IFLA_GROUP) that is removed at once, and who asked is told when the kernel says that
the links are gone, not when it has finished waiting (see ``departures``).
Measured with 50 at a time: over 1,000 ms one by one, under 100 ms so.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock, Thread

from cni_plugin import departures, uapi
from cni_plugin.netlink import NetlinkError, pack
from cni_plugin.space import Space

# Link groups are a user's to number; nobody numbers theirs like this ("pwrm").
_GROUP = 0x7077726D
_ANY_LINK = uapi.IFINFOMSG.pack(0, 0, 0, 0, 0)
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


class Removals:
    """Removes links of the host of this process; callable from any thread, like ``remove``."""

    def __init__(self) -> None:
        self._lock = Lock()  # of all that follows
        self._pending: list[_Removal] = []
        self._under_way: list[_Removal] = []
        self._waiters = ThreadPoolExecutor(_WAITERS, thread_name_prefix="removal")
        # it has nothing to finish, and nothing wakes it
        Thread(target=self._listen, name="departures", daemon=True).start()

    def __call__(self, host: Space, names: Sequence[str]) -> None:
        """Remove links; those that are not there are fine. Raises OSError."""
        del host  # busy with other questions; each removal has a socket of its own
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
            with Space() as host:
                errors = remove_all(host, names)
        except OSError as err:
            errors = dict.fromkeys(names, err)
        with self._lock:
            for removal in batch:
                removal.failed(errors)
                self._under_way.remove(removal)

    def _listen(self) -> None:
        with departures.listen() as ear:
            for name in departures.heard(ear):
                with self._lock:
                    for removal in self._under_way:
                        removal.gone([name])


def remove(host: Space, names: Sequence[str]) -> None:
    """Remove links; those that are not there are fine. Raises OSError."""
    for error in remove_all(host, names).values():
        raise error


def remove_all(host: Space, names: Sequence[str]) -> dict[str, OSError]:
    """Remove links together; returns why some are still there."""
    if len(names) > 1 and _remove_group(host, names):
        return {}
    failed = {}
    for name in names:
        try:
            host.remove_link(name)
        except OSError as err:
            failed[name] = err
    return failed


def _remove_group(host: Space, names: Sequence[str]) -> bool:
    """Whether all of them are gone; if not, one of them does not want to go."""
    try:
        marked = [_mark(host, name) for name in names]
        if any(marked):
            host.socket.change(uapi.RTM_DELLINK, _ANY_LINK + pack({uapi.IFLA_GROUP: _GROUP}))
    except NetlinkError:
        return False
    return True


def _mark(host: Space, name: str) -> bool:
    """Put a link into the group; whether it was there."""
    body = _ANY_LINK + pack({uapi.IFLA_IFNAME: name, uapi.IFLA_GROUP: _GROUP})
    try:
        host.socket.change(uapi.RTM_NEWLINK, body)
    except NetlinkError as err:
        if err.absent:
            return False
        raise
    return True
