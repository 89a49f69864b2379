"""Carries out ``podwire web``."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event

import click
from aiohttp import web

from debug import snapshot as snapshots
from debug.cluster import ClusterState, Names
from debug.doctor.examine import examine
from debug.map.commands import Ground, followed, taken
from debug.map.effort import Effort
from debug.map.measure import measured
from debug.map.mesh import Mesh
from debug.options import decided, ground, needed_objects
from debug.places import Ground as Places
from debug.trace.listen import live_packets, live_places
from debug.trace.live import parse_filter
from debug.trace.model import PacketTrace
from debug.web.app import Shown, application
from debug.web.guard import Guard
from debug.web.lanes import load
from debug.web.live import Live, Source
from debug.web.packets import Packets
from lab.shared import plain_errors

_HOST, _NAMESPACE = "127.0.0.1", "default"
Tell = Callable[[PacketTrace | str], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command's options say."""

    ground: Ground
    snapshot: Path | None = None
    trace: Path | None = None
    live: str | None = None
    port: int = 0
    seconds: float = 2.0


def serve(asked: Asked) -> None:
    """Serve the page until Ctrl-C."""
    asked = replace(asked, ground=decided(*asked.ground))
    with plain_errors(), closing(listen(asked.port)) as listener:
        source = _source(asked.ground, asked.snapshot)
        if asked.snapshot is None:
            taken(asked.ground, None)  # what cannot be read at all is an error here
        else:
            snapshots.load(asked.snapshot)
        if asked.live:
            parse_filter(asked.live, _NAMESPACE, needed_objects(ground(*asked.ground)))
        trace = None if asked.trace is None else load(asked.trace)
        shown = Shown(trace, mesh=source.mesh is not None, live=asked.live)
        try:
            asyncio.run(_serve(listener, source, asked.seconds, shown))
        except KeyboardInterrupt:  # the way to end it
            return


def _source(options: Ground, path: Path | None) -> Source:
    """Return what reads a cluster, or a snapshot's file."""
    take, follow = partial(taken, options, path), partial(followed, options, path)
    if path is not None:
        return Source(take, follow, examine)
    return Source(take, follow, examine, partial(_mesh, options), partial(_hear, options))


def _mesh(options: Ground, over: Event) -> Mesh:
    here = ground(*options)
    return measured(here, snapshots.take(here), Effort(), over)


def _hear(options: Ground, text: str, tell: Tell, over: Event) -> None:
    found = ground(*options)
    hear(found, needed_objects(found), text, tell, over)


def hear(found: Places, cluster: ClusterState | None, text: str, tell: Tell, over: Event) -> None:
    """Tell of packets that fit a filter until it is over. Raises ReportedError, OSError."""
    match = parse_filter(text, _NAMESPACE, cluster)
    names = Names(cluster or ClusterState(), found.names())
    places = live_places(match, found, cluster)
    for packet in live_packets(match, places, names, tell, over.is_set):
        if over.is_set():
            return
        tell(packet)


def listen(port: int) -> socket.socket:
    """Return a socket on loopback alone; raises ClickException."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((_HOST, port))
    except OSError as err:
        listener.close()
        raise click.ClickException(
            f"the page cannot listen on {_HOST}:{port}: {err.strerror}; choose another --port"
        ) from err
    return listener


async def _serve(listener: socket.socket, source: Source, seconds: float, shown: Shown) -> None:
    runner, guard = await start(listener, source, seconds, shown)
    try:
        port = listener.getsockname()[1]
        click.echo(f"open http://{_HOST}:{port}/?token={guard.token} in a browser; Ctrl-C ends it")
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


async def start(
    listener: socket.socket, source: Source, seconds: float, shown: Shown
) -> tuple[web.AppRunner, Guard]:
    """Serve the page on a socket until the runner is cleaned up; return it, and the lock."""
    guard = Guard(listener.getsockname()[1])
    app = application(guard, Live(source, seconds), Packets(source.listen), shown)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)  # streams do not end alone
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return runner, guard
