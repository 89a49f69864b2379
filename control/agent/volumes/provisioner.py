"""Makes and removes one node's volumes for claims of classes with podwire's provisioner.

The agent's own user may not write volumes: the provisioner has one of its own, with upstream's
role ``system:persistent-volume-provisioner``. Events are those of upstream's
sig-storage-lib-external-provisioner.
"""

import asyncio
import logging
from pathlib import Path

from control.agent.volumes.plan import (
    folder_for,
    node_of,
    superfluous,
    unsupported,
    volume_for,
    volume_name,
    wanted,
)
from control.api import kinds
from control.api.persistent import PersistentVolume, PersistentVolumeClaim, StorageClass
from control.client import ApiError, Client, ClientError, Informer
from control.client.backoff import Backoff
from control.client.events import EventRecorder
from control.linux import files

logger = logging.getLogger(__name__)

_MODE = 0o777  # any user of a container may write, as with local-path-provisioner


class Provisioner:
    """Keeps the folders of one node's volumes, below ``root``."""

    def __init__(self, client: Client, events: EventRecorder, node: str, root: Path) -> None:
        self._client, self._events, self._node, self._root = client, events, node, root
        self._claims = Informer(client, kinds.VOLUME_CLAIM)
        self._volumes = Informer(client, kinds.PERSISTENT_VOLUME)
        self._classes = Informer(client, kinds.STORAGE_CLASS)
        self._woken = asyncio.Event()
        self._refused: dict[str, str] = {}  # a claim's uid -> why it gets no volume

    async def run(self) -> None:
        """Make and remove volumes until cancelled."""
        informers = (self._claims, self._volumes, self._classes)
        async with asyncio.TaskGroup() as tasks:
            for informer in informers:
                informer.subscribe(lambda *_: self._woken.set())
                tasks.create_task(informer.run(), name=f"informer {informer.kind.plural}")
            for informer in informers:
                await informer.synced.wait()
            pause = Backoff()
            while True:
                self._woken.clear()
                if await self._step():
                    pause = Backoff()
                    await self._woken.wait()
                else:
                    await asyncio.sleep(pause.next())

    async def _step(self) -> bool:
        """Do what is due; return False if some of it could not be done."""
        classes = {it.metadata.name: it for it in self._classes.snapshot().values()}
        volumes = list(self._volumes.snapshot().values())
        claims = list(self._claims.snapshot().values())
        self._refused = {
            uid: why for uid, why in self._refused.items() if uid in {it.uid for it in claims}
        }
        done = True
        for claim in wanted(self._node, claims, classes, [it.metadata.name for it in volumes]):
            done = await self._make(claim, classes[claim.storage_class]) and done
        for volume in superfluous(self._node, volumes):
            done = await self._remove(volume) and done
        return done

    async def _make(self, claim: PersistentVolumeClaim, found: StorageClass) -> bool:
        if why := unsupported(claim):
            self._fail(claim, why)
            return True  # it stays so until the claim is another one
        name, key = volume_name(claim), "/".join(claim.key)
        text = f'External provisioner is provisioning volume for claim "{key}"'
        self._events.record(claim, "Normal", "Provisioning", text)
        folder = folder_for(self._root, claim)
        try:
            await asyncio.to_thread(_make_folder, folder)
            made = volume_for(self._node, self._root, claim, found)
            self._volumes.learn(await self._client.create(kinds.PERSISTENT_VOLUME, made))
        except ApiError as err:
            if err.already_exists:
                return await self._leave(name, folder)
            return self._fail(claim, str(err))
        except (OSError, ClientError) as err:
            return self._fail(claim, str(err))
        text = f"Successfully provisioned volume {name}"
        self._events.record(claim, "Normal", "ProvisioningSucceeded", text)
        return True

    async def _leave(self, name: str, folder: Path) -> bool:
        """Take note of a volume that is there: of this node before a restart, or of another."""
        try:
            there = await self._client.get(kinds.PERSISTENT_VOLUME, None, name)
        except ClientError as err:
            logger.warning("%s", err)
            return False
        if node_of(there) != self._node:
            await asyncio.to_thread(_forget_folder, folder)
        self._volumes.learn(there)
        return True

    def _fail(self, claim: PersistentVolumeClaim, why: str) -> bool:
        if self._refused.get(claim.uid) != why:
            self._refused[claim.uid] = why
            head = f'failed to provision volume with StorageClass "{claim.storage_class}"'
            self._events.record(claim, "Warning", "ProvisioningFailed", f"{head}: {why}")
        return False

    async def _remove(self, volume: PersistentVolume) -> bool:
        source, name = volume.spec.host_path, volume.metadata.name
        path = Path(source.path) if source else self._root
        try:
            if path.parent != self._root or not path.name.startswith(f"{name}_"):
                raise OSError(f"{path} is no folder that this provisioner makes for {name}")
            await asyncio.to_thread(files.remove_tree, path)
            await self._client.delete(kinds.PERSISTENT_VOLUME, None, name, uid=volume.uid)
        except (OSError, ClientError) as err:
            if isinstance(err, ApiError) and (err.not_found or err.conflict):
                return True
            if self._refused.get(volume.uid) != str(err):
                self._refused[volume.uid] = str(err)
                self._events.record(volume, "Warning", "VolumeFailedDelete", str(err))
            return False
        return True


def _make_folder(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(_MODE)


def _forget_folder(folder: Path) -> None:
    """Remove a folder in which nothing is."""
    try:
        folder.rmdir()
    except OSError as err:
        logger.warning("%s stays: %s", folder, err)
