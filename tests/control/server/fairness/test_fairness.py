# ruff: noqa: ASYNC110  tests wait for the world
"""Flows of a server: the objects that it keeps, headers, who waits, who is refused."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from control.metrics import Registry
from control.server.access.attributes import AccessAttributes
from control.server.fairness import control
from control.server.fairness.control import FlowControl, seats_of
from control.server.state.budget import BusyError
from control.server.wire.request import User
from tests.support.control.guarded import Guarded, guarded_server

FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1"
LIST = AccessAttributes("list", "", "pods", namespace="default")
ALICE, BOB = (User(name, ("system:authenticated",)) for name in ("alice", "bob"))


@pytest.fixture
async def server() -> AsyncIterator[Guarded]:
    async with guarded_server("AlwaysAllow") as made:
        yield made


@pytest.fixture
def flows(server: Guarded) -> FlowControl:
    return FlowControl(server.state.cache, 24, Registry())


async def until(condition) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_cluster_has_upstreams_levels_and_schemas(server: Guarded) -> None:
    levels = (await server("root", "GET", f"{FLOWS}/prioritylevelconfigurations"))["items"]
    schemas = (await server("root", "GET", f"{FLOWS}/flowschemas"))["items"]
    assert (len(levels), len(schemas)) == (8, 11)
    assert all(
        each["metadata"]["annotations"] == {"apf.kubernetes.io/autoupdate-spec": "true"}
        for each in levels + schemas
    )


async def test_each_answer_names_its_schema_and_level(server: Guarded) -> None:
    for user, schema, level in (("root", "exempt", "exempt"), ("bob", *["global-default"] * 2)):
        uids = []
        for kind, name in (("flowschemas", schema), ("prioritylevelconfigurations", level)):
            found = await server("root", "GET", f"{FLOWS}/{kind}/{name}")
            uids.append(found["metadata"]["uid"])
        head = {"Authorization": f"Bearer {user}"}
        async with server.api.session.get(f"{server.url}/api/v1/pods", headers=head) as answer:
            shown = [f"X-Kubernetes-PF-{it}-UID" for it in ("FlowSchema", "PriorityLevel")]
            assert [answer.headers[it] for it in shown] == uids


async def test_one_greedy_client_never_starves_another(flows: FlowControl) -> None:
    """While a thousand requests of one user wait, another's are answered like in turn with it."""
    order: list[str] = []
    refused = 0

    async def ask(user: User) -> None:
        nonlocal refused
        try:
            async with flows.turn(flows.flow(user, LIST), 1):
                await asyncio.sleep(0.001)
                order.append(user.name)
        except BusyError:
            refused += user is ALICE

    async with asyncio.TaskGroup() as group:
        for _ in range(1000):
            group.create_task(ask(ALICE))
        await asyncio.sleep(0)
        for _ in range(5):
            await group.create_task(ask(BOB))
    assert order.count("bob") == 5
    # Each of bob's waits at most for who is seated and for one of each of alice's six queues.
    assert order.index("bob") < 60
    assert len(order) - order[::-1].index("bob") < 5 * 60
    assert refused > 0, "what does not fit into alice's queues is refused"


async def test_seats_are_free_again_after_each_end(flows: FlowControl) -> None:
    flow = flows.flow(ALICE, LIST)
    held = asyncio.Event()

    async def ask() -> None:
        async with flows.turn(flow, 1):
            await held.wait()

    tasks = [asyncio.create_task(ask()) for _ in range(40)]
    level = flows.room.levels["global-default"]
    await until(lambda: level.waiting > 0)
    waiting = level.waiting
    for task in tasks[:3] + tasks[-3:]:  # some that are seated, some that wait
        task.cancel()
    await until(lambda: level.waiting <= waiting - 6)
    held.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (level.used, level.waiting, flows.room.total) == (0, 0, 24)


async def test_who_waits_too_long_is_refused(flows: FlowControl, monkeypatch) -> None:
    monkeypatch.setattr(control, "PATIENCE", 0.01)
    flow = flows.flow(ALICE, LIST)
    level = flows.room.levels["global-default"]
    level.used = 24
    with pytest.raises(BusyError):
        async with flows.turn(flow, 1):
            pytest.fail("there was no seat")
    assert level.waiting == 0


async def test_an_administrator_never_waits(flows: FlowControl) -> None:
    flow = flows.flow(User("root", ("system:masters",)), LIST)
    for level in flows.room.levels.values():
        level.used = 1000
    async with flows.turn(flow, 10):
        pass


async def test_a_level_that_is_changed_counts_from_then_on(server: Guarded) -> None:
    path = f"{FLOWS}/prioritylevelconfigurations/global-default"
    change = {
        "metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}},
        "spec": {"limited": {"nominalConcurrencyShares": 0, "limitResponse": {"type": "Reject"}}},
    }
    merge = {"Content-Type": "application/merge-patch+json"}
    change["spec"]["limited"] |= {"borrowingLimitPercent": 0}
    change["spec"]["limited"]["limitResponse"]["queuing"] = None
    assert (await server("root", "PATCH", path, change, **merge)).code == 200
    go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await go_on.wait()
        yield b"}"

    place = f"{server.url}/api/v1/namespaces/default/configmaps"
    head = {"Authorization": "Bearer bob", "Content-Type": "application/json"}
    slow = asyncio.create_task(server.api.session.post(place, data=slowly(), headers=head))
    text = 'apiserver_flowcontrol_current_executing_requests{flow_schema="global-default"'
    await until(lambda: f'{text},priority_level="global-default"}} 1' in _metrics(server))
    async with server.api.session.get(place, headers=head) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert (await answer.text()).strip() == "Too many requests, please try again later."
        assert answer.headers["X-Kubernetes-PF-FlowSchema-UID"]
    assert (await server("root", "GET", "/api/v1/pods")).code == 200
    go_on.set()
    (await slow).close()
    assert 'reason="concurrency-limit"} 1' in _metrics(server)
    assert (await server("bob", "GET", "/api/v1/pods")).code == 200


def _metrics(server: Guarded) -> str:
    return server.state.metrics.text()


@pytest.mark.parametrize(
    ("verb", "objects", "seats"),
    [("get", 5000, 1), ("list", 0, 1), ("list", 101, 2), ("list", 5000, 10)],
)
def test_a_long_list_takes_more_seats(verb: str, objects: int, seats: int) -> None:
    assert seats_of(verb, objects) == seats
