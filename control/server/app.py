"""Start and stop the parts of a server in order: the store's cache, then HTTP."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

from aiohttp import web

from control.metrics import Registry
from control.server import definitions
from control.server.access.accounts import AccountTokens
from control.server.access.audit import AuditLog
from control.server.access.authn import Authenticator
from control.server.access.authz import Authorizer
from control.server.access.bootstrap_tokens import BootstrapTokens
from control.server.access.default_roles import ensure_roles
from control.server.access.door import Door, DoorLimits
from control.server.access.guard import Guard
from control.server.access.legacy_tokens import LegacyTokens
from control.server.admission.gate import AdmissionGate
from control.server.admission.measured import AdmissionMetrics
from control.server.aggregation.follow import aggregate
from control.server.bootstrap import bootstrap, keep, leave
from control.server.bugs import ConnectionLog
from control.server.conversion.webhook import ConversionWebhooks
from control.server.fairness.dangling import tell
from control.server.http.handler import HttpHandler
from control.server.http.web_request import request_factory
from control.server.scrape import scrape
from control.server.state.server import ApiServerConfig, ServerState
from control.server.state.watch_cache import WatchCache
from control.server.upkeep import forget_events, upkeep
from control.server.verbs.allocation.repair import keep_addresses, repair_addresses
from control.server.wire.body import BODY_LIMIT
from control.store.base import Store
from control.tokens import TokenSigner
from control.upgrade import REQUEST_LINE

logger = logging.getLogger(__name__)

# Upstream's IdleTimeout.
_KEEP_ALIVE = 90.0
_LAST_ANSWERS = 2.0


@asynccontextmanager
async def serve(
    store: Store,
    sockets: Sequence[socket.socket],
    *,
    config: ApiServerConfig | None = None,
    authenticator: Authenticator | None = None,
    tls: ssl.SSLContext | None = None,
    limits: DoorLimits | None = None,
    tokens: TokenSigner | None = None,
    audit: AuditLog | None = None,
) -> AsyncIterator[ServerState]:
    """Serve the API of a store on bound sockets, until the context ends."""
    config, cache = config or ApiServerConfig(), WatchCache(store)
    authorizer = Authorizer(cache, config.authorization_modes)
    state = _state(config, store, cache, authorizer, tokens)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(state.workers.close)
        stack.push_async_callback(state.cache.stop)
        await state.cache.start()
        await repair_addresses(state)
        await bootstrap(state)
        if "RBAC" in authorizer.modes:
            await ensure_roles(state)
        legacy = LegacyTokens(state)
        await legacy.keep()
        known = _knowing(authenticator or Authenticator(), state, legacy)
        runner = _runner(handler := HttpHandler(state, known, authorizer, audit))
        stack.push_async_callback(runner.cleanup)
        stack.callback(handler.close)
        await runner.setup()
        door = Door(_protocol(runner), tls, limits or DoorLimits())
        stack.push_async_callback(door.close)
        for bound in sockets:
            door.open(bound)
        stack.push_async_callback(leave, state)  # first of all, so that nobody new comes here
        works = upkeep(state), keep(state), keep_addresses(state), scrape(state), tell(state)
        more = definitions.follow(state), aggregate(state), legacy.run(), forget_events(state)
        for work in (*works, *more):
            stack.push_async_callback(_cancelled, asyncio.create_task(work))
        yield state


def _state(
    config: ApiServerConfig,
    store: Store,
    cache: WatchCache,
    authorizer: Authorizer,
    tokens: TokenSigner | None,
) -> ServerState:
    """Return the state of a server that asks others about writes, and about versions."""
    metrics = Registry()
    guard, gate = Guard(authorizer, cache), AdmissionGate(authorizer, AdmissionMetrics(metrics))
    state = ServerState(
        config, store, cache, guard=guard, gate=gate, tokens=tokens, metrics=metrics
    )
    cache.converter = ConversionWebhooks(state)
    return state


def _knowing(known: Authenticator, state: ServerState, legacy: LegacyTokens) -> Authenticator:
    """Return what also knows the tokens that objects of the cluster stand for."""
    joining = BootstrapTokens(state) if state.config.bootstrap_tokens else None
    return replace(known, accounts=AccountTokens(state, legacy), bootstrap=joining)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _protocol(runner: web.ServerRunner) -> Callable[[], asyncio.Protocol]:
    if runner.server is None:
        raise RuntimeError("the runner is not set up")
    return runner.server


def _runner(handler: HttpHandler) -> web.ServerRunner:
    server = web.Server(
        handler,
        request_factory=request_factory(BODY_LIMIT),
        access_log=None,
        keepalive_timeout=_KEEP_ALIVE,
        handler_cancellation=True,
        logger=ConnectionLog(logger),
        # As upstream, whose clients never compress a request.
        auto_decompress=False,
        max_line_size=REQUEST_LINE,
    )
    return web.ServerRunner(server, shutdown_timeout=_LAST_ANSWERS)
