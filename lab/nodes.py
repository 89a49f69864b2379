"""The nodes of a lab as its API server knows them: ready or not, and how many Pods they have."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from control.api import kinds
from control.client import Client, ClientError, KubeconfigError
from lab.readiness import readiness

_PATIENCE = 2.0  # seconds
_DONE = frozenset({"Succeeded", "Failed"})


class NodesUnknownError(Exception):
    """The API server does not tell about the nodes; the text says why."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node's readiness, and the number of its Pods that are not done."""

    ready: bool
    pods: int


def ask(kubeconfig: Path) -> dict[str, NodeReport]:
    """Return the report of each node, by name. Raises NodesUnknownError, after 2 s at most."""
    try:
        return asyncio.run(_ask(kubeconfig))
    except TimeoutError as err:
        raise NodesUnknownError(f"no answer of the API server within {_PATIENCE:.0f} s") from err
    except (ClientError, KubeconfigError, OSError) as err:
        raise NodesUnknownError(str(err)) from err


async def _ask(kubeconfig: Path) -> dict[str, NodeReport]:
    async with asyncio.timeout(_PATIENCE), Client.from_kubeconfig(kubeconfig) as client:
        nodes, pods = await client.list(kinds.NODE), await client.list(kinds.POD)
    count = Counter(pod.spec.node_name for pod in pods.items if pod.status.phase not in _DONE)
    return {
        node.metadata.name: NodeReport(readiness(node)[0], count[node.metadata.name])
        for node in nodes.items
    }
