"""Runs the route controller: Nodes become routes of the cloud, and their outcome a condition.

    informer ──change──► _reconcile: list ──► delete ──► create ──► condition NetworkUnavailable

Source: k8s.io/cloud-provider/controllers/route/route_controller.go. As with upstream's feature gate
CloudControllerManagerWatchBasedRoutesReconciliation, a change of a Node is carried out at once.
"""

import asyncio
import logging
import time
from collections.abc import Collection
from contextlib import suppress

from control.api import kinds
from control.api.node import Node
from control.api.times import rfc3339
from control.client import ApiError, Client, ClientError, Informer
from control.client.backoff import Backoff
from control.client.events import EventRecorder
from control.cloud.provider import CloudError, Route, Routes
from control.cloud.routes import decide
from control.cloud.routes.decide import Cidr
from control.metrics import Registry

COMPONENT = "route-controller"
_REPORTER = "route_controller"  # in Events; upstream has another spelling there
_PERIOD = 10.0
logger = logging.getLogger(__name__)


class RouteController:
    """Keeps a route of the cloud for each Pod range of each Node."""

    def __init__(
        self,
        nodes: Informer[Node, Node],
        routes: Routes,
        cluster: str,
        cidrs: Collection[Cidr],
        writer: Client,
        registry: Registry | None = None,
        *,
        period: float = _PERIOD,
    ) -> None:
        """``nodes`` runs elsewhere; routes outside ``cidrs`` are others' and stay."""
        self._nodes, self._routes, self._writer = nodes, routes, writer
        self._cluster, self._cidrs, self._period = cluster, cidrs, period
        self._wake = asyncio.Event()
        self._recorder = EventRecorder(writer, _REPORTER)
        self._said = ""
        self._syncs = (registry or Registry()).counter(
            "route_controller_route_sync_total",
            "A metric counting the amount of times routes have been synced with the cloud "
            "provider.",
        )

    async def run(self) -> None:
        """Follow Nodes for ever."""
        await self._nodes.synced.wait()
        stop = self._nodes.subscribe(self._changed)
        pause = Backoff(longest=self._period)
        try:
            async with self._recorder:
                while True:
                    self._wake.clear()
                    done = await self._try()
                    if done:
                        pause.reset()
                    with suppress(TimeoutError):
                        patience = self._period if done else pause.next()
                        await asyncio.wait_for(self._wake.wait(), patience)
        finally:
            stop()

    def _changed(self, old: Node | None, new: Node | None) -> None:
        if decide.counts(old, new):
            self._wake.set()

    async def _try(self) -> bool:
        """Reconcile once; return False if something is left to do. A failure is logged once."""
        try:
            problems = await self._reconcile()
        except (CloudError, ClientError) as err:
            problems = [str(err)]
        except Exception:  # a defect shown by one Node must not end the cloud's other controllers
            logger.exception("%s failed", COMPONENT)
            return False
        text = "; ".join(problems)
        if text and text != self._said:
            logger.warning("%s: %s; trying again", COMPONENT, text)
        self._said = text
        return not problems

    async def _reconcile(self) -> list[str]:
        """Bring the cloud's routes in line; return what failed. Raises CloudError, ClientError."""
        self._syncs.add()
        nodes = [node for node in self._nodes.snapshot().values() if node.spec.pod_cidrs]
        have = set(await self._routes.list(self._cluster))
        want = set(decide.wanted(nodes))
        problems = []
        for route in sorted(decide.obsolete(have, want, self._cidrs)):
            problems += await self._delete(route)
        for node in nodes:
            missing = [route for route in decide.wanted([node]) if route not in have]
            failed = [text for route in missing for text in await self._create(node, route)]
            await self._report(node, created=not failed)
            problems += failed
        return problems

    async def _delete(self, route: Route) -> list[str]:
        try:
            await self._routes.delete(self._cluster, route)
        except CloudError as err:
            return [f"could not delete route {route.destination}: {err}"]
        logger.info("%s: deleted route %s", COMPONENT, route.destination)
        return []

    async def _create(self, node: Node, route: Route) -> list[str]:
        """Create a route; return what failed, which an Event of the Node tells too."""
        began, hint = time.monotonic(), node.metadata.uid
        try:
            await self._routes.create(self._cluster, hint, route)
        except CloudError as err:
            text = (
                f"Could not create route {hint} {route.destination} for node {route.node} after "
                f"{(time.monotonic() - began) * 1000:.3f}ms: {err}"
            )
            self._recorder.record(node, "Warning", "FailedToCreateRoute", text)
            return [f"could not create route {route.destination} for node {route.node}: {err}"]
        logger.info("%s: created route %s to %s", COMPONENT, route.destination, route.node)
        return []

    async def _report(self, node: Node, *, created: bool) -> None:
        """Write a Node's condition, if it is another; raises ClientError."""
        wanted = decide.condition(node, created=created, now=rfc3339(time.time()))
        if wanted is None:
            return
        name = node.metadata.name
        meta = {"uid": node.metadata.uid}  # not that of another Node of this name
        change = {"metadata": meta, "status": {"conditions": [wanted.wire()]}}
        try:
            written = await self._writer.patch(
                kinds.NODE, None, name, change, type="strategic", subresource="status"
            )
        except ApiError as err:
            if not err.not_found:
                raise
            return
        self._nodes.learn(written)
