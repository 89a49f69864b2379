"""Keeps the zone as the API's objects are: informers call it with each change."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

from control.api import kinds
from control.client import Client, Informer
from control.dns.names import BadNameError
from control.dns.records import NONE, service_records
from control.dns.values import (
    Key,
    NamespaceEntry,
    PodEntry,
    ServiceEntry,
    SliceEntry,
    read_namespace,
    read_pod,
    read_service,
    read_slice,
)
from control.dns.zone import Zone

logger = logging.getLogger(__name__)


class Feed:
    """Applies changes of objects to a zone; ``changed`` is called after each that shows."""

    def __init__(self, zone: Zone, changed: Callable[[], None]) -> None:
        self._zone, self._changed = zone, changed
        self._services: dict[Key, ServiceEntry] = {}
        self._slices: defaultdict[Key, dict[Key, SliceEntry]] = defaultdict(dict)

    def service(self, old: ServiceEntry | None, new: ServiceEntry | None) -> None:
        """Apply a Service's change."""
        if new is not None:
            self._services[new.key] = new
        elif old is not None:
            self._services.pop(old.key, None)
        self._update((new or old).key)  # type: ignore[union-attr]  # one of them is there

    def slice(self, old: SliceEntry | None, new: SliceEntry | None) -> None:
        """Apply an EndpointSlice's change; its label may name another Service than before."""
        for part in (old, new):
            if part is not None:
                self._slices[part.service].pop(part.key, None)
        if new is not None:
            self._slices[new.service][new.key] = new
        for key in {part.service for part in (old, new) if part is not None}:
            self._update(key)
            if not self._slices[key]:
                del self._slices[key]

    def namespace(self, old: NamespaceEntry | None, new: NamespaceEntry | None) -> None:
        """Apply a Namespace's change."""
        name = (new or old).key[1]  # type: ignore[union-attr]  # one of them is there
        self._zone.set_namespace(name, present=new is not None)
        self._changed()

    def pod(self, old: PodEntry | None, new: PodEntry | None) -> None:
        """Apply a Pod's change."""
        key = (new or old).key  # type: ignore[union-attr]  # one of them is there
        if self._zone.set_pod(key, "" if new is None else new.address):
            self._changed()

    def _update(self, key: Key) -> None:
        service = self._services.get(key)
        records = NONE
        if service is not None:
            slices = sorted(self._slices.get(key, {}).values(), key=lambda part: part.key)
            try:
                records = service_records(service, slices, self._zone.domain)
            except BadNameError as err:
                logger.warning("Service %s/%s is left out: %s", *key, err)
        if self._zone.put(key, records):
            self._changed()


async def follow(
    client: Client, feed: Feed, ready: asyncio.Event, *, pods: bool, pod_names: bool
) -> None:
    """Keep a feed up to date for ever; set ``ready`` when it has seen everything once.

    Pods are followed if ``pods``; with ``pod_names`` endpoints have the names of their Pods.
    """
    namespaces = Informer(client, kinds.NAMESPACE, keep=read_namespace)
    services = Informer(client, kinds.SERVICE, keep=read_service)
    slices = Informer(client, kinds.ENDPOINT_SLICE, keep=partial(read_slice, pod_names=pod_names))
    informers: list[Informer[Any, Any]] = [namespaces, services, slices]
    if pods:
        informers.append(Informer(client, kinds.POD, keep=read_pod))
        informers[-1].subscribe(feed.pod)
    namespaces.subscribe(feed.namespace)
    services.subscribe(feed.service)
    slices.subscribe(feed.slice)
    async with asyncio.TaskGroup() as tasks:
        for informer in informers:
            tasks.create_task(informer.run(), name=f"informer {informer.kind.plural}")
        for informer in informers:
            await informer.synced.wait()
        logger.info("every Service is known")
        ready.set()
