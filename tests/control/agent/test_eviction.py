"""One Pod goes after the other, and only when the last one's going was not enough."""

import pytest

from control.agent.eviction import Evictions
from control.agent.pods.volumes import Volumes
from control.agent.pressure import parse_thresholds
from control.runtime.base import Container, Phase, PodRef
from control.runtime.used import RuntimeUsage, Usage
from tests.support.control.pods import pod


class Worker:
    """A Pod's worker, whose Pod's object never changes: the API server is away."""

    def __init__(self, uid):
        self.pod = pod(meta={"uid": uid, "name": uid})
        self.takes_room, self.is_evicted = True, False

    def evict(self, _message, *, disruption):
        assert disruption
        self.is_evicted = True


class World:
    def __init__(self, root):
        self.phases = {uid: Phase.RUNNING for uid in ("a", "b")}
        self.runtime, self.volumes = self, Volumes(root / "pods")
        self.workers = {uid: Worker(uid) for uid in self.phases}

    def of(self, uid):
        phase, ref = self.phases.get(uid), PodRef("default", uid, uid)
        one = Container(uid, "box", ref, "main", 0, phase or Phase.EXITED, "", "", 0.0)
        return (), (one,) if phase else ()

    async def usage(self):
        use = {"a": Usage(0, 2), "b": Usage(0, 1)}
        return RuntimeUsage(0.0, Usage(0, 3), use)

    def evicted(self):
        return [uid for uid, worker in self.workers.items() if worker.is_evicted]


@pytest.mark.parametrize(
    ("threshold", "after_the_end"),
    [("memory.available<1Pi", ["a", "b"]), ("nodefs.available<1Pi", ["a"])],
)
async def test_the_next_pod_waits_until_the_last_has_made_room(tmp_path, threshold, after_the_end):
    world, changes = World(tmp_path), []
    found = Evictions(
        parse_thresholds(threshold), tmp_path, world.workers, lambda: changes.append(True)
    )
    for _ in range(2):  # while it ends, nobody else has to
        await found.once(world)
        assert world.evicted() == ["a"]
    world.phases["a"] = Phase.EXITED
    await found.once(world)
    assert world.evicted() == after_the_end  # its files are still there
    del world.phases["a"]
    await found.once(world)
    assert world.evicted() == ["a", "b"]
    assert changes == [True]
