"""Connections that leave HTTP: who asks for it, and a slow reader makes its peer wait."""

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from multidict import CIMultiDict

from control.upgrade import SPDY, Upgraded, asks, offered


@pytest.mark.parametrize(
    ("connection", "upgrade", "asked"),
    [
        ("Upgrade", "SPDY/3.1", True),
        ("keep-alive, Upgrade", "spdy/3.1", True),
        ("keep-alive", "SPDY/3.1", False),
        ("Upgrade", "SPDY/3", False),
        ("Upgrade", "websocket", False),
    ],
)
def test_who_asks_for_spdy(connection, upgrade, asked):
    assert asks(CIMultiDict({"connection": connection, "upgrade": upgrade}), SPDY) is asked


def test_subprotocols_come_in_one_header_or_several():
    assert offered(["a, b", "", " c,"]) == ["a", "b", "c"]


async def test_a_slow_reader_makes_its_peer_wait():
    transport = Mock()
    protocol: Any = SimpleNamespace(transport=transport)
    upgraded = Upgraded(protocol)
    upgraded.feed_data(bytes(64 * 1024))
    transport.pause_reading.assert_not_called()
    upgraded.feed_data(b"x")
    transport.pause_reading.assert_called_once()
    transport.resume_reading.assert_not_called()
    assert len(await upgraded.read()) == 64 * 1024 + 1
    transport.resume_reading.assert_called_once()


async def test_what_came_before_the_end_is_read_first():
    protocol: Any = SimpleNamespace(transport=Mock())
    upgraded = Upgraded(protocol)
    reading = asyncio.create_task(upgraded.read())
    await asyncio.sleep(0)
    upgraded.feed_data(b"last")
    upgraded.feed_eof()
    assert await reading == b"last"
    assert await upgraded.read() == b""
    assert [piece async for piece in upgraded.pieces()] == []
