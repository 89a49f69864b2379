"""The end of a machine: which Pods end when, and what each may take."""

import pytest

from control.agent.config import FlagError, shutdown_periods
from control.agent.shutdown import MESSAGE, Shutdown, ShutdownPeriods
from control.runtime.base import Container, Phase, PodRef
from tests.support.control.pods import pod

PERIODS = ShutdownPeriods(0.4, 0.1)


class Worker:
    """A Pod's worker; the Pod ends at once, if it listens."""

    def __init__(self, world, name, priority, *, listens=True):
        self.wanted = pod(meta={"uid": name, "name": name}, priority=priority)
        self.world, self.listens = world, listens
        self.takes_room, self.is_terminated, self.says_its_end = True, False, False

    def terminate(self, reason, message, grace):
        assert (reason, message) == ("Terminated", MESSAGE)
        self.is_terminated = True
        name = self.wanted.metadata.name
        self.world.told.append((name, round(grace, 3), sorted(self.world.running)))
        if self.listens:
            self.world.running.discard(name)
            self.says_its_end = True

    async def flush(self):
        self.world.flushed.append(self.wanted.metadata.name)


class World:
    def __init__(self, stops=True):
        self.told, self.flushed, self.changes, self.running = [], [], 0, set()
        self.stops, self.workers = stops, {}
        self.shutdown = Shutdown(PERIODS, self.workers, self.changed, self.asked)

    def add(self, name, priority=0, **more):
        self.workers[name] = Worker(self, name, priority, **more)
        self.running.add(name)

    def changed(self):
        assert self.shutdown.is_on
        self.changes += 1

    async def asked(self):
        return self.stops

    def of(self, uid):
        phase, ref = Phase.RUNNING, PodRef("default", uid, uid)
        one = Container(uid, "box", ref, "main", 0, phase, "", "", 0.0)
        return (), (one,) if uid in self.running else ()


async def test_critical_pods_end_last_in_the_time_that_is_theirs():
    world = World()
    world.add("critical", 2 * 10**9)
    world.add("plain")
    world.add("important", 10**9)
    await world.shutdown.run(world)
    assert world.told == [
        ("plain", 0.3, ["critical", "important", "plain"]),
        ("important", 0.3, ["critical", "important"]),
        ("critical", 0.1, ["critical"]),
    ]
    assert sorted(world.flushed) == ["critical", "important", "plain"]
    assert world.changes == 1


async def test_one_that_does_not_end_keeps_no_other_running(caplog):
    world = World()
    world.add("deaf", listens=False)
    world.workers["deaf"].says_its_end = True
    world.add("critical", 2 * 10**9)
    await world.shutdown.run(world)
    assert [name for name, *_ in world.told] == ["deaf", "critical"]
    assert "not all of these Pods have ended: ('default', 'deaf')" in caplog.text


async def test_pods_run_on_while_the_machine_does():
    world = World(stops=False)
    world.add("plain")
    await world.shutdown.run(world)
    assert (world.told, world.changes, world.shutdown.is_on) == ([], 0, False)


def test_the_critical_part_is_a_part():
    assert shutdown_periods(30, 10) == ShutdownPeriods(30, 10)
    with pytest.raises(FlagError, match="want at most --shutdown-grace-period, 30"):
        shutdown_periods(30, 31)
