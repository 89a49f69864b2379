"""Attaching to a container: its output from now on, as its log has it."""

import asyncio
from contextlib import aclosing

from aiohttp import ClientConnectionResetError, web

from control.agent.server import session
from control.agent.server.channels import Channel, Wanted, exit_status
from control.agent.server.logfile import LogFile
from control.agent.server.logs import Ended, lines_of
from control.agent.server.logtext import parse


async def show(socket: web.WebSocketResponse, log: LogFile, wanted: Wanted, ended: Ended) -> None:
    """Send what is logged until the container ends or the client has gone."""
    leaving = asyncio.create_task(_until_gone(socket))
    showing = asyncio.create_task(_show(socket, log, wanted, ended))
    try:
        await asyncio.wait({leaving, showing}, return_when=asyncio.FIRST_COMPLETED)
        if showing.done():
            showing.result()
            await session.stop(leaving)
            await session.end(socket, exit_status(0))
    except ClientConnectionResetError:
        return
    finally:
        for task in (leaving, showing):
            task.cancel()
        await asyncio.gather(leaving, showing, return_exceptions=True)


async def _until_gone(socket: web.WebSocketResponse) -> None:
    async for _ in socket:
        continue  # a container has no input that one could write to


async def _show(socket: web.WebSocketResponse, log: LogFile, wanted: Wanted, ended: Ended) -> None:
    asked = ((b"stdout", Channel.STDOUT, wanted.stdout), (b"stderr", Channel.STDERR, wanted.stderr))
    channels = {stream: channel for stream, channel, wants in asked if wants}
    async with aclosing(lines_of(log, True, ended)) as pieces:
        async for lines in pieces:
            for entry in map(parse, lines):
                if entry is None or entry.stream not in channels:
                    continue
                text = entry.text + (b"\n" if entry.whole else b"")
                await socket.send_bytes(bytes([channels[entry.stream]]) + text)
