"""Has a Pod's volumes bound before the Pod is: follows claims and volumes, and writes the choice.

The controller binds a volume that is kept for a claim, and a provisioner makes one for a claim
with a node; then the Pod is bound. Source: pkg/scheduler/framework/plugins/volumebinding.
"""

import asyncio
from collections.abc import Callable

from control.api import kinds
from control.api.binding import kept_for
from control.api.persistent import SELECTED_NODE, PersistentVolume, PersistentVolumeClaim
from control.api.pod import Pod
from control.client import Client, ClientError, Informer
from control.scheduler.storage import NotSchedulableError, Storage, VolumeChoice

_SECONDS = 600.0  # upstream's bindTimeoutSeconds


class VolumesNotBoundError(ClientError):
    """The volumes of a Pod were not bound; the text says why."""


class VolumeBinding:
    """The claims, volumes and classes of the cluster."""

    def __init__(self, client: Client, changed: Callable[[], None]) -> None:
        """``changed`` is called when Pods that wait for volumes may be placed."""
        self._client, self._changed = client, changed
        self._claims = Informer(client, kinds.VOLUME_CLAIM)
        self._volumes = Informer(client, kinds.PERSISTENT_VOLUME)
        self._classes = Informer(client, kinds.STORAGE_CLASS)
        self.informers = (self._claims, self._volumes, self._classes)
        self.storage = Storage()
        self._moved = asyncio.Event()

    def subscribe(self) -> None:
        """Follow the cluster from now on."""
        self._claims.subscribe(self._on_change)
        self._volumes.subscribe(self._on_change)
        self._classes.subscribe(self._on_change)

    def _on_change(self, _: object, __: object) -> None:
        self.storage.claims = self._claims.snapshot()
        self.storage.volumes = self._volumes.snapshot()
        self.storage.classes = self._classes.snapshot()
        self.wake()
        self._changed()

    def wake(self) -> None:
        """Let those look again who wait in ``bind``."""
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    async def bind(
        self, pod: Pod, node: str, choice: VolumeChoice, exists: Callable[[], bool]
    ) -> None:
        """Write what was chosen, and wait until all claims are bound.

        ``exists`` is False once the Pod is gone. Raises ClientError.
        """
        try:
            for volume, claim in choice.bound:
                await self._keep(volume, claim)
            for claim in choice.made:
                await self._ask(claim, node)
            async with asyncio.timeout(_SECONDS):
                while exists() and not self.storage.are_bound(pod):
                    await self._moved.wait()
        except NotSchedulableError as err:
            raise VolumesNotBoundError(str(err)) from err
        except TimeoutError as err:
            raise VolumesNotBoundError("timed out waiting for the condition") from err
        finally:
            self.storage.release(pod)

    async def _keep(self, volume: PersistentVolume, claim: PersistentVolumeClaim) -> None:
        kept = kept_for(volume, claim)
        if kept is not volume:
            self._volumes.learn(await self._client.update(kinds.PERSISTENT_VOLUME, kept))

    async def _ask(self, claim: PersistentVolumeClaim, node: str) -> None:
        annotations = claim.metadata.annotations
        if annotations.get(SELECTED_NODE) == node:
            return
        metadata = claim.metadata.model_copy(
            update={"annotations": annotations | {SELECTED_NODE: node}}
        )
        asked = claim.model_copy(update={"metadata": metadata})
        self._claims.learn(await self._client.update(kinds.VOLUME_CLAIM, asked))
