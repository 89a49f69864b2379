"""Feeds the tracker: informers report objects, and each change asks for a sync.

Each object is parsed when it arrives. Only its value (``proxy.model.values``) is kept, which the
tracker holds too; the rest of the object takes no memory.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from sys import intern
from typing import Generic, TypeVar

from control.client import Client, Informer
from proxy.backends.base import COUNTING
from proxy.desired.tracker import Tracker
from proxy.model.values import Balance, Frozen, Key, NodeView, Service, Slice
from proxy.objects import wire as api
from proxy.objects.parse import (
    HEADLESS_LABEL,
    PROXY_NAME_LABEL,
    TRIGGER,
    Complaints,
    parse_node,
    parse_service,
    parse_slice,
)
from proxy.objects.ranges import Ranges, ServiceRanges
from proxy.status.changes import PendingChanges
from proxy.status.events import Reporter

logger = logging.getLogger("podwire.proxy.feed")


Value = TypeVar("Value")


class KeptObject(Frozen, Generic[Value], frozen=True):
    """The kept part of an API object: its identity and its ``value``, None if the proxy does not
    serve it.
    """

    key: Key
    uid: str
    resource_version: str
    value: Value | None
    complaints: tuple[str, ...]
    trigger: str = ""  # of an EndpointSlice: when its last change began


class ObjectReader:
    """Parses objects for this node's proxy."""

    def __init__(self, node_name: str, proxy_name: str) -> None:
        self._node_name = node_name
        self._proxy_name = proxy_name

    def service(self, wire: api.Service) -> KeptObject[Service]:
        """Parse a Service."""
        complaints = Complaints(f"Service {'/'.join(wire.key)}")
        return _kept(wire, parse_service(wire, complaints, self._proxy_name), complaints)

    def slice(self, wire: api.EndpointSlice) -> KeptObject[Slice]:
        """Parse an EndpointSlice."""
        complaints = Complaints(f"EndpointSlice {'/'.join(wire.key)}")
        trigger = wire.metadata.annotations.get(TRIGGER, "")
        return _kept(wire, parse_slice(wire, self._node_name, complaints), complaints, trigger)

    def node(self, wire: api.Node) -> KeptObject[NodeView]:
        """Parse this node's Node."""
        complaints = Complaints(f"Node {wire.metadata.name}")
        return _kept(wire, parse_node(wire, complaints), complaints)


def _kept(
    wire: api.WireObject, value: Value | None, complaints: Complaints, trigger: str = ""
) -> KeptObject[Value]:
    namespace, name = wire.key
    key = intern(namespace), intern(name)
    version, lines = wire.resource_version, tuple(complaints.lines)
    return KeptObject(key, wire.uid, version, value, lines, trigger)


class Feed:
    """Puts objects into the tracker, and calls ``changed`` after each, but not before all are
    listed.
    """

    def __init__(
        self,
        tracker: Tracker,
        changes: PendingChanges,
        changed: Callable[[], None],
        mode: str,
        report: Reporter,
    ) -> None:
        self._mode = mode
        self._report = report
        self._warned: set[Key] = set()  # Services whose balance this mode cannot do
        self._tracker = tracker
        self._changes = changes
        self._changed = changed
        self._is_listed = False
        self.has_ranges = asyncio.Event()  # set once the Node has its Pod ranges
        self.has_addresses = asyncio.Event()  # set once it has addresses

    def service(self, old: KeptObject[Service] | None, new: KeptObject[Service] | None) -> None:
        """Take a Service that came, changed or went."""
        self._tracker.set_service(_key(old, new), new.value if new else None)
        self._changes.service(_key(old, new))
        self._warn_of_balance(_key(old, new), new)
        self._after(new)

    def slice(self, old: KeptObject[Slice] | None, new: KeptObject[Slice] | None) -> None:
        """Take an EndpointSlice that came, changed or went."""
        self._tracker.set_slice(_key(old, new), new.value if new else None)
        kept = new or old
        service = kept.value.service if kept and kept.value else _key(old, new)
        self._changes.endpoints(service, new.trigger if new else "")
        self._after(new)

    def node(self, _old: KeptObject[NodeView] | None, new: KeptObject[NodeView] | None) -> None:
        """Take this node's change. If its Node is gone, the last view stays: packets still flow."""
        if new is not None and new.value is not None:
            self._tracker.set_node(new.value)
            if new.value.pod_cidrs:
                self.has_ranges.set()
            if new.value.addresses:
                self.has_addresses.set()
            self._after(new)

    def service_ranges(self, ranges: Ranges) -> None:
        """Take the cluster's ranges of ClusterIPs."""
        self._tracker.set_service_ranges(ranges)
        self._after(None)

    def listed(self) -> None:
        """Note that all objects were listed."""
        self._is_listed = True
        self._changed()

    def _warn_of_balance(self, key: Key, new: KeptObject[Service] | None) -> None:
        """Warn once if a Service asks for least connections in a mode that does not count them."""
        service = new.value if new else None
        if self._mode in COUNTING or service is None or service.balance is Balance.RANDOM:
            self._warned.discard(key)
        elif new and key not in self._warned:
            self._warned.add(key)
            why = (
                f"mode {self._mode} cannot balance by {service.balance}, "
                f"only {' and '.join(COUNTING)} can; it is balanced at random"
            )
            logger.warning("Service %s: %s", "/".join(key), why)
            self._report.about_service(key, new.uid, "ProxyBalanceUnsupported", why)

    def _after(self, new: KeptObject[Value] | None) -> None:
        for line in new.complaints if new else ():
            logger.warning("%s", line)
        if self._is_listed:
            self._changed()


def _key(old: KeptObject[Value] | None, new: KeptObject[Value] | None) -> Key:
    either = new or old
    return either.key if either else ("", "")


@asynccontextmanager
async def following(
    client: Client, feed: Feed, node_name: str, proxy_name: str, ranges: Ranges = ()
) -> AsyncIterator[None]:
    """Keep ``feed`` informed while the context lasts.

    The context begins when all objects were listed. The feed takes them while the server writes the
    next ones. ``ranges`` are Service ranges beside the cluster's own.
    """
    served = f"{PROXY_NAME_LABEL}={proxy_name}" if proxy_name else f"!{PROXY_NAME_LABEL}"
    labels = f"!{HEADLESS_LABEL},{served}"
    itself = f"metadata.name={node_name}"
    read = ObjectReader(node_name, proxy_name)
    services = Informer(client, api.SERVICE, keep=read.service, by_page=True, label_selector=labels)
    slices = Informer(
        client, api.ENDPOINT_SLICE, keep=read.slice, by_page=True, label_selector=labels
    )
    nodes = Informer(client, api.NODE, keep=read.node, field_selector=itself)
    nodes.subscribe(feed.node)
    slices.subscribe(feed.slice)
    services.subscribe(feed.service)
    cidrs = ServiceRanges(ranges, feed.service_ranges)
    async with asyncio.TaskGroup() as group:
        runs = (services.run(), slices.run(), nodes.run(), cidrs.follow(client))
        tasks = [group.create_task(run) for run in runs]
        for listed in (services.synced, slices.synced, nodes.synced, cidrs.listed):
            await listed.wait()
        feed.listed()
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
