"""Runs a node's speaker: informers feed the announcers.

Services, slices, nodes ──► choose.candidates ──► Layer2, Bgp ──► frames, routes, Events
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from control.api import kinds
from control.api.node import Node
from control.api.service import EndpointSlice, ObjectReference, Service
from control.client import Client, Informer
from control.client.events import EventRecorder
from control.cloud.speaker.choose import Candidates, candidates
from control.cloud.speaker.views import (
    Address,
    NodeView,
    ServiceView,
    SliceView,
    node_view,
    service_view,
    slice_view,
)


class Announcer(Protocol):
    """A way to tell the world where an address is."""

    protocol: str  # in Events and metrics

    @property
    def addresses(self) -> frozenset[Address]:
        """The addresses that this node announces."""

    def decide(self, may: Candidates) -> None:
        """Take which nodes may announce each address, whenever it changes."""

    async def run(self) -> None:
        """Work for ever."""


class Speaker:
    """Tells a node's announcers what there is to announce."""

    def __init__(self, client: Client, node: str) -> None:
        self._node = node
        self._services: Informer[Service, ServiceView] = Informer(
            client, kinds.SERVICE, keep=service_view
        )
        self._slices: Informer[EndpointSlice, SliceView] = Informer(
            client, kinds.ENDPOINT_SLICE, keep=slice_view
        )
        self._nodes: Informer[Node, NodeView] = Informer(client, kinds.NODE, keep=node_view)
        self._recorder = EventRecorder(client, "podwire-speaker", host=node)
        self._changed = asyncio.Event()

    def services(self) -> Iterable[ServiceView]:
        """Return what is known of the Services."""
        return self._services.snapshot().values()

    async def run(self, announcers: Sequence[Announcer]) -> None:
        """Announce for ever."""
        async with self._recorder, asyncio.TaskGroup() as tasks:
            informers = (self._services, self._slices, self._nodes)
            for informer in informers:
                tasks.create_task(informer.run())
            for informer in informers:  # with half of the facts, two nodes would announce
                await informer.synced.wait()
                informer.subscribe(lambda *_: self._changed.set())
            self._changed.set()
            for announcer in announcers:
                tasks.create_task(announcer.run())
            while True:  # changes that come together count once
                await self._changed.wait()
                self._changed.clear()
                self._decide(announcers)
                await asyncio.sleep(0)

    def _decide(self, announcers: Sequence[Announcer]) -> None:
        may = candidates(
            self._services.snapshot().values(),
            self._slices.snapshot().values(),
            tuple(self._nodes.snapshot().values()),
        )
        for announcer in announcers:
            announcer.decide(may)

    def report(self, came: frozenset[Address]) -> None:
        """Write an Event for each Service whose address came to this node in layer 2."""
        for service in self._services.snapshot().values():
            if not came.isdisjoint(service.addresses):
                namespace, name = service.key
                about = ObjectReference(
                    api_version="v1",
                    kind="Service",
                    namespace=namespace,
                    name=name,
                    uid=service.uid,
                )
                text = f'announcing from node "{self._node}" with protocol "layer2"'
                self._recorder.record(about, "Normal", "nodeAssigned", text)
