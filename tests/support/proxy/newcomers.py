"""New Pods that send from their first moment on, and peers that hammer the addresses they will get.

``Newcomers`` runs real ADDs and DELs on the node. What runs in the workers sends and counts
datagrams of both families: each carries its sender's tag, and who receives one answers it, so flows
become known to connection tracking.
"""

import contextlib
import itertools
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.cni.runner import Node, Pod
from tests.support.cni.worker import Worker
from tests.support.proxy import fake_api
from tests.support.proxy.policies import pod
from tests.support.proxy.process import PATIENCE, RunningProxy
from tests.support.space import Space

PORT = 7000
# So few that each Pod gets an ended one's.
RANGES = {
    "10.244.1.0/24": ("10.244.1.100", "10.244.1.101"),
    "fd00:10:244:1::/64": ("fd00:10:244:1::100", "fd00:10:244:1::101"),
}
ADDRESSES = tuple(one for ends in RANGES.values() for one in ends)
FAMILIES = ("4", "6")
_PAUSE = 0.002


class _Talker:
    """Sends a tag to some addresses, answers what comes, and counts it by its tag."""

    def __init__(self, tag: str, to: tuple[str, ...]) -> None:
        self.seen: Counter[str] = Counter()
        self._to = [(one if ":" in one else f"::ffff:{one}", _sent(tag, one)) for one in to]
        self._ended = threading.Event()
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        self._socket.bind(("", PORT))
        self._socket.setblocking(False)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            while not self._ended.is_set():
                for address, data in self._to:
                    with contextlib.suppress(OSError):  # there is no interface yet, or no more
                        self._socket.sendto(data, (address, PORT))
                if selector.select(_PAUSE):
                    self._receive()

    def _receive(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, source = self._socket.recvfrom(100)
                if data.startswith(b"?"):
                    self.seen[data[1:].decode()] += 1
                    self._socket.sendto(b"!", source)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()


def _sent(tag: str, address: str) -> bytes:
    return f"?{tag}/{6 if ':' in address else 4}".encode()


_talker: list[_Talker] = []


def talk(tag: str, *to: str) -> None:
    """Begin to send and to count, with the same port as whoever did so here before."""
    _talker.append(_Talker(tag, to))


def seen() -> dict[str, int]:
    """Return how many datagrams of each tag and family, as in ``r1/6``, came so far."""
    return dict(_talker[-1].seen)


def hush() -> dict[str, int]:
    """End it, and return what came."""
    last = _talker.pop()
    last.end()
    return dict(last.seen)


@contextlib.contextmanager
def talking(worker: Worker, tag: str) -> Iterator[None]:
    """Have a worker talk with the addresses that Pods will get, while the context lasts."""
    worker.call(talk, tag, *ADDRESSES)
    try:
        yield
    finally:
        worker.call(hush)


class Newcomers:
    """Pods in turn: at even numbers open ones, at odd ones those that a policy isolates."""

    def __init__(self, world: RunningProxy, spaces: Callable[[str], Space], files: Path) -> None:
        self._world = world
        self._node = Node(world.lab.spaces["node"], files)
        ranges = [
            [{"subnet": subnet, "rangeStart": first, "rangeEnd": last}]
            for subnet, (first, last) in RANGES.items()
        ]
        ipam = self._node.ipam() | {"ranges": ranges}
        self._conf = self._node.conf(bridge="podwire0", ipam=ipam)
        self._spaces = [spaces("racer") for _ in range(2)]
        self._workers = [Worker(one) for one in self._spaces]
        self._before: dict | None = None
        self._numbers = itertools.count()

    def one(
        self,
        friend: Worker,
        stranger: Worker,
        friends: tuple[str, ...],
        strangers: tuple[str, ...],
    ) -> None:
        """Let a Pod come and go, and check what passed.

        ``friend`` may talk with an isolated Pod, ``stranger`` may not.
        """
        number = next(self._numbers)
        tag, isolated = f"r{number}", number % 2 == 1
        space, worker = (each[number % 2] for each in (self._spaces, self._workers))
        container = Pod(tag, space)
        worker.call(talk, tag, *friends, *strangers)
        args = f"IgnoreUnknown=1;K8S_POD_UID={tag}"
        result = self._node.call("ADD", container, self._conf, args=args).ok().document
        addresses = [one["address"].partition("/")[0] for one in result["ips"]]
        self._end_the_one_before()
        labels = {"app": "isolated" if isolated else "open"}
        wire = pod(tag, "n1", *addresses, labels=labels)
        self._world.put(wire)
        _until(lambda: met(friend, tag) and met(worker, "friend"), self._world)
        if not isolated:
            _until(lambda: met(stranger, tag) and met(worker, "stranger"), self._world)
        self._node.call("DEL", container, self._conf).ok()  # before the API learns of its end
        came = worker.call(hush)
        if isolated:
            for who, where in (("stranger", came), (tag, stranger.call(seen))):
                got = [where.get(f"{who}/{one}", 0) for one in FAMILIES]
                assert got == [0, 0], (who, tag, addresses)
        self._before = wire

    def _end_the_one_before(self) -> None:
        """Tell the API of the last Pod's end, in steps, with changes of its labels: first of all a
        late status, as of a Pod that goes on.
        """
        if self._before is not None:
            late = self._before["metadata"] | {"labels": {"app": "open", "late": "yes"}}
            self._world.put(self._before | {"metadata": late})
            time.sleep(5 * _PAUSE)
            meta = self._before["metadata"] | {
                "deletionTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"app": "open", "changed": "yes"},
            }
            self._world.put(self._before | {"metadata": meta})
            time.sleep(5 * _PAUSE)  # in which a new Pod would send by the old one's policies
            self._world.api.call(fake_api.remove, self._before)
            self._before = None

    def close(self) -> None:
        """End the workers."""
        self._end_the_one_before()
        for one in self._workers:
            one.stop()


def met(worker: Worker, tag: str) -> bool:
    """Return True if datagrams of a tag came to a worker in both families."""
    came = worker.call(seen)
    return all(came.get(f"{tag}/{one}") for one in FAMILIES)


def _until(holds: Callable[[], object], world: RunningProxy) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, world.log.read_text()[-2000:]
