"""Follows ClusterNetworkPolicies while the cluster has that kind.

It is a custom resource, and most clusters have none. So what is watched for good is one definition,
by its name; the policies are watched while it serves the version that this room reads.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from control.client import ApiError, Client, ClientError, Informer
from proxy.objects.feed import KeptObject
from proxy.objects.parse import Complaints
from proxy.policy import wire
from proxy.policy.tiers.parse import parse_cluster_policy
from proxy.policy.values import ClusterPolicy

logger = logging.getLogger("podwire.proxy.policy")

KIND = wire.CLUSTER_NETWORK_POLICY
DEFINITION = f"{KIND.plural}.{KIND.group}"

_BY_NAME = f"metadata.name={DEFINITION}"

Take = Callable[[KeptObject[ClusterPolicy] | None, KeptObject[ClusterPolicy] | None], None]


class ClusterPolicyFeed:
    """Reports policies to ``take``, as an informer does. ``run`` it as a task.

    ``known`` is set once all were reported, and also where they cannot be: the cluster has no such
    kind, or the proxy has no right to look.
    """

    def __init__(self, client: Client, take: Take) -> None:
        self._client = client
        self._take = take
        self._is_served = False
        self._changed = asyncio.Event()
        self.known = asyncio.Event()

    async def run(self) -> None:
        """Follow until cancelled."""
        definitions = Informer(
            self._client,
            wire.DEFINITION,
            field_selector=_BY_NAME,
            keep=_keep_definition,
        )
        definitions.subscribe(self._take_definition)
        async with asyncio.TaskGroup() as group:
            group.create_task(definitions.run())
            await self._look(self._client.pages(wire.DEFINITION, field_selector=_BY_NAME))
            if not self.known.is_set():
                await definitions.synced.wait()
            while True:
                await self._until(True)
                await self._follow()

    async def _follow(self) -> None:
        """Follow policies until their kind is gone, and with it all of them."""
        informer = Informer(self._client, KIND, keep=_keep)
        first = self._client.pages(KIND, limit=1)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(one)
                for one in (informer.run(), self._deliver(informer), self._look(first))
            ]
            await self._until(False)
            for task in tasks:
                task.cancel()
        for item in informer.snapshot().values():
            self._take(item, None)

    async def _deliver(
        self, informer: Informer[wire.ClusterNetworkPolicy, KeptObject[ClusterPolicy]]
    ) -> None:
        await informer.synced.wait()
        informer.subscribe(self._take)
        self.known.set()

    async def _look(self, pages: AsyncIterator[object]) -> None:
        """Wait for nothing that this proxy may never see; the informer goes on trying."""
        try:
            await anext(pages)
        except ApiError as err:
            logger.warning("ClusterNetworkPolicies do not count until this works: %s", err)
            self.known.set()
        except ClientError:
            return  # an outage: the informer says so

    async def _until(self, is_served: bool) -> None:
        while self._is_served is not is_served:
            if not self._is_served:
                self.known.set()
            await self._changed.wait()
            self._changed.clear()

    def _take_definition(self, _old: KeptObject[bool] | None, new: KeptObject[bool] | None) -> None:
        if new is not None and new.key[1] != DEFINITION:
            return
        is_served = bool(new and new.value)
        if new is not None and not is_served:
            logger.warning(
                "%s does not serve %s: its policies do not count", DEFINITION, KIND.version
            )
        if is_served is not self._is_served:
            logger.info("ClusterNetworkPolicies: %s", "served" if is_served else "gone")
        self._is_served = is_served
        self._changed.set()


def _keep_definition(one: wire.Definition) -> KeptObject[bool]:
    established = any(
        each.type == "Established" and each.status == "True" for each in one.status.conditions
    )
    served = any(each.served and each.name == KIND.version for each in one.spec.versions)
    return KeptObject(one.key, one.uid, one.resource_version, established and served, ())


def _keep(one: wire.ClusterNetworkPolicy) -> KeptObject[ClusterPolicy]:
    complaints = Complaints(f"ClusterNetworkPolicy {one.metadata.name}")
    value = parse_cluster_policy(one, complaints)
    return KeptObject(one.key, one.uid, one.resource_version, value, tuple(complaints.lines))
