"""Leader election: when a Lease may be taken, and that only one replica works at a time."""

import asyncio

import pytest

from control.api import kinds
from control.api.cluster import Lease, LeaseSpec
from control.api.times import rfc3339_micro
from control.client.election import LeaderElector, LeaseHolder, Timing, is_free, known_dead, taken
from tests.support.control.cluster import client_of, meta, until

QUICK = Timing(retry=0.05)  # and no deadline that a busy machine could miss


def held(by: str, renewed: float) -> LeaseSpec:
    return LeaseSpec(
        holder_identity=by, lease_duration_seconds=15, renew_time=rfc3339_micro(renewed)
    )


@pytest.mark.parametrize(
    ("spec", "unchanged", "free"),
    [
        (LeaseSpec(), 0, True),
        (held("", 1000), 0, True),
        (held("me", 1000), 0, True),
        (held("other", 1000), 0, False),
        (held("other", 984), 0, True),  # over by its own renewTime
        (held("other", 5000), 16, True),  # its clock is ahead, but nothing renews it
        (held("other", 5000), 14, False),
        (LeaseSpec(holder_identity="other", lease_duration_seconds=15), 0, True),
    ],
)
def test_when_a_lease_is_free(spec, unchanged, free):
    assert is_free(spec, "me", 1000.0, unchanged) is free


def test_transitions_count_holders_not_renewals():
    first = taken(LeaseSpec(), "a", 1.0, Timing())
    renewed = taken(first, "a", 2.0, Timing())
    other = taken(renewed, "b", 3.0, Timing())
    assert [s.lease_transitions for s in (first, renewed, other)] == [0, 0, 1]
    assert renewed.acquire_time == first.acquire_time != other.acquire_time


def test_only_a_process_of_this_machine_can_be_seen_as_dead():
    me = LeaseHolder("host", "boot-1", 7, "99")
    ghost = str(LeaseHolder("host", "boot-1", 8, "50"))
    assert known_dead(ghost, me, lambda pid: None)
    assert known_dead(ghost, me, lambda pid: "51")  # the pid is another's now
    assert not known_dead(ghost, me, lambda pid: "50")
    assert not known_dead(str(LeaseHolder("host", "boot-0", 8, "50")), me, lambda pid: None)
    assert not known_dead(str(LeaseHolder("other", "boot-1", 8, "50")), me, lambda pid: None)
    assert not known_dead("host_4c1a-uuid", me, lambda pid: None)
    assert LeaseHolder.parse(str(LeaseHolder.me())) == LeaseHolder.me()
    assert not known_dead(str(LeaseHolder.me()), LeaseHolder.me())


async def test_one_replica_leads_and_the_other_takes_over(api_server):
    working = []

    def work(name):
        async def run():
            working.append(name)
            try:
                await asyncio.sleep(3600)
            finally:
                working.remove(name)

        return run

    async with client_of(api_server.url) as client:
        one = LeaderElector(client, "part", timing=QUICK)
        two = LeaderElector(client, "part", timing=QUICK)
        two._identity = "another-machine"
        first = asyncio.create_task(one.lead(work("one")))
        await until(lambda: working == ["one"])
        second = asyncio.create_task(two.lead(work("two")))
        await asyncio.sleep(0.2)
        assert working == ["one"]
        first.cancel()
        await asyncio.wait({first})
        await until(lambda: working == ["two"])
        second.cancel()
        await asyncio.wait({second})
        lease = await client.get(kinds.LEASE, "kube-system", "part")
    assert lease.spec.holder_identity == "" and lease.spec.lease_transitions == 1


async def test_a_stolen_lease_stops_the_work(api_server):
    working = []

    async def work():
        working.append(1)
        try:
            await asyncio.sleep(3600)
        finally:
            working.pop()

    async with client_of(api_server.url) as client:
        elector = LeaderElector(client, "part", timing=QUICK)
        task = asyncio.create_task(elector.lead(work))
        await until(lambda: bool(working))
        # A patch without a resourceVersion: an update could conflict with a renewal.
        stolen = {"holderIdentity": "thief", "renewTime": rfc3339_micro(4e9)}
        await client.patch(kinds.LEASE, "kube-system", "part", {"spec": stolen})
        await until(lambda: not working)
        await client.delete(kinds.LEASE, "kube-system", "part")
        await until(lambda: bool(working))
        task.cancel()
        await asyncio.wait({task})


async def test_the_lease_of_a_dead_process_of_this_machine_is_taken_at_once(api_server):
    async with client_of(api_server.url) as client:
        me = LeaseHolder.me()
        ghost = LeaseHolder(me.host, me.space, 2**22 + 1, "1")  # beyond pid_max: nobody's
        spec = LeaseSpec(
            holder_identity=str(ghost), lease_duration_seconds=3600, renew_time=rfc3339_micro(4e9)
        )
        lease = Lease(metadata=meta("part", "kube-system"), spec=spec)
        await client.create(kinds.LEASE, lease)
        done = asyncio.Event()

        async def work():
            done.set()

        await asyncio.wait_for(LeaderElector(client, "part", timing=QUICK).lead(work), 60)
        assert done.is_set()


async def test_work_that_fails_is_not_swallowed(api_server):
    async def work():
        raise RuntimeError("broken")

    async with client_of(api_server.url) as client:
        with pytest.raises(RuntimeError, match="broken"):
            await LeaderElector(client, "part", timing=QUICK).lead(work)
