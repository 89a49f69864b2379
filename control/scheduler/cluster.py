"""The nodes with their Pods, also those just placed, which no informer has confirmed yet. Pure."""

from collections.abc import Mapping

from control.api.cluster import Namespace
from control.api.node import Node
from control.api.pod import Pod
from control.scheduler.model import NodeInfo, PodInfo


class Cluster:
    """The nodes with their Pods."""

    def __init__(self) -> None:
        self._nodes: dict[str, NodeInfo] = {}
        self._places: dict[str, str] = {}  # uid of a Pod -> its node
        self._assumed: set[str] = set()
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._nominated: dict[str, dict[str, PodInfo]] = {}  # by node, then by uid

    @property
    def namespaces(self) -> Mapping[str, Mapping[str, str]]:
        """The labels of each namespace."""
        return self._namespaces

    @property
    def nominated(self) -> Mapping[str, Mapping[str, PodInfo]]:
        """By node, the Pods that wait until others have left it."""
        return self._nominated

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

    def namespace_changed(self, old: Namespace | None, new: Namespace | None) -> None:
        """Take an informer's change of a namespace."""
        if new is not None:
            self._namespaces[new.metadata.name] = new.metadata.labels
        elif old is not None:
            self._namespaces.pop(old.metadata.name, None)

    def pod_changed(self, old: Pod | None, new: Pod | None) -> None:
        """Take an informer's change of a Pod; one from before its placement does not undo that."""
        uid = (new or old).metadata.uid  # type: ignore[union-attr]  # one of them is there
        self._follow_nomination(old, new)
        if new is None or new.status.phase in ("Succeeded", "Failed"):
            self._assumed.discard(uid)
            self._remove(uid)
        elif new.spec.node_name:
            self._assumed.discard(uid)
            self._place(new, new.spec.node_name)
        elif uid not in self._assumed:
            self._remove(uid)

    def _follow_nomination(self, old: Pod | None, new: Pod | None) -> None:
        """Keep what the status says, and what was decided until the status says something."""
        before = old.status.nominated_node_name if old else None
        if new is None or new.spec.node_name or new.metadata.deletion_timestamp:
            self.take_back((new or old).metadata.uid)  # type: ignore[union-attr]
        elif new.status.nominated_node_name:
            self._nominate(PodInfo(new), new.status.nominated_node_name)
        elif before:
            self.take_back(new.metadata.uid)

    def nominate(self, info: PodInfo, node: str) -> list[Pod]:
        """Keep a node for a Pod until others have left it; return less urgent ones kept for it."""
        self._nominate(info, node)
        waiting = self._nominated[node].values()
        return [other.pod for other in waiting if other.priority < info.priority]

    def _nominate(self, info: PodInfo, node: str) -> None:
        self.take_back(info.pod.metadata.uid)
        self._nominated.setdefault(node, {})[info.pod.metadata.uid] = info

    def take_back(self, uid: str) -> None:
        """Undo ``nominate``."""
        for node in [node for node, waiting in self._nominated.items() if uid in waiting]:
            del self._nominated[node][uid]
            if not self._nominated[node]:
                del self._nominated[node]

    def assume(self, info: PodInfo, node: str) -> None:
        """Count a Pod on a node from now on, before an informer confirms it."""
        self._assumed.add(info.pod.metadata.uid)
        self.take_back(info.pod.metadata.uid)
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
