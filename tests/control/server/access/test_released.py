"""Memory goes back to the system after many connections have closed, a moment later and once."""

import asyncio

import pytest

from control.server.access import released
from control.server.access.released import Released, trim


async def test_memory_is_given_back_once_for_many_that_close(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(released, "_AFTER", 0.01)
    times: list[None] = []
    counted = Released(lambda: times.append(None))
    for _ in range(127):
        counted.count()
    await asyncio.sleep(0.05)
    assert len(times) == 0
    for _ in range(100):
        counted.count()
    await asyncio.sleep(0.05)
    assert len(times) == 1
    for _ in range(128):
        counted.count()
    await asyncio.sleep(0.05)
    assert len(times) == 2


def test_memory_can_be_given_back_here():
    trim()
