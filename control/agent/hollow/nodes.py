"""Runs the agents of hollow nodes, each with its own credentials, in one process."""

import asyncio
import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from control.agent.agent import Agent
from control.agent.config import REQUESTS_AT_ONCE, Config
from control.agent.hollow.machine import hollow
from control.agent.node.describe import NodeIdentity
from control.client import Client
from control.client.events import EventRecorder
from control.client.kubeconfig import ClientConfig

logger = logging.getLogger(__name__)

LABEL = ("podwire.io/hollow", "true")
# What runs nothing must get no Pod that is to run, and no connection that is to be answered.
TAINT = ("podwire.io/hollow", "true", "NoSchedule")
_NO_BALANCER = ("node.kubernetes.io/exclude-from-external-load-balancers", "true")
_APART = 0.02  # seconds between the starts: a hundred at once would renew their Leases at once
_FREEZE_SECONDS, _LOOK_SECONDS = 10.0, 1.0


@dataclass(frozen=True, slots=True)
class HollowNode:
    """A node: its name, its addresses, and how it asks the API server."""

    name: str
    addresses: tuple[str, ...]
    credentials: ClientConfig


@dataclass(frozen=True, slots=True)
class HollowSettings:
    """What all hollow nodes of a process have in common."""

    root: Path
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[tuple[str, str, str], ...] = (TAINT,)


async def run_nodes(
    nodes: Sequence[HollowNode],
    settings: HollowSettings,
    further: Callable[[], Sequence[HollowNode]] = tuple,
) -> None:
    """Run the agents until cancelled; one that fails ends all, with its error.

    ``further`` is asked each second for nodes that have come since.
    """
    settings.root.mkdir(parents=True, exist_ok=True)
    async with asyncio.TaskGroup() as group:
        await _start(group, nodes, settings)
        # What is made until then stays.
        asyncio.get_running_loop().call_later(_FREEZE_SECONDS, gc.freeze)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await _start(group, further(), settings)


async def _start(
    group: asyncio.TaskGroup, nodes: Sequence[HollowNode], settings: HollowSettings
) -> None:
    for node in nodes:
        group.create_task(_run_node(node, settings), name=f"hollow {node.name}")
        await asyncio.sleep(_APART)
    if nodes:
        logger.info("%d hollow nodes started", len(nodes))


async def _run_node(node: HollowNode, settings: HollowSettings) -> None:
    config = Config(
        identity=NodeIdentity(
            node.name,
            node.addresses,
            (LABEL, _NO_BALANCER, *settings.labels),
            settings.taints,
        ),
        root=settings.root / node.name,
    )

    def ranges() -> Sequence[str]:
        own = agent.node
        return own.spec.pod_cidrs if own is not None else ()

    async with (
        Client(node.credentials, at_once=REQUESTS_AT_ONCE) as client,
        EventRecorder(client, "kubelet", host=node.name) as events,
    ):
        agent = Agent(config, client, events, machinery=hollow(config.root, ranges))
        await agent.run()
