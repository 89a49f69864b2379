"""Reads the cluster again and again while somebody looks, and tells of what changed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec
from msgspec import Struct

from control.reported import ReportedError
from debug.map.graph import Graph
from debug.map.service import ServiceMap
from debug.map.text import problems
from debug.map.topology import topology
from debug.model import Finding, Level
from debug.snapshot import Snapshot

Examine = Callable[[Snapshot], Sequence[Finding]]


class Problem(Struct, frozen=True):
    """A line of the page's list."""

    level: str
    text: str


class Scene(Struct, frozen=True, omit_defaults=True):
    """What the page shows at one moment."""

    graph: Graph
    problems: tuple[Problem, ...] = ()
    services: tuple[str, ...] = ()
    fault: str = ""  # why nothing newer could be read


def scene(snapshot: Snapshot, findings: Sequence[Finding]) -> Scene:
    """Return what the page shows of a snapshot."""
    graph = topology(snapshot, findings)
    found = [
        *problems(topology(snapshot)),
        *((one.level, _told(one)) for one in findings if one.level is not Level.OK),
    ]
    found.sort(key=lambda each: -each[0].weight)
    cluster = snapshot.cluster
    names = sorted("/".join(one.key) for one in cluster.services) if cluster else ()
    lines = tuple(Problem(level.value, text) for level, text in found)
    return Scene(graph, lines, tuple(names))


def _told(finding: Finding) -> str:
    """Return a finding as a line: where, unless its sentence says that, what, and what to do."""
    about = "" if finding.about in finding.summary else finding.about
    where = " ".join(word for word in (finding.node, about) if word)
    fix = f" To mend it: {finding.fix}" if finding.fix else ""
    return f"{where}: {finding.summary}.{fix}" if where else f"{finding.summary}.{fix}"


class Source(Struct, frozen=True):
    """How the cluster is read; both block, and raise ReportedError, OSError."""

    take: Callable[[], Snapshot]
    follow: Callable[[str], ServiceMap]
    examine: Examine


class Live:
    """The latest scene. It is renewed every ``seconds`` as long as there are watchers."""

    def __init__(self, source: Source, seconds: float) -> None:
        self._source, self._seconds = source, seconds
        self._scene: Scene | None = None
        self._news = asyncio.Condition()
        self._watchers = 0
        self._reading: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def scene(self) -> Scene:
        """Return the latest scene; the first one is read when it is asked for."""
        async with self._one_at_a_time:
            if self._scene is None:
                await self._renew()
        assert self._scene is not None  # noqa: S101  # _renew sets it
        return self._scene

    async def follow(self, service: str) -> ServiceMap:
        """Read a Service's map. Raises ReportedError, OSError."""
        return await asyncio.to_thread(self._source.follow, service)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[AsyncIterator[Scene]]:
        """Give the scenes from now on, each that differs from the one before."""
        self._watchers += 1
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        try:
            yield self._scenes()
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._reading.cancel()
                self._reading = None

    async def _scenes(self) -> AsyncIterator[Scene]:
        shown = await self.scene()
        while True:
            yield shown
            shown = await self._next(shown)

    async def _next(self, shown: Scene) -> Scene:
        async with self._news:
            await self._news.wait_for(lambda: self._scene is not shown)
        return await self.scene()

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(self._seconds)
            async with self._one_at_a_time:
                await self._renew()

    async def _renew(self) -> None:
        """Read once. What did not change is not told; what cannot be read is."""
        new = await asyncio.to_thread(self._look)
        if self._scene is None or _content(new) != _content(self._scene):
            async with self._news:
                self._scene = new
                self._news.notify_all()

    def _look(self) -> Scene:
        try:
            snapshot = self._source.take()
            return scene(snapshot, self._source.examine(snapshot))
        except (ReportedError, OSError) as err:
            return self._stale(str(err))
        except Exception as err:  # noqa: BLE001  # else the page would look alive for ever
            return self._stale(
                f"a defect of podwire, please report it: {type(err).__name__}: {err}"
            )

    def _stale(self, fault: str) -> Scene:
        return msgspec.structs.replace(self._scene or Scene(Graph("")), fault=fault)


def _content(one: Scene) -> bytes:
    """Return a scene without its time."""
    graph = msgspec.structs.replace(one.graph, taken="")
    return msgspec.json.encode(msgspec.structs.replace(one, graph=graph))
