"""Kubernetes Events by which the proxy reports about its node and about Services.

Reports are rare. The models that they need are imported with the first one, so that the proxy
starts 0.15 s sooner.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from control.client import Client
from proxy.model.values import Key

if TYPE_CHECKING:
    from control.client.events import EventRecorder


class Reporter(Protocol):
    """Takes reports. It returns at once and never raises."""

    def about_node(self, reason: str, message: str) -> None:
        """Report a warning about this node."""

    def about_service(self, key: Key, uid: str, reason: str, message: str) -> None:
        """Report that this node cannot do what a Service asks for."""

    def about_pod(self, key: Key, uid: str, reason: str, message: str) -> None:
        """Report what this node refused to or from a Pod."""


class EventReporter:
    """Reports by warning Events, under upstream's component name."""

    def __init__(self, open_recorder: Callable[[], "EventRecorder"], node_name: str) -> None:
        """``open_recorder`` is called with the first report."""
        self._open_recorder = open_recorder
        self._node_name = node_name

    @cached_property
    def _recorder(self) -> "EventRecorder":
        return self._open_recorder()

    def about_node(self, reason: str, message: str) -> None:
        """See ``Reporter``. Like kube-proxy, it uses a Node's name as its UID."""
        name = self._node_name
        self._report(reason, message, kind="Node", name=name, uid=name)

    def about_service(self, key: Key, uid: str, reason: str, message: str) -> None:
        """See ``Reporter``."""
        self._about("Service", key, uid, reason, message)

    def about_pod(self, key: Key, uid: str, reason: str, message: str) -> None:
        """See ``Reporter``."""
        self._about("Pod", key, uid, reason, message)

    def _about(self, kind: str, key: Key, uid: str, reason: str, message: str) -> None:
        namespace, name = key
        message = f"node {self._node_name}: {message}"
        self._report(reason, message, kind=kind, namespace=namespace, name=name, uid=uid)

    def _report(self, reason: str, message: str, **about: str) -> None:
        from control.api.service import ObjectReference

        reference = ObjectReference(api_version="v1", **about)
        self._recorder.record(reference, "Warning", reason, message)


@asynccontextmanager
async def reporting(client: Client, node_name: str) -> AsyncIterator[EventReporter]:
    """Give a reporter whose Events are written until the context ends."""
    async with AsyncExitStack() as stack:

        def open_recorder() -> "EventRecorder":
            from control.client.events import EventRecorder

            recorder = EventRecorder(client, "kube-proxy", host=node_name)
            recorder.start()
            stack.push_async_callback(recorder.stop)
            return recorder

        yield EventReporter(open_recorder, node_name)
