"""How long it takes to find a request's flow, and to give it a seat that is free."""

import asyncio
import socket
import statistics
import time

from control.metrics import Registry
from control.server.access.attributes import AccessAttributes
from control.server.access.authn import Authenticator
from control.server.app import serve
from control.server.fairness.control import FlowControl
from control.server.wire.request import User
from control.store.memory import MemoryStore

_REQUESTS, _BATCHES = 2000, 15
_USER = User("system:serviceaccount:default:x", ("system:serviceaccounts", "system:authenticated"))


def measure() -> float:
    """Return the processor seconds of one request, the median of batches."""
    return asyncio.run(_measure())


async def _measure() -> float:
    bound = socket.create_server(("127.0.0.1", 0))
    trusting = Authenticator(trusting=True)
    async with serve(MemoryStore(), [bound], authenticator=trusting) as state:
        flows = FlowControl(state.cache, state.config.most_requests, Registry())
        return statistics.median([await _batch(flows) for _ in range(_BATCHES)])


async def _batch(flows: FlowControl) -> float:
    asked = [
        AccessAttributes("get", "", "pods", namespace="default", name=f"p{number}")
        for number in range(_REQUESTS)
    ]
    began = time.thread_time()
    for each in asked:
        async with flows.turn(flows.flow(_USER, each), 1):
            pass
    return (time.thread_time() - began) / _REQUESTS
