"""Carries out ``podwire map``."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from msgspec.structs import replace
from rich.console import Console, RenderableType

from control.client.errors import ClientError
from debug import snapshot as snapshots
from debug.cluster import read_cluster
from debug.doctor.examine import examine
from debug.map import mesh_draw, service_text, text
from debug.map.effort import Effort
from debug.map.measure import measured
from debug.map.service import MapError, ServiceMap, find, follow
from debug.map.svg import svg
from debug.map.topology import topology as make
from debug.map.tracked import connections, of_nodes
from debug.options import ground
from debug.output import drawn, say, say_json
from debug.snapshot import Snapshot
from lab.shared import plain_errors

_WIDEST = 400  # columns
Ground = tuple[str | None, bool, Path | None]  # of the options


def topology(options: Ground, path: Path | None, output: str) -> None:
    """Print the topology of a cluster or of a snapshot's file."""
    with plain_errors():
        snapshot = taken(options, path)
        graph = make(snapshot, examine(snapshot))
    if output == "json":
        say_json(graph)
    elif output == "svg":
        say(svg(graph))
    else:
        _print(text.draw(graph))


def service(options: Ground, path: Path | None, name: str, output: str) -> None:
    """Print where a Service leads."""
    with plain_errors():
        found = followed(options, path, name)
    if output == "json":
        say_json(found)
    else:
        _print(service_text.draw(found))


def mesh(options: Ground, effort: Effort, output: str) -> None:
    """Measure, and print what was measured."""
    with plain_errors():
        here = ground(*options)
        with _progress("measuring each way between nodes, and between their Pods"):
            found = measured(here, snapshots.take(here), effort)
    if output == "json":
        say_json(found)
    elif output == "svg":
        say(mesh_draw.svg(found))
    else:
        _print(mesh_draw.draw(found))


def _progress(what: str) -> AbstractContextManager[object]:
    """Show on a terminal what is waited for."""
    console = Console(stderr=True)
    return console.status(what) if console.is_terminal else nullcontext()


def _print(drawing: RenderableType) -> None:
    """Print a drawing; a file or a pipe has room for any line."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDEST)
    console.print(drawn(console, drawing))


def followed(options: Ground, path: Path | None, name: str) -> ServiceMap:
    """Return a Service's map, of a file or as it is now. Raises ReportedError, OSError."""
    if path is not None:
        return of_snapshot(snapshots.load(path), name)
    here = ground(*options)
    if here.kubeconfig is None:
        raise MapError("a Service is an object of the API: say which cluster by --kubeconfig")
    counted, unread = connections(here)
    try:
        cluster = read_cluster(here.kubeconfig)
    except ClientError as err:
        raise MapError(f"Service {name} cannot be read: {err}") from err
    machines = {place.node for place in here.nodes()}
    ours = of_nodes(counted, machines, {str(node.metadata.name) for node in cluster.nodes})
    return replace(follow(cluster, find(cluster, name), ours), unread=tuple(unread))


def of_snapshot(snapshot: Snapshot, name: str) -> ServiceMap:
    """Return a Service's map, without connections, which a snapshot does not have."""
    if snapshot.cluster is None:
        raise MapError("the snapshot has no objects of the API, so no Service")
    return follow(snapshot.cluster, find(snapshot.cluster, name))


def taken(options: Ground, path: Path | None) -> Snapshot:
    """Return a snapshot: of a file, or taken now. Raises ReportedError, OSError."""
    if path is not None:
        return snapshots.load(path)
    return snapshots.take(ground(*options), machines=True)
