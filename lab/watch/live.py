"""Follows a lab: pictures of it, one after the other."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from typing import Any

from control.api import kinds
from control.client import Client, ClientError, Informer
from lab.link.cable import recorded
from lab.spec import LabSpec
from lab.state import LabDir
from lab.status import look
from lab.watch.gather import count, rates
from lab.watch.picture import Objects, Picture, paint

_PATIENCE = 2.0  # seconds that a picture waits for the API server, if another comes
_PATIENCE_ONCE = 60.0
_KINDS: tuple[kinds.Kind[Any], ...] = (
    kinds.NODE,
    kinds.POD,
    kinds.SERVICE,
    kinds.ENDPOINT_SLICE,
)


class _Server:
    """What the API server has, followed; it is forgotten when the server goes away."""

    def __init__(self, client: Client, patience: float) -> None:
        self._client, self._patience = client, patience
        self._informers = [Informer(client, kind) for kind in _KINDS]

    def tasks(self) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(each.run()) for each in self._informers]

    async def objects(self) -> Objects:
        """Return the objects as they are known, or why they are not, in bounded time."""
        try:
            async with asyncio.timeout(self._patience):
                await self._client.raw("/readyz")
                for each in self._informers:
                    await each.synced.wait()
        except TimeoutError:
            return Objects(fault="the API server does not answer")
        except ClientError as err:
            return Objects(fault=str(err))
        nodes, pods, services, slices = (tuple(i.snapshot().values()) for i in self._informers)
        return Objects(nodes, pods, services, slices)


async def pictures(
    lab: LabDir, spec: LabSpec, seconds: float, *, once: bool
) -> AsyncGenerator[Picture]:
    """Yield a picture of a lab every ``seconds``; the first one after as many.

    With ``once`` it waits long for the API server, as no other picture comes.

    Raises KubeconfigError. A lab that ends is a last picture of its state.
    """
    logging.getLogger("control.client").setLevel(logging.CRITICAL)  # the picture says it
    async with Client.from_kubeconfig(lab.kubeconfig) as client:
        server = _Server(client, _PATIENCE_ONCE if once else _PATIENCE)
        tasks = server.tasks()
        try:
            before, then = await _count(lab), time.monotonic()
            while True:
                await asyncio.sleep(seconds)
                now, status = time.monotonic(), look(lab)
                after = await _count(lab)
                spec = lab.spec() or spec
                objects = await server.objects()
                yield paint(spec, status, objects, rates(before, after, now - then), _links(lab))
                if status.state in ("stopped", "dead", "absent"):
                    return
                before, then = after, now
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _links(lab: LabDir) -> dict[str, str]:
    return {machine: str(quality) for machine, quality in recorded(lab).items()}


async def _count(lab: LabDir) -> Any:
    return await asyncio.to_thread(lambda: count(look(lab)))
