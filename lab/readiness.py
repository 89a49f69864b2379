"""Waits until the nodes of a lab are ready, and says why one is not."""

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path

from control.api import kinds
from control.api.node import Node
from control.api.times import seconds_of
from control.client import Client, Informer
from control.cloud.nodes.decide import waits
from lab.report import Say
from lab.requests import NotReadyError, patience
from lab.state import LabDir
from lab.status import named


def wait_ready(
    lab: LabDir,
    expected: Collection[str],
    say: Say,
    *,
    since: float = 0,
    kubeconfig: Path | None = None,
) -> None:
    """Wait until nodes are ready; raises NotReadyError, which names the others.

    A node's word counts if it has spoken at ``since``, in seconds since 1970, or later.
    ``kubeconfig``: how to ask; default: as the lab's user.
    """
    asyncio.run(_wait_ready(lab, kubeconfig or lab.kubeconfig, set(expected), say, since))


async def _wait_ready(
    lab: LabDir, kubeconfig: Path, expected: set[str], say: Say, since: float
) -> None:
    ready: set[str] = set()
    reasons: dict[str, str] = {}

    def seen(node: Node) -> bool:
        name = node.metadata.name
        is_ready, reasons[name] = readiness(node, since)
        (ready.add if is_ready and name in expected else ready.discard)(name)
        say(f"nodes ready: {len(ready)} of {len(expected)}")
        return ready >= expected

    try:
        async with asyncio.timeout(patience(len(expected))):
            await follow(kubeconfig, kinds.NODE, seen)
    except TimeoutError:
        missing = "; ".join(
            f"{name} ({reasons.get(name, 'not registered')})" for name in sorted(expected - ready)
        )
        raise NotReadyError(
            f"not ready in time: {missing}; see: podwire lab logs{named(lab)} agent"
        ) from None


async def follow(
    kubeconfig: Path, kind: kinds.Kind[kinds.M], enough: Callable[[kinds.M], bool]
) -> None:
    """Call ``enough`` with every changed object of a kind until it returns True."""
    done = asyncio.Event()

    def changed(_: kinds.M | None, new: kinds.M | None) -> None:
        if new is not None and enough(new):
            done.set()

    async with Client.from_kubeconfig(kubeconfig) as client:
        informer = Informer(client, kind)
        informer.subscribe(changed)
        watching = asyncio.create_task(informer.run())
        try:
            await done.wait()
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def readiness(node: Node, since: float = 0) -> tuple[bool, str]:
    """Return true if a node is ready, and the reason that its agent gives, ``since`` a time."""
    for condition in node.status.conditions:
        spoken = seconds_of(condition.last_heartbeat_time) or 0
        if condition.type == "Ready" and spoken >= int(since):
            if condition.status == "True" and waits(node):
                return False, "podwire cloud has not initialized it; see: podwire lab logs cloud"
            return condition.status == "True", condition.message or "no reason given"
    return False, "the agent has not reported"
