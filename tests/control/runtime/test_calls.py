# ruff: noqa: ASYNC110  tests wait for the world
"""The connection to a CRI runtime ends when it is closed, whatever is under way."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream

from control.runtime.cri import calls
from control.runtime.cri.calls import Calls, Method, RuntimeDownError
from control.runtime.cri.groups import PodGroups
from control.runtime.cri.runtime import CriRuntime
from control.runtime.cri.v1 import api_pb2 as pb
from tests.support.control.containerd import OFTEN

VERSION = pb.VersionRequest()


class Groups(PodGroups):
    """Control groups that nobody asks for."""


class FakeRuntime:
    """Answers empty lists; while ``held``, it answers nothing."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.held = False
        self.asked: asyncio.Queue[str] = asyncio.Queue()

    def __mapping__(self) -> dict[str, Handler]:
        """Return what grpclib's server is to serve."""
        served = (calls.VERSION, calls.LIST_SANDBOXES, calls.LIST_CONTAINERS)
        return {each.path: self._handler(each) for each in served}

    def _handler(self, method: Method[Any, Any]) -> Handler:
        async def handle(stream: Stream[Any, Any]) -> None:
            await stream.recv_message()
            self.asked.put_nowait(method.name)
            if self.held:
                await asyncio.Event().wait()
            await stream.send_message(method.answer())

        return Handler(handle, Cardinality.UNARY_UNARY, method.request, method.answer)


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[FakeRuntime]:
    made = FakeRuntime(tmp_path / "cri.sock")
    server = Server([made])
    await server.start(path=str(made.socket))
    yield made
    server.close()
    await server.wait_closed()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  also the one that lists them


async def until_closed(before: int) -> None:
    """Wait until both ends of all connections are closed."""
    async with asyncio.timeout(30):
        while open_files() > before:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_that_is_being_made_is_closed(fake: FakeRuntime, turns: int):
    fake.held, before, call = True, open_files(), Calls(fake.socket)
    tasks = [asyncio.create_task(call(calls.VERSION, VERSION)) for _ in range(2)]
    for _ in range(turns):
        await asyncio.sleep(0)
    call.close()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(ended, RuntimeDownError)
    await until_closed(before)


async def test_no_call_after_the_close_makes_a_connection(fake: FakeRuntime):
    before, call = open_files(), Calls(fake.socket)
    await call(calls.VERSION, VERSION)
    call.close()
    with pytest.raises(RuntimeDownError, match="the connection has ended: it was closed here"):
        await call(calls.VERSION, VERSION)
    await until_closed(before)
    assert fake.asked.qsize() == 1


async def test_a_runtime_that_is_closed_while_it_lists_watches_no_more(
    fake: FakeRuntime, tmp_path: Path
):
    """Its task is cancelled as the connection ends: one of both was lost."""
    before, around = open_files(), asyncio.all_tasks()
    runtime = CriRuntime(f"unix://{fake.socket}", tmp_path, Groups(), OFTEN)
    await runtime.open()
    fake.held, fake.asked = True, asyncio.Queue()
    await fake.asked.get()
    tasks = asyncio.all_tasks() - around
    runtime.close()
    assert not (await asyncio.wait(tasks, timeout=30))[1]
    await until_closed(before)


@pytest.mark.parametrize("first", ["close", "cancel"])
async def test_a_call_is_cancelled_while_its_connection_ends(fake: FakeRuntime, first: str):
    fake.held, call = True, Calls(fake.socket)
    tries: list[int] = []

    async def again() -> None:
        while True:
            tries.append(1)
            with suppress(RuntimeDownError):
                await call(calls.VERSION, VERSION)
            await asyncio.sleep(0)

    task = asyncio.create_task(again())
    await fake.asked.get()
    ends = {"close": call.close, "cancel": task.cancel}
    ends.pop(first)()
    ends.popitem()[1]()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert tries == [1]
