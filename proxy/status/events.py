"""What the proxy tells those who watch the cluster: Events about its node, and about Services."""

from typing import Protocol

from control.api.service import ObjectReference
from control.client import EventRecorder
from proxy.model.values import Key


class Reporter(Protocol):
    """Takes what is to be told; returns at once and never raises."""

    def about_node(self, reason: str, message: str) -> None:
        """Something happened to this node."""

    def about_service(self, key: Key, uid: str, reason: str, message: str) -> None:
        """This node cannot do what a Service asks for."""


class EventReporter:
    """Tells it as warnings, under upstream's component name."""

    def __init__(self, recorder: EventRecorder, node_name: str) -> None:
        self._recorder = recorder
        self._node_name = node_name

    def about_node(self, reason: str, message: str) -> None:
        """See ``Reporter``; kube-proxy, too, gives a Node's name for its uid."""
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
