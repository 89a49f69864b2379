"""Where objects come in: informers fill the tracker, and say that there is something to sync."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from control.api import kinds
from control.api.node import Node
from control.api.service import EndpointSlice, Service
from control.client import Client, Informer
from proxy.metrics import Metrics
from proxy.model import Key
from proxy.parse import (
    HEADLESS_LABEL,
    PROXY_NAME_LABEL,
    Complaints,
    parse_node,
    parse_service,
    parse_slice,
)
from proxy.tracker import Tracker

log = logging.getLogger("podwire.proxy.feed")


class Feed:
    """Takes objects into the tracker, and calls ``changed`` after each."""

    def __init__(
        self,
        tracker: Tracker,
        metrics: Metrics,
        changed: Callable[[], None],
        proxy_name: str = "",
    ) -> None:
        self._tracker = tracker
        self._metrics = metrics
        self._changed = changed
        self._proxy_name = proxy_name
        self.has_ranges = asyncio.Event()  # set once the Node has its Pod ranges

    def service(self, old: Service | None, new: Service | None) -> None:
        """A Service came, changed or went."""
        key = _key(old, new)
        complaints = Complaints(f"Service {'/'.join(key)}")
        parsed = parse_service(new, complaints, self._proxy_name) if new else None
        self._tracker.set_service(key, parsed)
        self._metrics.add("sync_proxy_rules_service_changes_total")
        self._done(complaints)

    def slice(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        """An EndpointSlice came, changed or went."""
        key = _key(old, new)
        complaints = Complaints(f"EndpointSlice {'/'.join(key)}")
        parsed = parse_slice(new, self._tracker.node.name, complaints) if new else None
        self._tracker.set_slice(key, parsed)
        self._metrics.add("sync_proxy_rules_endpoint_changes_total")
        self._done(complaints)

    def node(self, _old: Node | None, new: Node | None) -> None:
        """This node changed. One that is gone keeps its last view: its packets still flow."""
        if new is not None:
            complaints = Complaints(f"Node {new.metadata.name}")
            self._tracker.set_node(parse_node(new, complaints))
            if self._tracker.node.pod_cidrs:
                self.has_ranges.set()
            self._done(complaints)

    def _done(self, complaints: Complaints) -> None:
        for line in complaints.lines:
            log.warning("%s", line)
        self._changed()


def _key(old: Service | EndpointSlice | None, new: Service | EndpointSlice | None) -> Key:
    either = new or old
    return either.key if either else ("", "")


@asynccontextmanager
async def following(
    client: Client, feed: Feed, node_name: str, proxy_name: str
) -> AsyncIterator[None]:
    """Keep ``feed`` informed while the context lasts; entered once everything was listed.

    Until then nothing is subscribed, so that no sync is made from half a picture.
    """
    served = f"{PROXY_NAME_LABEL}={proxy_name}" if proxy_name else f"!{PROXY_NAME_LABEL}"
    services = Informer(client, kinds.SERVICE, label_selector=f"!{HEADLESS_LABEL},{served}")
    slices = Informer(client, kinds.ENDPOINT_SLICE, label_selector=f"!{HEADLESS_LABEL},{served}")
    nodes = Informer(client, kinds.NODE, field_selector=f"metadata.name={node_name}")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one.run()) for one in (services, slices, nodes)]
        for informer in (services, slices, nodes):
            await informer.synced.wait()
        nodes.subscribe(feed.node)
        slices.subscribe(feed.slice)
        services.subscribe(feed.service)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
