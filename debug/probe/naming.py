"""Names for what the programs tell: whose namespace it was, which Service, who answers."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

from control.reported import ReportedError
from debug.cluster import SERVICE_LABEL, ClusterState, plain_address
from debug.flows.naming import FlowNames
from debug.output import with_port
from debug.places import Ground, Place, by_inode, inside_if_there
from debug.probe.events import SocketEvent
from debug.trace.packet import Flow
from debug.trace.watch.connections import find

_AGAIN = 2.0  # seconds between two looks for new Pods
_OLD = 30.0  # seconds after which Services and addresses are asked for again
_MOST_STRANGERS = 10_000  # namespaces that are nobody's here
_MOST_EARLY = 10_000  # events that wait until their namespace is known
_MOST_ASKED = 500  # connections of one reading whose endpoint is looked up

E = TypeVar("E", bound=SocketEvent)
Look = Callable[[], tuple[Ground, ClusterState]]
End = tuple[str, int, str]  # address, port, protocol


class Names:
    """What the objects say of addresses and ports. Pure."""

    def __init__(self, cluster: ClusterState) -> None:
        self._flows = FlowNames(cluster)
        self._serving = dict(_serving(cluster))

    def owner(self, address: str) -> str:
        """Return the name of who has an address; "" for a stranger."""
        return self._flows.owner(address)

    def service(self, address: str, port: int, protocol: str = "TCP") -> str:
        """Return the Service that is called at an end: "default/web:http", or ""."""
        found = self._flows.called_at(address, port, protocol)
        return _shown("/".join(found.service), found.port) if found else ""

    def serving(self, address: str, port: int, protocol: str = "TCP") -> str:
        """Return the Services of which an end is an endpoint; "" if of none."""
        return self._serving.get((address, port, protocol), "")


def _serving(cluster: ClusterState) -> Iterator[tuple[End, str]]:
    found: dict[End, set[str]] = {}
    for one in cluster.slices:
        service = f"{one.key[0]}/{one.metadata.labels.get(SERVICE_LABEL, '')}"
        addresses = [address for endpoint in one.endpoints for address in endpoint.addresses]
        for port in one.ports:
            name = _shown(service, port.name or "")
            for address in addresses:
                end = plain_address(address), port.port or 0, port.protocol or "TCP"
                found.setdefault(end, set()).add(name)
    for end, names in found.items():
        yield end, " or ".join(sorted(names))


def _shown(service: str, port: str) -> str:
    return f"{service}:{port}" if port else service


class Scene:
    """The namespaces that are listened to, by the numbers that the kernel gives them.

    It looks again when an event comes from one that it does not know: a new Pod's, perhaps.
    """

    def __init__(self, look: Look, node: str) -> None:
        """``node`` is the only one that matters, if it is not ""."""
        self._look, self._node = look, node
        self._places: dict[int, Place] = {}
        self._strangers: set[int] = set()
        self.cluster = ClusterState()  # empty if the API's objects are not known
        self.names = Names(self.cluster)
        self._refresh()

    def _refresh(self) -> None:
        """Look which namespaces there are, and who has which address. Raises ReportedError."""
        self._looked = time.monotonic()
        found, cluster = self._look()
        self._hosts = {place.node: place for place in found.nodes()}
        if self._node:
            found.node(self._node)  # or say which there are
        self._places |= dict(by_inode(found.places))  # with those of Pods that have ended
        if cluster != ClusterState():  # or it cannot be asked any more
            self.cluster, self.names = cluster, Names(cluster)

    @property
    def count(self) -> tuple[int, int]:
        """The numbers of nodes and of Pods that matter."""
        found = [place for number in self._places if (place := self.place(number))]
        pods = sum(place.pod is not None for place in found)
        return len(found) - pods, pods

    def place(self, number: int) -> Place | None:
        """Return the place of a namespace; None if it does not matter."""
        found = self._places.get(number)
        return found if found and self._node in ("", found.node) else None

    def meet(self, numbers: Iterable[int]) -> None:
        """Look again for namespaces that are not known, at most once in two seconds, or for names
        that are old.
        """
        came = set(numbers)
        new = came - self._places.keys() - self._strangers
        if not came or time.monotonic() < self._looked + (_AGAIN if new else _OLD):
            return
        with suppress(ReportedError):  # its lab has ended: what was known is still known
            self._refresh()
        if len(self._strangers) < _MOST_STRANGERS:
            self._strangers |= new - self._places.keys()

    def is_known(self, number: int) -> bool:
        """Return whether it is known whose a namespace is, or that it is nobody's."""
        return number in self._places or number in self._strangers

    def answering(self, events: Iterable[tuple[Place, SocketEvent]]) -> dict[SocketEvent, str]:
        """Return who answers those that call Services, ``ADDRESS:PORT``, by nodes' conntrack."""
        asked: dict[str, list[SocketEvent]] = {}
        calls = (pair for pair in events if self.names.service(pair[1].destination, pair[1].port))
        for place, one in islice(calls, _MOST_ASKED):
            asked.setdefault(place.node, []).append(one)
        found: dict[SocketEvent, str] = {}
        for node, sought in asked.items():
            if host := self._hosts.get(node):
                none: dict[SocketEvent, str] = {}
                found |= inside_if_there(host, partial(_tracked, sought), none)
        return found


class Arrivals(Generic[E]):
    """Finds the places of events; those of new namespaces wait until these are known."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._early: list[E] = []

    def placed(self, events: Iterable[E]) -> list[tuple[Place, E]]:
        """Return the events of places that matter, with those that waited."""
        every = [*self._early, *events]
        self._scene.meet(one.netns for one in every)
        waiting = (one for one in every if not self._scene.is_known(one.netns))
        self._early = list(islice(waiting, _MOST_EARLY))
        return [(place, one) for one in every if (place := self._scene.place(one.netns))]


def _tracked(events: Iterable[SocketEvent]) -> dict[SocketEvent, str]:
    found: dict[SocketEvent, str] = {}
    for one in events:
        flow = Flow("tcp", one.source, one.destination, one.source_port, one.port)
        if (entry := find(flow)) and entry.translated:
            found[one] = with_port(entry.reply.source, entry.reply.source_port)
    return found
