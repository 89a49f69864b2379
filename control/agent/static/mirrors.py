"""Runs static Pods, and shows each in the API as a mirror Pod, which only shows it.

Source: k8s.io/kubernetes/pkg/kubelet (tryReconcileMirrorPods) and pkg/kubelet/pod/mirror_client.go
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from control.agent.pods.static import CONFIG_HASH, CONFIG_MIRROR, StaticPod, is_mirror, is_mirror_of
from control.agent.pods.worker import PodWorker
from control.agent.workers import Workers
from control.api import kinds
from control.api.meta import OwnerReference
from control.api.node import Node
from control.api.pod import Pod, PodStatus
from control.client import ApiError, Client, ClientError, Informer

if TYPE_CHECKING:  # who has no static Pods does not need the checks of Pods: 10 MB
    from control.agent.static.folder import Manifests

logger = logging.getLogger(__name__)

Key = tuple[str, str]

_PERIOD = 1.0  # seconds between two looks at the files
_RETRY = 5.0  # seconds until a mirror that could not be written is tried again


class StaticPods:
    """The static Pods of a node: ``manifests`` is None if it has no path for them."""

    def __init__(
        self,
        manifests: "Manifests | None",
        client: Client,
        pods: Informer[Pod],
        node: Callable[[], Node | None],
        workers: Workers,
    ) -> None:
        self._manifests, self._client, self._pods = manifests, client, pods
        self._node, self._workers = node, workers
        self._wanted: dict[Key, StaticPod] = {}
        self._wake = asyncio.Event()
        self._not_before: dict[Key, float] = {}
        self._said: dict[Key, str] = {}

    async def open(self) -> None:
        """Start the Pods of the files, before any other of the node is called an orphan."""
        await self._read()

    async def run(self) -> None:
        """Follow files and mirrors for ever."""
        while True:
            self._wake.clear()
            await self._read()
            if self._pods.synced.is_set():
                for key in self._mirrors().keys() | self._wanted.keys():
                    await self._show(key)
            period = None if self._manifests is None else _PERIOD
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), period)

    def wake(self) -> None:
        """Look soon: this node's object has changed."""
        self._wake.set()

    def mirrored(self, old: Pod | None, new: Pod | None) -> None:
        """Take a change of a mirror from the API."""
        key = (new or old or Pod()).key
        if worker := self._running().get(key):
            worker.mirrored(new)
        self._wake.set()

    def running(self) -> Mapping[Key, Pod]:
        """Return the static Pods that run, or end, with their status."""
        return {key: worker.wanted for key, worker in self._running().items()}

    def _running(self) -> dict[Key, PodWorker]:
        workers = self._workers.by_uid.values()
        return {it.wanted.key: it for it in workers if isinstance(it.wanted, StaticPod)}

    def _mirrors(self) -> dict[Key, Pod]:
        return {it.key: it for it in self._pods.snapshot().values() if is_mirror(it)}

    async def _read(self) -> None:
        """Let run what the files say; another Pod of a name waits until the first has ended."""
        if self._manifests is not None:
            self._wanted = await asyncio.to_thread(self._manifests.read)
        running = self._running()
        for key, worker in running.items():
            wanted = self._wanted.get(key)
            if wanted is None or wanted.metadata.uid != worker.wanted.metadata.uid:
                worker.lost()
            elif wanted.spec != worker.wanted.spec:  # the file itself says the UID
                worker.update(wanted.model_copy(update={"status": worker.wanted.status}))
        for key in self._wanted.keys() - running.keys():
            if not self._workers.end_others(self._wanted[key]):
                self._begin(self._wanted[key])

    def _begin(self, pod: StaticPod) -> None:
        logger.info("static Pod %s/%s begins", *pod.key)
        worker = self._workers.begin(pod)
        worker.on_end(self._wake.set)
        if mirror := self._mirrors().get(pod.key):
            worker.mirrored(mirror)

    async def _show(self, key: Key) -> None:
        """Bring a mirror in line with its static Pod; a failure is logged once, and tried again."""
        now = asyncio.get_running_loop().time()
        if now < self._not_before.get(key, 0.0):
            return
        try:
            await self._reconcile(key)
            self._said.pop(key, None)
            self._not_before.pop(key, None)
        except ClientError as err:
            if self._said.get(key) != str(err):
                logger.warning("mirror of the static Pod %s/%s: %s", *key, err)
            self._said[key], self._not_before[key] = str(err), now + _RETRY

    async def _reconcile(self, key: Key) -> None:
        mirror, wanted = self._mirrors().get(key), self._wanted.get(key)
        if mirror is not None:
            if wanted is None and key in self._running():
                return  # it shows how the Pod ends
            deleted = mirror.metadata.deletion_timestamp is not None
            if wanted is not None and not deleted and is_mirror_of(mirror, wanted):
                return
            if not await self._deleted(mirror):
                return
        node = self._node()
        if wanted is not None and node is not None and node.metadata.uid:
            await self._create(wanted, node)

    async def _deleted(self, mirror: Pod) -> bool:
        """Delete a mirror; return False if something else, such as a finalizer, holds it."""
        meta = mirror.metadata
        try:
            left = await self._client.delete(
                kinds.POD, meta.namespace, meta.name, uid=meta.uid, grace_period_seconds=0
            )
        except ApiError as err:
            if err.code not in (404, 409):  # it is gone, or another one has its name
                raise
            left = None
        if left is None:
            self._pods.bury(mirror)
        return left is None

    async def _create(self, pod: StaticPod, node: Node) -> None:
        self._pods.learn(await self._client.create(kinds.POD, mirror_of(pod, node)))


def mirror_of(pod: StaticPod, node: Node) -> Pod:
    """Return the object that shows a static Pod in the API. Its node owns it (KEP-1314)."""
    notes = pod.metadata.annotations
    owner = OwnerReference(
        api_version="v1",
        kind="Node",
        name=node.metadata.name,
        uid=node.metadata.uid,
        controller=True,
    )
    update = {
        "uid": "",
        "annotations": notes | {CONFIG_MIRROR: notes[CONFIG_HASH]},
        "owner_references": [owner],
    }
    meta = pod.metadata.model_copy(update=update)
    return Pod(api_version="v1", kind="Pod", metadata=meta, spec=pod.spec, status=PodStatus())


class NodePods:
    """The Pods of a node as its server shows them: static ones in place of their mirrors."""

    def __init__(self, informer: Informer[Pod], static: StaticPods) -> None:
        self._informer, self._static = informer, static

    def get(self, namespace: str | None, name: str) -> Pod | None:
        """Return one Pod, if it is there."""
        return self.snapshot().get((namespace or "", name))

    def snapshot(self) -> Mapping[tuple[str, str], Pod]:
        """Return all Pods by namespace and name."""
        known = {it.key: it for it in self._informer.snapshot().values() if not is_mirror(it)}
        return {**known, **self._static.running()}
