"""Kubernetes Events by which the proxy reports about its node and about Services."""

from typing import Protocol

from control.api.service import ObjectReference
from control.client import EventRecorder
from proxy.model.values import Key


class Reporter(Protocol):
    """Takes reports. It returns at once and never raises."""

    def about_node(self, reason: str, message: str) -> None:
        """Report a warning about this node."""

    def about_service(self, key: Key, uid: str, reason: str, message: str) -> None:
        """Report that this node cannot do what a Service asks for."""


class EventReporter:
    """Reports by warning Events, under upstream's component name."""

    def __init__(self, recorder: EventRecorder, node_name: str) -> None:
        self._recorder = recorder
        self._node_name = node_name

    def about_node(self, reason: str, message: str) -> None:
        """See ``Reporter``. Like kube-proxy, it uses a Node's name as its UID."""
        name = self._node_name
        node = ObjectReference(api_version="v1", kind="Node", name=name, uid=name)
        self._recorder.record(node, "Warning", reason, message)

    def about_service(self, key: Key, uid: str, reason: str, message: str) -> None:
        """See ``Reporter``."""
        namespace, name = key
        service = ObjectReference(
            api_version="v1", kind="Service", namespace=namespace, name=name, uid=uid
        )
        self._recorder.record(service, "Warning", reason, f"node {self._node_name}: {message}")
