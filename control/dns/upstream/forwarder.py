"""Asks the resolvers of a name until one replies, as CoreDNS' plugin forward does.

    a socket's thread ─ later ─►┐
    a TCP connection ─ resolve ─►┴─► peers in the policy's order ─► exchange ─► cache

Each question waits by itself: a slow resolver keeps nobody else waiting. Equal questions that wait
at the same time are asked once.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from itertools import count
from threading import BoundedSemaphore
from time import monotonic

from control.dns.message import REFUSED, SERVFAIL
from control.dns.names import Name
from control.dns.upstream.cache import Cache
from control.dns.upstream.exchange import NoReplyError, ask
from control.dns.upstream.metrics import UpstreamMetrics
from control.dns.upstream.peer import Peer
from control.dns.upstream.reply import Question, Reply
from control.dns.upstream.routes import Route, Server

logger = logging.getLogger(__name__)

MOST_WAITING = 1000  # queries, as kubeadm's Corefile has it
TOTAL_SECONDS = 5.0  # for all attempts at one question
_ATTEMPTS = 2  # for each resolver of a route
_ROTATE = count()
Deliver = Callable[[Reply], None]


def _random(every: list[Peer]) -> list[Peer]:
    return random.sample(every, len(every))


def _round_robin(every: list[Peer]) -> list[Peer]:
    at = next(_ROTATE) % len(every)
    return [every[at], *every[:at], *every[at + 1 :]]


def _sequential(every: list[Peer]) -> list[Peer]:
    return every


POLICIES: dict[str, Callable[[list[Peer]], list[Peer]]] = {
    "random": _random,
    "round_robin": _round_robin,
    "sequential": _sequential,
}


class Forwarder:
    """Asks for names outside the cluster. Made in the event loop that it works in."""

    def __init__(self, cache: Cache, policy: str, most_seconds: int) -> None:
        self._cache, self._order, self._most_seconds = cache, POLICIES[policy], most_seconds
        self.metrics = UpstreamMetrics(cache)
        self._loop = asyncio.get_running_loop()
        self._room = BoundedSemaphore(MOST_WAITING)
        self._peers: dict[Server, Peer] = {}
        self._asking: dict[tuple[Route, Question], asyncio.Task[Reply]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.watched: Callable[[Name], None] = lambda _: None  # sees each name that is asked for

    def later(self, route: Route, question: Question, deliver: Deliver) -> Reply | None:
        """Ask from any thread: ``deliver`` is called in the event loop with the reply.

        Returns a refusal at once if too many queries wait.
        """
        if not self._room.acquire(blocking=False):
            self._loop.call_soon_threadsafe(self.metrics.rejected)
            return Reply(REFUSED)
        self._loop.call_soon_threadsafe(self._begin, route, question, deliver)
        return None

    def _begin(self, route: Route, question: Question, deliver: Deliver) -> None:
        task = self._loop.create_task(self._finish(route, question, deliver))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, route: Route, question: Question, deliver: Deliver) -> None:
        try:
            deliver(await self._shared(route, question))
        finally:
            self._room.release()

    async def resolve(self, route: Route, question: Question) -> Reply:
        """Return the reply to a question, whatever happens: SERVFAIL if no resolver replies."""
        if not self._room.acquire(blocking=False):
            self.metrics.rejected()
            return Reply(REFUSED)
        try:
            return await self._shared(route, question)
        finally:
            self._room.release()

    async def _shared(self, route: Route, question: Question) -> Reply:
        self.watched(question.name)
        key = route, question
        task = self._asking.get(key)
        if task is None:
            task = self._asking[key] = self._loop.create_task(self._ask(route, question))
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(task)  # who goes away does not end it for the others

    async def _ask(self, route: Route, question: Question) -> Reply:
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                for peer in self._attempts(route):
                    reply = await self._attempt(peer, question)
                    if reply is not None:
                        self._cache.put(question, reply)
                        return reply
        except TimeoutError:
            logger.debug("no reply within %g seconds", TOTAL_SECONDS)
        return Reply(SERVFAIL)

    def _attempts(self, route: Route) -> Iterator[Peer]:
        """Yield whom to ask: those that are up, in the policy's order; if none is, one of all."""
        peers = [self._peer(server) for server in route.servers]
        ordered = self._order(peers)
        for number in range(_ATTEMPTS * len(peers)):
            at = number % len(peers)
            up = next((peer for peer in ordered[at:] + ordered[:at] if not peer.is_down()), None)
            if up is None:
                self.metrics.broken()
            yield up or random.choice(peers)  # noqa: S311  # the load is spread, nothing is secret

    def _peer(self, server: Server) -> Peer:
        return self._peers.get(server) or self._peers.setdefault(server, Peer(server, self.metrics))

    async def _attempt(self, peer: Peer, question: Question) -> Reply | None:
        began = monotonic()
        try:
            reply = await ask(peer.server, question, self._most_seconds)
        except NoReplyError as err:
            peer.failed(err)
            return None
        self.metrics.replied(peer.server, reply.rcode, monotonic() - began)
        return reply
