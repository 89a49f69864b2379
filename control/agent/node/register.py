"""Keeps this node registered: its Node object, its status and its Lease.

Source: kubelet's tryUpdateNodeStatus and KEP-589 (Leases in kube-node-lease every 10 s; the status
when it has changed, and every 5 minutes).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from control.agent.node import describe
from control.agent.node.describe import HostFacts, NodeIdentity
from control.api import kinds
from control.api.cluster import Lease, LeaseSpec
from control.api.meta import ObjectMeta, OwnerReference
from control.api.node import ContainerImage, Node, NodeStatus
from control.api.times import rfc3339_micro
from control.client import ApiError, Client, ClientError

logger = logging.getLogger(__name__)

_NAMESPACE = "kube-node-lease"
_LEASE_SECONDS = 40
_PERIOD = 10.0
_REPORT_SECONDS = 300.0
_RETRY_SECONDS = 0.5


class Shortages(Protocol):
    """What the node is short of, and what it keeps back so that it is not."""

    @property
    def conditions(self) -> frozenset[str]:
        """The conditions of shortage that the node has, such as MemoryPressure."""

    def reserved(self, machine: HostFacts) -> Mapping[str, int]:
        """Return how many bytes of each resource no Pod can have."""


class Registration:
    """This node's registration with the API."""

    def __init__(
        self,
        client: Client,
        identity: NodeIdentity,
        look: Callable[[], HostFacts],
        network_problem: Callable[[], str],
        images: Callable[[], Awaitable[list[ContainerImage]]],
        shortages: Shortages,
    ) -> None:
        self._client, self._identity, self._look = client, identity, look
        self._network_problem, self._images = network_problem, images
        self._shortages = shortages
        self._wake = asyncio.Event()
        self._registered = asyncio.Event()
        self._reported = -_REPORT_SECONDS  # never: a new agent gives a sign of life at once
        self._lease: Lease | None = None
        self._said = ""

    def set_runtime(self, runtime: str) -> None:
        """Say which runtime runs the Pods, as NAME://VERSION."""
        self._identity = replace(self._identity, runtime=runtime)

    def wake(self) -> None:
        """Report soon: something that the status shows may have changed."""
        self._wake.set()

    async def run(self) -> None:
        """Report the status and renew the Lease for ever."""
        await asyncio.gather(self._keep_status(), self._keep_lease())

    async def _keep_status(self) -> None:
        while True:
            self._wake.clear()
            pause = _PERIOD if await self._try(self._report) else _RETRY_SECONDS
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def _report(self) -> None:
        """Create the Node, or patch its labels and status where they differ."""
        try:
            have = await self._client.get(kinds.NODE, None, self._identity.name)
        except ApiError as err:
            if not err.not_found:
                raise
            await self._create()
            return
        self._registered.set()
        await self._correct_metadata(have)
        status = await self._status(have)
        due = time.monotonic() - self._reported >= _REPORT_SECONDS
        if due or describe.differs(have.status, status):
            patch = {"status": describe.complete(status)}
            patch["status"]["addresses"].insert(0, {"$patch": "replace"})
            await self._client.patch(
                kinds.NODE,
                None,
                self._identity.name,
                patch,
                type="strategic",
                subresource="status",
            )
            self._reported = time.monotonic()

    async def _create(self) -> None:
        wanted = describe.node(self._identity, await self._status(Node()))
        await self._client.create(kinds.NODE, wanted)
        logger.info("node %s registered", self._identity.name)
        self._registered.set()
        self._lease = None  # the new object must own it
        self._wake.set()  # a server may drop the status on create: report it again

    async def _correct_metadata(self, have: Node) -> None:
        labels, notes = describe.labels(self._identity), describe.annotations(self._identity)
        meta = have.metadata
        if labels.items() <= meta.labels.items() and notes.items() <= meta.annotations.items():
            return
        change = {"metadata": {"labels": labels, "annotations": notes}}
        await self._client.patch(kinds.NODE, None, self._identity.name, change)

    async def _status(self, have: Node) -> NodeStatus:
        machine = self._look()
        return describe.status(
            self._identity,
            machine,
            have.status,
            network_problem=self._network_problem(),
            images=await self._images(),
            now=time.time(),
            shortages=self._shortages.conditions,
            reserved=self._shortages.reserved(machine),
        )

    async def _keep_lease(self) -> None:
        await self._registered.wait()
        while True:
            pause = _PERIOD if await self._try(self._renew) else _RETRY_SECONDS
            await asyncio.sleep(pause)

    async def _renew(self) -> None:
        try:
            lease = self._lease or await self._find_lease()
            if lease is None:
                self._lease = await self._create_lease()
                return
            spec = lease.spec.model_copy(update=self._renewal())
            renewed = lease.model_copy(update={"spec": spec})
            self._lease = await self._client.update(kinds.LEASE, renewed)
        except ApiError:
            self._lease = None  # deleted, or written by another: read it again
            raise

    async def _find_lease(self) -> Lease | None:
        try:
            return await self._client.get(kinds.LEASE, _NAMESPACE, self._identity.name)
        except ApiError as err:
            if err.not_found:
                return None
            raise

    async def _create_lease(self) -> Lease:
        """Create the Lease; the Node owns it, so that both are deleted together."""
        node = await self._client.get(kinds.NODE, None, self._identity.name)
        owner = OwnerReference(
            api_version="v1", kind="Node", name=node.metadata.name, uid=node.metadata.uid
        )
        meta = ObjectMeta(name=self._identity.name, namespace=_NAMESPACE, owner_references=[owner])
        spec = LeaseSpec().model_copy(update=self._renewal())
        return await self._client.create(kinds.LEASE, Lease(metadata=meta, spec=spec))

    def _renewal(self) -> dict[str, object]:
        return {
            "holder_identity": self._identity.name,
            "lease_duration_seconds": _LEASE_SECONDS,
            "renew_time": rfc3339_micro(time.time()),
        }

    async def _try(self, step: Callable[[], Awaitable[None]]) -> bool:
        """Return True if a step worked; the same failure is logged once, not at every try."""
        try:
            await step()
        except ClientError as err:
            if str(err) != self._said:
                logger.warning("node %s: %s; trying again", self._identity.name, err)
            self._said = str(err)
            return False
        self._said = ""
        return True
