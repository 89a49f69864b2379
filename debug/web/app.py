"""The page's addresses: its files, pictures as SVG, a Service, and streams of what comes."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from importlib import resources

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from control.reported import ReportedError
from debug.map.svg import svg
from debug.trace.model import Trace
from debug.web import lanes
from debug.web.guard import Guard
from debug.web.live import Live
from debug.web.packets import MOST_KEPT, Packets
from debug.web.stream import send

_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/live.js": ("live.js", "text/javascript"),
}
_MOST_STREAMS = 8
_MOST_COLUMNS = 20
_COLUMNS = frozenset(map(str, range(1, _MOST_COLUMNS + 1)))
_ANSWERS = {"yes": True, "no": False}
_LONGEST_NAME, _LONGEST_NUMBER = 512, 10


@dataclass(frozen=True, slots=True)
class Shown:
    """What the page shows beside the map. ``live`` is a filter to begin with; None: no packets."""

    trace: Trace | None = None
    mesh: bool = False
    live: str | None = None


def application(guard: Guard, live: Live, packets: Packets, shown: Shown) -> web.Application:
    """Return the page's application."""
    app = web.Application(middlewares=[_watched(guard)])
    pages = Pages(guard, live, packets, shown)
    for path in _FILES:
        app.router.add_get(path, pages.file)
    app.router.add_get("/about", pages.about)
    app.router.add_get("/map.svg", pages.map)
    app.router.add_get("/trace.svg", pages.trace)
    app.router.add_get("/packet.svg", pages.packet)
    app.router.add_get("/service", pages.service)
    for path, stream in (
        ("/events", pages.scenes),
        ("/mesh", pages.mesh),
        ("/packets", pages.heard),
    ):
        app.router.add_get(path, stream, allow_head=False)

    async def close(_: web.Application) -> None:
        live.close()
        packets.close()

    app.on_shutdown.append(close)
    return app


def _said(request: web.Request, name: str) -> bool:
    """Return what the query says of a name: yes, or no. Raises HTTPBadRequest."""
    said = request.query.get(name, "no")
    if said not in _ANSWERS:
        raise web.HTTPBadRequest(text=f"{name} is yes or no\n")
    return _ANSWERS[said]


def _watched(guard: Guard) -> Middleware:
    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await guard.watch(request, handler)
        except web.HTTPException as err:
            guard.prepare(err)
            raise

    return watch


class Pages:
    """What answers."""

    def __init__(self, guard: Guard, live: Live, packets: Packets, shown: Shown) -> None:
        self._guard, self._live, self._packets, self._shown = guard, live, packets, shown
        self._streams = 0

    async def file(self, request: web.Request) -> web.Response:
        """A file of the page."""
        name, sort = _FILES[request.path]
        text = (resources.files("debug.web") / "page" / name).read_text()
        return web.Response(text=text, content_type=sort)

    async def about(self, _: web.Request) -> web.Response:
        """What this page can show."""
        said = {"mesh": self._shown.mesh, "live": self._shown.live}
        return web.json_response(said)

    async def map(self, request: web.Request) -> web.Response:
        """The map, with as many nodes beside each other as the page has room for."""
        columns = request.query.get("columns", "4")
        if columns not in _COLUMNS:
            raise web.HTTPBadRequest(text=f"columns is a number from 1 to {_MOST_COLUMNS}\n")
        graph = (await self._live.scene.latest()).graph
        return _picture(svg(graph, int(columns), alone=False))

    async def trace(self, request: web.Request) -> web.Response:
        """The trace that the command was given; no content without one."""
        how = {name: _said(request, name) for name in ("every", "narrow")}
        if self._shown.trace is None:
            return web.Response(status=204)
        return _picture(lanes.svg(self._shown.trace, **how))

    async def packet(self, request: web.Request) -> web.Response:
        """One of the packets that came last, as swim lanes."""
        how = {name: _said(request, name) for name in ("every", "narrow")}
        number = request.query.get("number", "")
        is_number = number.isdecimal() and number.isascii() and len(number) < _LONGEST_NUMBER
        packet = self._packets.packet(int(number)) if is_number else None
        if packet is None:
            raise web.HTTPNotFound(text=f"only the last {MOST_KEPT} packets can be opened\n")
        return _picture(lanes.svg(Trace(packet.name, packet.where, "", (packet,)), **how))

    async def service(self, request: web.Request) -> web.Response:
        """A Service followed to its endpoints, now."""
        name = request.query.get("name", "")[:_LONGEST_NAME]
        try:
            found = await self._live.follow(name)
        except (ReportedError, OSError) as err:
            return web.json_response({"error": str(err)}, status=404)
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def scenes(self, request: web.Request) -> web.StreamResponse:
        """A stream of the scene, and of each one that differs from the one before."""
        async with self._live.scene.watching() as found:
            return await self._stream(request, "scene", found)

    async def mesh(self, request: web.Request) -> web.StreamResponse:
        """A stream of what is measured, again and again; no content of a snapshot."""
        if not self._shown.mesh:
            return web.Response(status=204)
        async with self._live.mesh.watching() as found:
            return await self._stream(request, "mesh", found)

    async def heard(self, request: web.Request) -> web.StreamResponse:
        """A stream of packets that fit the filter; no content if the command allows none."""
        if self._shown.live is None:
            return web.Response(status=204)
        text = request.query.get("filter", "")[:_LONGEST_NAME]
        async with aclosing(self._packets.heard(text)) as found:
            return await self._stream(request, "packets", found)

    async def _stream(
        self, request: web.Request, name: str, values: AsyncIterator[msgspec.Struct]
    ) -> web.StreamResponse:
        """Send values as server-sent events, until there is none or the window has gone."""
        if self._streams >= _MOST_STREAMS:
            raise web.HTTPTooManyRequests(text=f"{_MOST_STREAMS} windows look already\n")
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._guard.prepare(answer)
        self._streams += 1
        try:
            await answer.prepare(request)
            await send(answer, request, name, values)
        finally:
            self._streams -= 1
        return answer


def _picture(drawn: str) -> web.Response:
    return web.Response(text=drawn, content_type="image/svg+xml")
