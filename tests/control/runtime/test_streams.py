"""Streams of containers are closed also when who closes them is cancelled."""

import asyncio
import socket
from unittest.mock import AsyncMock, Mock

import pytest

from control.runtime.builtin.attachment import AttachStream
from control.runtime.cri.streams import RemoteStream


async def cancelled_in_its_close(stream: AttachStream | RemoteStream, turns: int) -> None:
    await asyncio.sleep(0)  # it reads
    closing = asyncio.create_task(stream.close())
    for _ in range(turns):
        await asyncio.sleep(0)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)


@pytest.mark.parametrize("turns", range(1, 4))
async def test_an_attachment(turns: int):
    ours, shims = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with shims:
        await cancelled_in_its_close(AttachStream(ours), turns)
    assert ours.fileno() == -1


@pytest.mark.parametrize("turns", range(1, 4))
async def test_a_stream_of_the_streaming_server(turns: int):
    session, response = AsyncMock(), Mock()
    stream = RemoteStream(session, response)
    await stream.begin([])
    await cancelled_in_its_close(stream, turns)
    response.close.assert_called_once_with()
    session.close.assert_awaited_once_with()
