"""Reads the cluster, and measures its mesh, while somebody looks."""

import asyncio
from collections.abc import Callable, Sequence
from threading import Event
from typing import TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from control.reported import ReportedError
from debug.map.graph import Graph
from debug.map.mesh import Mesh
from debug.map.service import ServiceMap
from debug.map.text import problems
from debug.map.topology import topology
from debug.model import Finding, Level
from debug.output import defect
from debug.snapshot import Snapshot
from debug.trace.model import PacketTrace
from debug.web.mesh import MeshView, view
from debug.web.renewed import Renewed

T = TypeVar("T")
_BETWEEN_MESHES = 5.0  # seconds at least: a mesh of 20 nodes is some thousand packets
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


Listen = Callable[[str, Callable[[PacketTrace | str], None], Event], None]


class Source(Struct, frozen=True):
    """How the cluster is read; all of it blocks, and raises ReportedError, OSError.

    ``mesh`` measures until it is done or an event is set; ``listen`` gives packets that fit a
    filter, and notes in words, until an event is set. A snapshot has neither.
    """

    take: Callable[[], Snapshot]
    follow: Callable[[str], ServiceMap]
    examine: Examine
    mesh: Callable[[Event], Mesh] | None = None
    listen: Listen | None = None


class Live:
    """The latest scene, and the latest mesh."""

    def __init__(self, source: Source, seconds: float) -> None:
        self._source = source
        self._over = Event()
        self.scene: Renewed[Scene] = Renewed(self._look, seconds, _content)
        self.mesh: Renewed[MeshView] = Renewed(
            self._measure, max(seconds, _BETWEEN_MESHES), lambda view: view
        )

    def close(self) -> None:
        """End what is measured."""
        self._over.set()

    async def follow(self, service: str) -> ServiceMap:
        """Read a Service's map. Raises ReportedError, OSError."""
        return await asyncio.to_thread(self._source.follow, service)

    def _look(self, before: Scene | None) -> Scene:
        def look() -> Scene:
            snapshot = self._source.take()
            return scene(snapshot, self._source.examine(snapshot))

        return _read(look, lambda fault: replace(before or Scene(Graph("")), fault=fault))

    def _measure(self, before: MeshView | None) -> MeshView:
        def measure() -> MeshView:
            assert self._source.mesh is not None  # noqa: S101  # else nobody watches it
            return view(self._source.mesh(self._over))

        return _read(measure, lambda fault: replace(before or MeshView(), fault=fault))


def _read(look: Callable[[], T], stale: Callable[[str], T]) -> T:
    """Return what is read now, else the latest with why nothing newer can be read."""
    try:
        return look()
    except (ReportedError, OSError) as err:
        return stale(str(err))
    except Exception as err:  # noqa: BLE001  # else the page would look alive for ever
        return stale(defect(err))


def _content(one: Scene) -> bytes:
    """Return a scene without its time."""
    graph = replace(one.graph, taken="")
    return msgspec.json.encode(replace(one, graph=graph))
