"""Report Events about objects in the background, without delaying or failing the caller."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal, Self

from control.api import kinds
from control.api.cluster import Event, EventSource
from control.api.meta import Object, ObjectMeta
from control.api.service import ObjectReference
from control.api.times import rfc3339
from control.client.errors import ApiError, ClientError
from control.client.rest import Client
from control.client.squash import EventNote, EventReport, Squasher

logger = logging.getLogger(__name__)

_QUEUED = 1000  # further notes are dropped, as in client-go
_FLUSH_SECONDS = 1.0


class EventRecorder:
    """Writes Events in the background while it is open as an async context manager."""

    def __init__(
        self,
        client: Client,
        component: str,
        *,
        host: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``component`` reports, such as ``default-scheduler``; agents also give ``host``."""
        self._client = client
        self._source = EventSource(component=component, host=host)
        self._instance = host or socket.gethostname()
        self._clock = clock
        self._squasher = Squasher()
        self._notes: asyncio.Queue[EventNote] = asyncio.Queue(_QUEUED)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def start(self) -> None:
        """Begin to write, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="events")

    async def stop(self) -> None:
        """Write the queued Events for at most one second, then stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._notes.join()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def record(
        self,
        about: Object | ObjectReference,
        type: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        *,
        action: str | None = None,
        related: Object | ObjectReference | None = None,
    ) -> None:
        """Queue an Event about an object; this returns at once and never raises."""
        note = EventNote(
            reference(about),
            type,
            reason,
            message[:1024],  # the server's limit
            action,
            reference(related) if related is not None else None,
        )
        try:
            self._notes.put_nowait(note)
        except asyncio.QueueFull:
            logger.warning("event dropped, the queue is full: %s %s", reason, message)

    async def _run(self) -> None:
        while True:
            note = await self._notes.get()
            report = self._squasher.observe(note, self._clock())
            try:
                if report is not None:
                    await self._write(report)
            except ClientError as err:
                ends = isinstance(err, ApiError) and err.namespace_terminating
                # As client-go: nobody will read an Event of a namespace that is going.
                level = logging.DEBUG if ends else logging.WARNING
                logger.log(level, "event lost: %s: %s", note.reason, err)
            finally:
                self._notes.task_done()

    async def _write(self, report: EventReport) -> None:
        if report.count > 1:
            try:
                await self._raise(report)
                return
            except ApiError as err:
                if not err.not_found:
                    raise
        try:
            await self._client.create(kinds.EVENT, self._event(report))
        except ClientError:
            self._squasher.forget(report)
            raise

    async def _raise(self, report: EventReport) -> None:
        changed: dict[str, Any] = {
            "count": report.count,
            "lastTimestamp": rfc3339(report.last),
            "message": report.note.message,
        }
        namespace = report.note.about.namespace or "default"
        await self._client.patch(kinds.EVENT, namespace, report.name, changed)

    def _event(self, report: EventReport) -> Event:
        note = report.note
        return Event(
            metadata=ObjectMeta(name=report.name, namespace=note.about.namespace or "default"),
            involved_object=note.about,
            reason=note.reason,
            message=note.message,
            type=note.type,
            source=self._source,
            first_timestamp=rfc3339(report.first),
            last_timestamp=rfc3339(report.last),
            count=report.count,
            action=note.action,
            related=note.related,
            reporting_component=self._source.component,
            reporting_instance=self._instance,
        )


def reference(item: Object | ObjectReference) -> ObjectReference:
    """Return a reference to an object, as Events and targetRefs hold it."""
    if isinstance(item, ObjectReference):
        return item
    meta = item.metadata
    return ObjectReference(
        api_version=item.api_version or None,
        kind=item.kind or type(item).__name__,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version or None,
    )
