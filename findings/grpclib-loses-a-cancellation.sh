#!/usr/bin/env bash
# A grpclib call that is cancelled while its channel closes raises StreamTerminatedError; the cancellation is lost.
#
# One would guess: a task that was cancelled is told so by CancelledError, and ends, whatever else ends with it.
# What it does: grpclib ends a call by cancelling the task that waits, and puts its own error in place of the
#   CancelledError. It does so too when somebody else has asked for the task's end in the same turn of the loop,
#   as a program that shuts down does: it closes its channel and cancels its tasks. A loop that tries again after
#   errors then goes on, and connects again: a closed channel opens itself at the next call.
# So: make each call in a task of its own and wait for that task, or look at task.cancelling() after each error.
# Seen with: grpclib 0.4.9, Python 3.11, November 2026.
source "$(dirname "$0")/common.bash"
python grpclib==0.4.9 protobuf==6.33.0

seen <<'SCRIPT'
cat > ends.py <<'PYTHON'
import asyncio

from grpclib.client import Channel
from grpclib.exceptions import StreamTerminatedError
from grpclib.health.v1.health_grpc import HealthBase, HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest
from grpclib.server import Server

asked = asyncio.Event()


class Silent(HealthBase):
    async def Check(self, stream):
        await stream.recv_message()
        asked.set()
        await asyncio.Event().wait()

    async def Watch(self, stream):
        await stream.recv_message()


async def watch(channel, errors):
    while True:
        try:
            await HealthStub(channel).Check(HealthCheckRequest())
        except StreamTerminatedError as err:
            errors.append(type(err).__name__)


async def shut_down(closes_channel):
    asked.clear()
    channel, errors = Channel(path="health.sock"), []
    task = asyncio.create_task(watch(channel, errors))
    await asked.wait()
    asked.clear()
    if closes_channel:
        channel.close()
    task.cancel()
    done, _ = await asyncio.wait([task, asyncio.create_task(asked.wait())], return_when="FIRST_COMPLETED")
    print("errors:", errors, "| the task", "has ended" if task in done else "goes on and has asked again")
    task.cancel()
    await asyncio.wait([task])
    channel.close()


async def main():
    server = Server([Silent()])
    await server.start(path="health.sock")
    for closes_channel in (False, True):
        await shut_down(closes_channel)
    server.close()
    await server.wait_closed()


asyncio.run(main())
PYTHON
python ends.py
SCRIPT
expect <<'TEXT'
errors: [] | the task has ended
errors: ['StreamTerminatedError'] | the task goes on and has asked again
TEXT
