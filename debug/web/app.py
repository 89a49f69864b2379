"""The page's addresses: its files, the map as SVG, a Service, and a stream of what changes."""

import asyncio
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

_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_MOST_STREAMS = 8
_MOST_COLUMNS = 20
_COLUMNS = frozenset(map(str, range(1, _MOST_COLUMNS + 1)))
_ANSWERS = {"yes": True, "no": False}
_LONGEST_NAME = 512
_QUIET = 15.0  # seconds after which a silent stream sends a comment: so a lost one is noticed


def application(guard: Guard, live: Live, trace: Trace | None = None) -> web.Application:
    """Return the page's application."""
    app = web.Application(middlewares=[_watched(guard)])
    pages = Pages(guard, live, trace)
    for path in _FILES:
        app.router.add_get(path, pages.file)
    app.router.add_get("/map.svg", pages.map)
    app.router.add_get("/trace.svg", pages.trace)
    app.router.add_get("/service", pages.service)
    app.router.add_get("/events", pages.events, allow_head=False)
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

    def __init__(self, guard: Guard, live: Live, trace: Trace | None) -> None:
        self._guard, self._live, self._trace = guard, live, trace
        self._streams = 0

    async def file(self, request: web.Request) -> web.Response:
        """A file of the page."""
        name, sort = _FILES[request.path]
        text = (resources.files("debug.web") / "page" / name).read_text()
        return web.Response(text=text, content_type=sort)

    async def map(self, request: web.Request) -> web.Response:
        """The map, with as many nodes beside each other as the page has room for."""
        columns = request.query.get("columns", "4")
        if columns not in _COLUMNS:
            raise web.HTTPBadRequest(text=f"columns is a number from 1 to {_MOST_COLUMNS}\n")
        graph = (await self._live.scene()).graph
        return web.Response(
            text=svg(graph, int(columns), alone=False), content_type="image/svg+xml"
        )

    async def trace(self, request: web.Request) -> web.Response:
        """The trace that the command was given; no content without one."""
        how = {name: _said(request, name) for name in ("every", "narrow")}
        if self._trace is None:
            return web.Response(status=204)
        return web.Response(text=lanes.svg(self._trace, **how), content_type="image/svg+xml")

    async def service(self, request: web.Request) -> web.Response:
        """A Service followed to its endpoints, now."""
        name = request.query.get("name", "")[:_LONGEST_NAME]
        try:
            found = await self._live.follow(name)
        except (ReportedError, OSError) as err:
            return web.json_response({"error": str(err)}, status=404)
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: the scene, and each one that differs from the one before."""
        if self._streams >= _MOST_STREAMS:
            raise web.HTTPTooManyRequests(text=f"{_MOST_STREAMS} windows look already\n")
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        self._guard.prepare(answer)
        self._streams += 1
        try:
            await answer.prepare(request)
            await self._send(answer)
        finally:
            self._streams -= 1
        return answer

    async def _send(self, answer: web.StreamResponse) -> None:
        async with self._live.watching() as scenes:
            waiting = asyncio.ensure_future(anext(scenes))
            try:
                while True:
                    done, _ = await asyncio.wait([waiting], timeout=_QUIET)
                    if not done:
                        await answer.write(b": still here\n\n")
                        continue
                    data = msgspec.json.encode(waiting.result())
                    await answer.write(b"event: scene\ndata: " + data + b"\n\n")
                    waiting = asyncio.ensure_future(anext(scenes))
            except ConnectionResetError:  # the window was closed
                return
            finally:
                waiting.cancel()
