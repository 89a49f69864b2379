"""Static Pods: files of the node that its agent runs, and mirror Pods that show them."""

from pathlib import Path

import pytest

from control.api import kinds
from tests.support.control.agent_process import NOTHING
from tests.support.control.cluster import until

MIRROR = "kubernetes.io/config.mirror"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: default}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: podwire/tools
    command: [sh, -c, "echo one; exec sleep 1000"]
"""
NAME = "web-n1"


@pytest.fixture
def manifests(tmp_path) -> Path:
    folder = tmp_path / "manifests"
    folder.mkdir()
    write(folder, POD)
    return folder


@pytest.fixture
def flags(manifests) -> tuple[str, ...]:
    return (f"--pod-manifest-path={manifests}",)


def write(folder: Path, text: str) -> None:
    fresh = folder / ".web"
    fresh.write_text(text)
    fresh.replace(folder / "web.yaml")


def running(pod) -> str:
    """Return the ID of the container that the status says to run."""
    (status,) = pod.status.container_statuses
    assert status.state.running is not None
    return status.container_id


async def gone(node) -> bool:
    return await node.get(NAME) is None and node.remains() == NOTHING


async def test_a_file_runs_from_its_coming_to_its_end(node, manifests):
    mirror = await node.ready(NAME)
    notes = mirror.metadata.annotations
    assert notes[MIRROR] == notes["kubernetes.io/config.hash"]
    assert notes["kubernetes.io/config.source"] == "file"
    (owner,) = mirror.metadata.owner_references
    assert (owner.kind, owner.name, owner.controller) == ("Node", "n1", True)
    first = running(mirror)
    events = (await node.client.list(kinds.EVENT)).items
    assert {it.involved_object.uid for it in events if it.involved_object.name == NAME} == {
        notes[MIRROR]
    }

    # Who deletes the mirror ends nothing: it comes again, with the same container.
    await node.client.delete(kinds.POD, "default", NAME)

    async def anew(uid: str) -> bool:
        found = await node.get(NAME)
        return found is not None and found.metadata.uid != uid and bool(found.status.start_time)

    await until(lambda: anew(mirror.metadata.uid), f"another mirror\n{node.log()}")
    second = await node.ready(NAME)
    assert running(second) == first
    assert second.status.start_time == mirror.status.start_time

    node.kill()  # the next agent goes on
    await node.client.delete(kinds.POD, "default", NAME, grace_period_seconds=0)
    node.start()
    await until(lambda: anew(second.metadata.uid), f"a third mirror\n{node.log()}")
    third = await node.ready(NAME)
    assert running(third) == first


async def test_another_content_is_another_pod(node, manifests):
    """The first one ends before the next one begins, also if there is no agent meanwhile."""
    mirror = await node.ready(NAME)
    first, before = running(mirror), mirror.metadata.annotations[MIRROR]

    async def another() -> bool:
        found = await node.get(NAME)
        return found is not None and found.metadata.annotations[MIRROR] != before

    write(manifests, POD.replace("one;", "two;"))
    await until(another, f"another version\n{node.log()}")
    second = await node.ready(NAME)
    assert running(second) != first

    node.kill()
    write(manifests, POD.replace("one;", "three;"))
    before = second.metadata.annotations[MIRROR]
    node.start()
    await until(another, f"a third version\n{node.log()}")
    await node.ready(NAME)

    (manifests / "web.yaml").unlink()
    await until(lambda: gone(node), f"the end\n{node.log()}")


async def test_a_mirror_without_a_file_is_no_pod(node, manifests):
    """It does not run, and its node removes it."""
    found = await node.ready(NAME)
    wire = found.wire()
    wire["metadata"] = {
        "name": "forged",
        "namespace": "default",
        "annotations": {MIRROR: "x"},
    }
    await node.client.create(kinds.POD, type(found).parse(wire))
    await until(lambda: _absent(node, "forged"), f"no forged mirror\n{node.log()}")
    assert "forged" not in node.log()


async def _absent(node, name: str) -> bool:
    return await node.get(name) is None
