# ruff: noqa: ASYNC110  tests wait for the world
"""Flows of a server: the objects that it keeps, headers, who waits, who is refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from control.metrics import Registry
from control.server.access.attributes import AccessAttributes
from control.server.fairness import control
from control.server.fairness.control import FlowControl, seats_of
from control.server.state.budget import BusyError
from control.server.wire.request import User
from tests.support.control.guarded import Guarded, guarded_server

FLOWS = "/apis/flowcontrol.apiserver.k8s.io/v1"
CONFIGS = "namespaces/default/configmaps"
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
    await _shrink(server, path)
    place = f"{server.url}/api/v1/namespaces/default/configmaps"
    head = {"Authorization": "Bearer bob", "Content-Type": "application/json"}
    async with _held(server, head):
        async with server.api.session.get(place, headers=head) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
            assert (await answer.text()).strip() == "Too many requests, please try again later."
            assert answer.headers["X-Kubernetes-PF-FlowSchema-UID"]
        assert (await server("root", "GET", "/api/v1/pods")).code == 200
    assert 'reason="concurrency-limit"} 1' in _metrics(server)
    assert (await server("bob", "GET", "/api/v1/pods")).code == 200


def _metrics(server: Guarded) -> str:
    return server.state.metrics.text()


@pytest.mark.parametrize(
    ("asked", "query", "objects", "seats"),
    [
        ("get p", {}, 5000, 1),
        ("list", {}, 0, 1),
        ("list", {}, 101, 2),
        ("list", {}, 5000, 10),
        ("list p", {}, 5000, 1),  # by the field metadata.name
        ("watch", {}, 5000, 10),
        ("watch", {"resourceVersion": "0"}, 5000, 10),
        ("watch", {"resourceVersion": "7"}, 5000, 1),
        ("watch", {"resourceVersion": "7", "sendInitialEvents": "true"}, 5000, 10),
        ("delete p", {}, 5000, 1),
    ],
)
def test_what_goes_through_many_objects_takes_more_seats(
    asked: str, query: dict[str, str], objects: int, seats: int
) -> None:
    verb, _, name = asked.partition(" ")
    assert seats_of(AccessAttributes(verb, "", "pods", name=name), query, objects) == seats


async def test_a_watch_has_its_seats_for_its_beginning_alone(server: Guarded) -> None:
    head = {"Authorization": "Bearer bob"}
    text = 'apiserver_flowcontrol_current_executing_seats{priority_level="global-default"}'
    total = 'apiserver_flowcontrol_dispatched_requests_total{priority_level="global-default"'
    place = f"{server.url}/api/v1/namespaces/default/configmaps?watch=1"
    await server.make("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "a"}})
    async with server.api.session.get(place, headers=head) as watch:
        assert b'"ADDED"' in await watch.content.readline()
        await until(lambda: f"{text} 0\n" in _metrics(server))
        assert f'{total},flow_schema="global-default"}} 1\n' in _metrics(server)
        assert watch.headers["X-Kubernetes-PF-FlowSchema-UID"]
        await server.make("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "b"}})
        assert b'"name":"b"' in await watch.content.readline()


async def test_a_watch_that_finds_no_seat_is_refused(server: Guarded) -> None:
    """A full level refuses watches, too, and lets go of those that are begun."""
    path = f"{FLOWS}/prioritylevelconfigurations/global-default"
    await _shrink(server, path)
    head = {"Authorization": "Bearer bob"}
    place = f"{server.url}/api/v1/pods?watch=1"
    get = partial(server.api.session.get, place, headers=head)
    async with get() as first, get() as second:
        assert (first.status, second.status) == (200, 200), "the first is begun"
    async with _held(server, head) as held:
        async with server.api.session.get(place, headers=head) as refused:
            assert (refused.status, refused.headers["Retry-After"]) == (429, "1")
        async with server.api.session.get(f"{server.url}/apis", headers=head) as refused:
            assert refused.status == 429, "pages are of the same flow"
        async with server.api.session.get(f"{server.url}/readyz", headers=head) as healthy:
            assert healthy.status == 200, "probes never wait"
        held.set()


async def test_paths_belong_to_the_flows_that_name_them(server: Guarded) -> None:
    level = {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}}}
    made = await server.make(
        f"{FLOWS}/prioritylevelconfigurations", {"metadata": {"name": "pages"}, "spec": level}
    )
    spec = {
        "matchingPrecedence": 50,
        "priorityLevelConfiguration": {"name": "pages"},
        "rules": [
            {
                "subjects": [{"kind": "User", "user": {"name": "bob"}}],
                "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/openapi/*"]}],
            }
        ],
    }
    schema = await server.make(
        f"{FLOWS}/flowschemas", {"metadata": {"name": "pages"}, "spec": spec}
    )
    head = {"Authorization": "Bearer bob"}
    uids = (schema["metadata"]["uid"], made["metadata"]["uid"])
    for path, is_it in (("/openapi/v3", True), ("/version", False), ("/apis", False)):
        async with server.api.session.get(f"{server.url}{path}", headers=head) as answer:
            shown = [f"X-Kubernetes-PF-{it}-UID" for it in ("FlowSchema", "PriorityLevel")]
            assert (tuple(answer.headers[it] for it in shown) == uids) is is_it


async def test_reviews_belong_to_flows(server: Guarded) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    body = {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}}
    head = {"Authorization": "Bearer bob"}
    async with server.api.session.post(f"{server.url}{path}", json=body, headers=head) as answer:
        assert (answer.status, "X-Kubernetes-PF-FlowSchema-UID" in answer.headers) == (201, True)


async def test_dumps_show_who_waits_and_who_goes_on(server: Guarded) -> None:
    root = "/debug/api_priority_and_fairness"
    await _shrink(server, f"{FLOWS}/prioritylevelconfigurations/global-default", queues=3)
    head = {"Authorization": "Bearer bob"}
    async with _held(server, head) as held:
        pods = f"{server.url}/api/v1/namespaces/default/pods"
        waiting = asyncio.create_task(server.api.session.get(pods, headers=head))
        queued = 'apiserver_flowcontrol_current_inqueue_requests{flow_schema="global-default"'
        await until(lambda: f'{queued},priority_level="global-default"}} 1' in _metrics(server))
        levels = await _rows(server, f"{root}/dump_priority_levels")
        assert levels[0][:4] == ["PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing"]
        (row,) = [row for row in levels if row[0] == "global-default"]
        assert row == ["global-default", "1", "false", "false", "1", "1", "1", "0", "0", "0"]
        queues = [r for r in await _rows(server, f"{root}/dump_queues") if r[0] == "global-default"]
        assert sorted(row[2] for row in queues) == ["0", "0", "1"]
        asked = await _rows(server, f"{root}/dump_requests?includeRequestDetails=1")
        assert asked[0][-1] == "SubResource"
        mine = [row for row in asked if row[0] == "global-default"]
        assert [row[10:] for row in mine] == [
            ["bob", "list", "/api/v1/namespaces/default/pods", "default", "", "v1", "pods", ""],
            ["bob", "create", f"/api/v1/{CONFIGS}", "default", "", "v1", "configmaps", ""],
        ]
        assert [row[3] for row in mine] == ["0", "-1"]
        assert [row[9].startswith("0001-01-01") for row in mine] == [True, False]
        held.set()
        (await waiting).close()
    assert (await server("bob", "GET", f"{root}/dump_requests")).code in (200, 429)


async def _rows(server: Guarded, path: str) -> list[list[str]]:
    head = {"Authorization": "Bearer root"}
    async with server.api.session.get(f"{server.url}{path}", headers=head) as answer:
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    return [[cell.strip() for cell in line.split(",")] for line in lines]


async def _shrink(server: Guarded, path: str, queues: int = 0) -> None:
    """Leave a level one seat, and nothing to borrow."""
    response: dict[str, Any] = {"type": "Reject", "queuing": None}
    if queues:
        response = {"type": "Queue", "queuing": {"queues": queues, "handSize": 1}}
    change = {
        "metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}},
        "spec": {
            "limited": {
                "nominalConcurrencyShares": 0,
                "borrowingLimitPercent": 0,
                "limitResponse": response,
            }
        },
    }
    merge = {"Content-Type": "application/merge-patch+json"}
    assert (await server("root", "PATCH", path, change, **merge)).code == 200


@asynccontextmanager
async def _held(server: Guarded, head: dict[str, str]) -> AsyncIterator[asyncio.Event]:
    """Hold a seat by a request that goes on when the event is set."""
    go_on = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await go_on.wait()
        yield b"}"

    place = f"{server.url}/api/v1/namespaces/default/configmaps"
    given = {**head, "Content-Type": "application/json"}
    slow = asyncio.create_task(server.api.session.post(place, data=slowly(), headers=given))
    text = 'apiserver_flowcontrol_current_executing_requests{flow_schema="global-default"'
    await until(lambda: f'{text},priority_level="global-default"}} 1' in _metrics(server))
    try:
        yield go_on
    finally:
        go_on.set()
        (await slow).close()
