"""Runs a node's speaker: informers and sockets feed ``duty``, whose frames go out.

Services, slices, nodes ──► choose.candidates ──┐
frames ──────────────────────────────────────► duty ──► frames, Events
every 0.2 s, while anybody announces ───────────┘
"""

import asyncio
import logging
from collections.abc import Iterable

from control.api import kinds
from control.api.node import Node
from control.api.service import EndpointSlice, ObjectReference, Service
from control.client import Client, Informer
from control.client.events import EventRecorder
from control.cloud.speaker.choose import candidates
from control.cloud.speaker.duty import Duty, listens
from control.cloud.speaker.members import TICK_SECONDS
from control.cloud.speaker.sockets import Link
from control.cloud.speaker.views import (
    Address,
    NodeView,
    ServiceView,
    SliceView,
    node_view,
    service_view,
    slice_view,
)

logger = logging.getLogger(__name__)


class Speaker:
    """Announces this node's addresses on one interface."""

    def __init__(self, client: Client, node: str, link: Link) -> None:
        self._node, self._link = node, link
        self._duty = Duty(node, link.mac)
        self._services: Informer[Service, ServiceView] = Informer(
            client, kinds.SERVICE, keep=service_view
        )
        self._slices: Informer[EndpointSlice, SliceView] = Informer(
            client, kinds.ENDPOINT_SLICE, keep=slice_view
        )
        self._nodes: Informer[Node, NodeView] = Informer(client, kinds.NODE, keep=node_view)
        self._recorder = EventRecorder(client, "podwire-speaker", host=node)
        self._changed = asyncio.Event()
        self._busy = asyncio.Event()  # somebody announces: ticks are needed
        self._heard: frozenset[Address] = frozenset()

    async def run(self) -> None:
        """Announce for ever."""
        async with self._recorder, asyncio.TaskGroup() as tasks:
            informers = (self._services, self._slices, self._nodes)
            for informer in informers:
                tasks.create_task(informer.run())
            for informer in informers:  # with half of the facts, two nodes would announce
                await informer.synced.wait()
                informer.subscribe(lambda *_: self._changed.set())
            tasks.create_task(self._follow())
            tasks.create_task(self._tick())
            loop = asyncio.get_running_loop()
            for each in self._link.sockets:
                loop.add_reader(each, self._read)
            logger.info("announces on %s as %s", self._link.interface, self._node)
            try:
                await asyncio.Event().wait()
            finally:
                for each in self._link.sockets:
                    loop.remove_reader(each)

    async def _follow(self) -> None:
        """Decide anew after changes; those that come together count once."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            may = candidates(
                self._services.snapshot().values(),
                self._slices.snapshot().values(),
                tuple(self._nodes.snapshot().values()),
            )
            self._send(self._duty.decide(may))
            await asyncio.sleep(0)

    async def _tick(self) -> None:
        while True:
            await self._busy.wait()
            await asyncio.sleep(TICK_SECONDS)
            self._read()
            dead = self._duty.dead
            self._send(self._duty.tick())
            if died := self._duty.dead - dead:
                logger.warning("silent: %s", ", ".join(sorted(died)))

    def _read(self) -> None:
        for frame in self._link.read():
            self._send(self._duty.take(frame))

    def _send(self, out: Iterable[bytes]) -> None:
        for frame in out:
            self._link.send(frame)
        self._note()

    def _note(self) -> None:
        """Tell what this node announces from now on, and hear the questions for it."""
        if self._duty.idle:
            self._busy.clear()
        else:
            self._busy.set()
        if (now := self._duty.addresses) == self._heard:
            return
        came, went = now - self._heard, self._heard - now
        self._heard = now
        for address in listens(came):
            self._link.hear(address)
        for address in listens(went):
            self._link.ignore(address)
        for text in sorted(map(str, went)):
            logger.info("no longer announces %s", text)
        for text in sorted(map(str, came)):
            logger.info("announces %s", text)
        self._report(came)

    def _report(self, came: frozenset[Address]) -> None:
        for service in self._services.snapshot().values():
            for _ in came.intersection(service.addresses):
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
                break
