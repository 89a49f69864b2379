"""The nodes with their Pods, also those just placed, which no informer has confirmed yet. Pure."""

from collections.abc import Mapping

from control.api.node import Node
from control.api.pod import Pod
from control.scheduler.model import NodeInfo, PodInfo


class Cluster:
    """The nodes with their Pods."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeInfo] = {}
        self._places: dict[str, str] = {}  # uid of a Pod -> its node
        self._assumed: set[str] = set()

    @property
    def nodes(self) -> Mapping[str, NodeInfo]:
        """The nodes that exist, by name."""
        return {name: info for name, info in self._nodes.items() if info.node.metadata.uid}

    def node_changed(self, old: Node | None, new: Node | None) -> None:
        """Take an informer's change of a node."""
        if new is not None:
            self._info(new.metadata.name).set_node(new)
        elif old is not None:
            info = self._info(old.metadata.name)
            info.set_node(Node(metadata=old.metadata.model_copy(update={"uid": ""})))
            self._tidy(info)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Take an informer's change of a Pod; one from before its placement does not undo that."""
        uid = (new or old).metadata.uid  # type: ignore[union-attr]  # one of them is there
        if new is None or new.status.phase in ("Succeeded", "Failed"):
            self._assumed.discard(uid)
            self._remove(uid)
        elif new.spec.node_name:
            self._assumed.discard(uid)
            self._place(new, new.spec.node_name)
        elif uid not in self._assumed:
            self._remove(uid)

    def assume(self, info: PodInfo, node: str) -> None:
        """Count a Pod on a node from now on, before an informer confirms it."""
        self._assumed.add(info.pod.metadata.uid)
        spec = info.pod.spec.model_copy(update={"node_name": node})
        self._place(info.pod.model_copy(update={"spec": spec}), node)

    def forget(self, pod: Pod) -> None:
        """Undo ``assume``: the Pod was not bound."""
        if pod.metadata.uid in self._assumed:
            self._assumed.discard(pod.metadata.uid)
            self._remove(pod.metadata.uid)

    def is_placed(self, pod: Pod) -> bool:
        """True if the Pod counts on a node."""
        return pod.metadata.uid in self._places

    def _place(self, pod: Pod, node: str) -> None:
        if self._places.get(pod.metadata.uid) != node:
            self._remove(pod.metadata.uid)
        self._places[pod.metadata.uid] = node
        self._info(node).add(PodInfo(pod))

    def _remove(self, uid: str) -> None:
        node = self._places.pop(uid, None)
        if node is not None:
            info = self._info(node)
            info.remove(uid)
            self._tidy(info)

    def _info(self, name: str) -> NodeInfo:
        """Return a node, new or known: Pods may arrive before their node, and leave after it."""
        if name not in self._nodes:
            self._nodes[name] = NodeInfo(Node())
        return self._nodes[name]

    def _tidy(self, info: NodeInfo) -> None:
        if not info.node.metadata.uid and not info.pods:
            self._nodes = {name: kept for name, kept in self._nodes.items() if kept is not info}
