"""Which writes of a Pod's status reach the API: the newest, and each once."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from control.agent.pods.publish import Publisher
from control.api.pod import Pod, PodStatus
from tests.support.control.pods import pod


class FakeClient:
    """A server that stores the status of one Pod, when it is let."""

    def __init__(self) -> None:
        self.writes: list[dict[str, Any]] = []
        self.may = asyncio.Event()
        self.may.set()
        self._status: dict[str, Any] = {}

    async def patch(self, *_: object, type: str, subresource: str) -> Pod:
        assert (type, subresource) == ("strategic", "status")
        await self.may.wait()
        self._status |= _[3]["status"]
        self.writes.append(_[3]["status"])
        return self.stored()

    def stored(self) -> Pod:
        return at(len(self.writes) + 1, **self._status)


def at(version: int, **status: Any) -> Pod:
    """The Pod as the informer has it at a version."""
    return pod(status=status, meta={"resourceVersion": str(version)})


def phase(name: str) -> PodStatus:
    return PodStatus(phase=name)


@pytest.fixture
async def client() -> FakeClient:
    return FakeClient()


@pytest.fixture
async def publisher(client: FakeClient):
    made = Publisher(SimpleNamespace(client=client))  # type: ignore[arg-type]
    yield made
    await made.close()


async def test_what_is_written_is_not_written_again_before_the_informer_hears(
    client: FakeClient, publisher: Publisher
) -> None:
    publisher.publish(at(1), phase("Running"))
    await publisher.flush()
    publisher.publish(at(1), phase("Running"))
    await publisher.flush()
    assert len(client.writes) == 1


async def test_what_is_being_written_is_not_written_again(
    client: FakeClient, publisher: Publisher
) -> None:
    client.may.clear()
    for _ in range(3):
        publisher.publish(at(1), phase("Running"))
        await asyncio.sleep(0)
    client.may.set()
    await publisher.flush()
    assert len(client.writes) == 1


async def test_only_the_newest_of_those_that_wait_is_written(
    client: FakeClient, publisher: Publisher
) -> None:
    client.may.clear()
    publisher.publish(at(1), phase("Pending"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for name in ("Running", "Failed"):
        publisher.publish(at(1), phase(name))
    client.may.set()
    await publisher.flush()
    assert [each["phase"] for each in client.writes] == ["Pending", "Failed"]


async def test_what_somebody_else_wrote_since_is_corrected(
    client: FakeClient, publisher: Publisher
) -> None:
    publisher.publish(at(1), phase("Running"))
    await publisher.flush()
    publisher.publish(at(9, phase="Unknown"), phase("Running"))
    await publisher.flush()
    assert [each["phase"] for each in client.writes] == ["Running", "Running"]


BEGUN = {"startTime": "2026-01-01T00:00:00Z", "phase": "Pending"}


async def test_a_step_on_the_way_to_running_is_written_with_the_next(
    client: FakeClient, publisher: Publisher
) -> None:
    for status in (PodStatus(pod_ip="10.0.0.1"), PodStatus(phase="Running", pod_ip="10.0.0.1")):
        publisher.publish(at(1, **BEGUN), status)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await publisher.flush()
    assert [(each["phase"], each["podIP"]) for each in client.writes] == [("Running", "10.0.0.1")]


async def test_a_step_that_stays_the_last_is_written(
    client: FakeClient, publisher: Publisher
) -> None:
    publisher.publish(at(1, **BEGUN), PodStatus(phase="Pending", pod_ip="10.0.0.1"))
    await publisher.flush()
    assert [each["podIP"] for each in client.writes] == ["10.0.0.1"]
