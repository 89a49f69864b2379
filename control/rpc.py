"""What every use of grpclib needs.

It imports no gRPC, which takes 5 MB and 50 ms.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def answer_of(call: Coroutine[Any, Any, Answer]) -> Answer:
    """Make a call of grpclib in a task of its own, so that it can be cancelled at any time.

    When a connection or a deadline ends, grpclib cancels the task that waits, and raises an error
    in place of the CancelledError. It does so too for one that somebody else asked for in the same
    turn of the loop: a task that tries again after errors would never end (grpclib 0.4.9).
    """
    task = asyncio.create_task(call)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    return task.result()
