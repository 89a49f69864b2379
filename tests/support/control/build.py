"""Short functions that make nodes and Pods."""

from typing import Any

from control.api.node import Node
from control.api.pod import Pod
from control.scheduler.cluster import Cluster
from control.scheduler.model import PodInfo


def node(name: str, *, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **more: Any) -> Node:
    """Return a Node; ``labels``, ``taints`` and ``unschedulable`` may be added."""
    labels = {"kubernetes.io/hostname": name} | more.pop("labels", {})
    return Node.parse(
        {
            "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels},
            "spec": more,
            "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}},
        }
    )


def pod(name: str, *, requests: dict[str, str] | None = None, **more: Any) -> Pod:
    """Return a Pod; ``labels``, ``created``, ``ports`` and fields of the spec may be added."""
    container = {
        "name": "c",
        "resources": {"requests": requests or {}},
        "ports": more.pop("ports", []),
    }
    metadata = {
        "name": name,
        "namespace": "default",
        "uid": f"uid-{name}",
        "labels": more.pop("labels", {}),
        "creationTimestamp": more.pop("created", "2026-01-01T00:00:00Z"),
    }
    return Pod.parse({"metadata": metadata, "spec": {"containers": [container]} | more})


def cluster(*nodes: Node, on: dict[str, list[Pod]] | None = None) -> Cluster:
    """Return a Cluster of nodes with Pods."""
    made = Cluster()
    for item in nodes:
        made.node_changed(None, item)
    for name, pods in (on or {}).items():
        for item in pods:
            made.assume(PodInfo(item), name)
    return made
