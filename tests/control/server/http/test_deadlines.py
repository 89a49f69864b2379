"""Deadlines of requests end the task that takes too long, and no other one."""

import asyncio

import pytest

from control.server.http.deadlines import Deadline, Deadlines


async def wait_in(deadlines: Deadlines, event: asyncio.Event) -> str:
    with Deadline(deadlines):
        await event.wait()
    return "done"


async def test_what_takes_too_long_ends_with_a_timeout():
    with pytest.raises(TimeoutError):
        await wait_in(Deadlines(0.01), asyncio.Event())
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_what_ends_in_time_is_left_alone():
    deadlines, event = Deadlines(0.01), asyncio.Event()
    late = asyncio.create_task(wait_in(deadlines, asyncio.Event()))
    event.set()
    assert await wait_in(deadlines, event) == "done"
    with pytest.raises(TimeoutError):
        await late


async def test_each_deadline_ends_although_there_is_one_timer():
    deadlines = Deadlines(0.01)
    for _ in range(2):  # the timer begins anew after it was idle
        tasks = [asyncio.create_task(wait_in(deadlines, asyncio.Event())) for _ in range(3)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [TimeoutError] * 3


async def test_a_task_that_somebody_else_cancels_is_cancelled():
    deadlines = Deadlines(60.0)
    task = asyncio.create_task(wait_in(deadlines, asyncio.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
