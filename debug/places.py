"""The network namespaces that can be looked into: those of a lab's machines, or of this one.

The namespaces of Pods are found by libcni's result cache, which containerd, CRI-O and podwire's own
runtime keep. Source of its format: containernetworking/cni, libcni/api.go ("cniCacheV1").
"""

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cni_plugin.linux import namespace
from control.reported import ReportedError
from lab.state import lab_dir

T = TypeVar("T")

SWITCH = "switch"  # the network between a lab's machines
_MOST_CACHED = 10_000  # files of one node's cache; a node has at most some hundreds
_LONGEST_FILE = 1 << 20


class PlaceError(ReportedError):
    """A namespace is not there, or may not be entered; the text says which, and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """A network namespace: of a Pod on a node, or a node's own.

    ``pid`` is a process of the node: its files are below /proc/PID/root. ``addresses`` are those
    that a Pod was given, as far as they are known before its namespace is entered.
    """

    node: str
    pid: int
    netns: str  # a path that can be opened from here
    pod: tuple[str, str] | None = None  # namespace, name
    addresses: tuple[str, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """The place in words, as reports have it."""
        return f"Pod {'/'.join(self.pod)}" if self.pod else f"Node {self.node}"

    @property
    def root(self) -> Path:
        """The node's files, seen from here."""
        return Path(f"/proc/{self.pid}/root")


@dataclass(frozen=True, slots=True)
class Ground:
    """All places of a cluster that can be entered from here, and how its API is asked."""

    places: tuple[Place, ...]
    kubeconfig: Path | None = None

    def nodes(self) -> tuple[Place, ...]:
        """The nodes' own namespaces."""
        return tuple(place for place in self.places if place.pod is None)

    def names(self) -> dict[str, str]:
        """The names of addresses that are known without an API: of Pods in libcni's cache."""
        return {ip: place.name for place in self.places for ip in place.addresses}

    def node(self, name: str) -> Place:
        """A node's own namespace; raises PlaceError."""
        for place in self.nodes():
            if place.node == name:
                return place
        known = ", ".join(place.node for place in self.nodes())
        raise PlaceError(f"no node {name} can be entered from here: there are {known}")

    def pod(self, key: tuple[str, str]) -> Place:
        """A Pod's namespace; raises PlaceError."""
        for place in self.places:
            if place.pod == key:
                return place
        raise PlaceError(
            f"Pod {'/'.join(key)} has no network namespace on a node that can be entered from "
            "here: it is in its node's network, has ended, or runs elsewhere"
        )


def of_lab(name: str) -> Ground:
    """Return the places of a running lab, its control plane and its switch among them.

    Raises PlaceError.
    """
    from lab.parts import machines  # with all that makes a lab's machines
    from lab.status import MachineNotFoundError, locate

    lab = lab_dir(name)
    spec = lab.spec()
    if spec is None:
        raise PlaceError(f"no lab {name}; start it with: podwire lab up --name {name}")
    found: list[Place] = []
    for machine in (*(one.name for one in machines(spec)), SWITCH):
        try:
            pid = locate(lab, machine).pid
        except MachineNotFoundError as err:
            if machine == SWITCH:
                raise PlaceError(f"lab {name} is not up: {err}") from err
            continue  # stopped, or killed: it has no namespaces
        found += _of_machine(machine, pid)
    return Ground(tuple(found), lab.kubeconfig)


def of_host(node: str = "", kubeconfig: Path | None = None) -> Ground:
    """Return the places of this machine, whose Node has the name ``node``.

    Without one it is what kubelet takes: the host's name in small letters.
    """
    name = node or socket.gethostname().strip().lower()
    return Ground(tuple(_of_machine(name, os.getpid())), kubeconfig)


def _of_machine(node: str, pid: int) -> Iterator[Place]:
    here = Place(node, pid, f"/proc/{pid}/ns/net")
    yield here
    if node != SWITCH:
        yield from _pods(here)


def _pods(node: Place) -> Iterator[Place]:
    """Yield the Pods' namespaces: those of the cache that exist."""
    folder = node.root / "var/lib/cni/results"
    paths = sorted(folder.iterdir())[:_MOST_CACHED] if folder.is_dir() else []
    seen: set[str] = set()
    for path in paths:
        if (found := _cached(path)) is None:
            continue
        netns = f"{node.root}{found.netns}"
        if netns not in seen and _is_namespace(netns):
            seen.add(netns)
            yield Place(node.node, node.pid, netns, found.pod, found.addresses)


class _Cached(NamedTuple):
    """A Pod of libcni's cache."""

    pod: tuple[str, str]
    netns: str
    addresses: tuple[str, ...]


def _cached(path: Path) -> _Cached | None:
    """Return a Pod with its namespace; None for a file that tells neither."""
    try:
        if path.stat().st_size > _LONGEST_FILE:
            return None
        item: Any = json.loads(path.read_bytes())
        words = dict(item["cniArgs"])
        pod = str(words["K8S_POD_NAMESPACE"]), str(words["K8S_POD_NAME"])
        netns = str(item["netns"])
        addresses = tuple(_given(item.get("result")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # of something else, or just being written or removed
    usable = netns.startswith("/") and ".." not in netns
    return _Cached(pod, netns, addresses) if usable else None


def _given(result: Any) -> Iterator[str]:
    """Yield the addresses of a CNI result, without their lengths. Raises ValueError."""
    for one in (result or {}).get("ips") or ():
        yield str(ip_interface(one["address"]).ip)


def by_inode(places: Iterable[Place]) -> Iterator[tuple[int, Place]]:
    """Yield the numbers by which the kernel knows namespaces; one that is gone has none."""
    for place in places:
        with suppress(OSError):
            yield os.stat(place.netns).st_ino, place  # noqa: PTH116  # of what it points to


def _is_namespace(path: str) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return namespace.is_namespace(fd)
    finally:
        os.close(fd)


@contextmanager
def entered(place: Place) -> Iterator[None]:
    """Run the block in a place's network, this thread only; sockets made there stay there.

    Raises PlaceError.
    """
    try:
        fd = os.open(place.netns, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as err:
        raise PlaceError(f"{place.name}: its network is gone ({err.strerror})") from err
    try:
        context = namespace.entered(fd)
        try:
            context.__enter__()
        except OSError as err:
            raise PlaceError(f"{place.name}: {err.strerror}: use sudo") from err
        try:
            yield
        finally:
            context.__exit__(None, None, None)
    finally:
        os.close(fd)


def inside(place: Place, act: Callable[[], T]) -> T:
    """Return what ``act`` returns in a thread that has entered a place. Raises PlaceError."""

    def enter() -> T:
        with entered(place):
            return act()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


def inside_if_there(place: Place, act: Callable[[], T], default: T) -> T:
    """Return the same; of a place that has ended meanwhile, as Pods do, return ``default``."""
    try:
        return inside(place, act)
    except PlaceError:
        return default
