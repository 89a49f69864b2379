"""The volumes that a node makes for claims: which, what they are, and when they go."""

import asyncio
from pathlib import Path
from typing import Any

from control.agent.volumes.plan import (
    PROVISIONER,
    folder_for,
    node_of,
    superfluous,
    unsupported,
    volume_for,
    wanted,
)
from control.agent.volumes.provisioner import Provisioner
from control.api import kinds
from control.api.errors import errors_in_new
from control.api.persistent import PersistentVolume, PersistentVolumeClaim, StorageClass
from control.api.rules import rules_of
from control.client.events import EventRecorder
from tests.support.control.cluster import client_of, until

ROOT = Path("/var/lib/podwire/volumes")
CLASS = StorageClass.parse(
    {
        "metadata": {"name": "standard"},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }
)


def claim(node: str | None = "n1", **spec: Any) -> PersistentVolumeClaim:
    notes = {"volume.kubernetes.io/storage-provisioner": PROVISIONER}
    if node is not None:
        notes["volume.kubernetes.io/selected-node"] = node
    base = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "storageClassName": "standard",
    }
    meta = {"name": "c", "namespace": "default", "uid": "u1", "annotations": notes}
    return PersistentVolumeClaim.parse({"metadata": meta, "spec": base | spec})


def test_a_node_makes_the_volumes_for_which_it_was_chosen():
    classes = {"standard": CLASS}

    def names(node: str, item: PersistentVolumeClaim, made: tuple[str, ...] = ()) -> int:
        return len(list(wanted(node, [item], classes, made)))

    assert names("n1", claim()) == 1
    assert names("n2", claim()) == 0
    assert names("n2", claim(node=None)) == 1
    assert names("n1", claim(), ("pvc-u1",)) == 0
    assert names("n1", claim(volumeName="v")) == 0
    assert names("n1", claim(storageClassName="other")) == 0


def test_the_volume_is_valid_and_stays_on_its_node():
    made = volume_for("n1", ROOT, claim(), CLASS)
    wire = rules_of(kinds.PERSISTENT_VOLUME).default(made.wire())
    assert errors_in_new(kinds.PERSISTENT_VOLUME, PersistentVolume.parse(wire)) == []
    assert node_of(made) == "n1"
    assert made.spec.host_path is not None
    assert made.spec.host_path.path == f"{ROOT}/pvc-u1_default_c"


def test_only_the_node_of_a_released_volume_removes_it():
    made = volume_for("n1", ROOT, claim(), CLASS)
    status = made.status.model_copy(update={"phase": "Released"})
    released = made.model_copy(update={"status": status})
    assert list(superfluous("n1", [released])) == [released]
    assert list(superfluous("n2", [released])) == []
    assert list(superfluous("n1", [made])) == []
    kept = released.spec.model_copy(update={"persistent_volume_reclaim_policy": "Retain"})
    assert list(superfluous("n1", [released.model_copy(update={"spec": kept})])) == []


def test_what_a_folder_cannot_be_is_refused():
    assert unsupported(claim()) == ""
    assert "ReadWriteOnce" in unsupported(claim(accessModes=["ReadWriteMany"]))
    assert "block" in unsupported(claim(volumeMode="Block"))
    assert "Selector" in unsupported(claim(selector={}))


async def test_folders_come_and_go_with_their_claims(api_server: Any, tmp_path: Path) -> None:
    async with client_of(api_server.url) as client, EventRecorder(client, PROVISIONER) as events:
        task = asyncio.create_task(Provisioner(client, events, "n1", tmp_path / "v").run())
        await client.create(kinds.STORAGE_CLASS, CLASS)
        made = await client.create(kinds.VOLUME_CLAIM, claim())
        name, folder = f"pvc-{made.metadata.uid}", folder_for(tmp_path / "v", made)

        async def volumes() -> list[PersistentVolume]:
            return (await client.list(kinds.PERSISTENT_VOLUME)).items

        async def there() -> bool:
            return [it.metadata.name for it in await volumes()] == [name]

        async def gone() -> bool:
            return not await volumes()

        await until(there)
        (found,) = await volumes()
        assert folder.is_dir() and folder.stat().st_mode & 0o777 == 0o777
        (folder / "data").write_text("x")
        await client.patch(kinds.VOLUME_CLAIM, "default", "c", {"metadata": {"finalizers": None}})
        await client.delete(kinds.VOLUME_CLAIM, "default", "c")
        freed = found.metadata.model_copy(update={"finalizers": []})  # no controller runs here
        found = await client.update(
            kinds.PERSISTENT_VOLUME, found.model_copy(update={"metadata": freed})
        )
        status = found.status.model_copy(update={"phase": "Released"})
        await client.update_status(
            kinds.PERSISTENT_VOLUME, found.model_copy(update={"status": status})
        )

        await until(gone)
        assert not folder.exists()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
