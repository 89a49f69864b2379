"""A snapshot: the cluster's objects and what its nodes' kernels hold, as one JSON file.

Analysis takes a snapshot, so that it works on another machine too. Annotations are left out: they
may hold whole objects with what is secret in them (kubectl's last-applied-configuration).
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from control.client.errors import ClientError
from control.linux import whole
from control.reported import ReportedError
from debug.cluster import ClusterState, read_cluster
from debug.kernel.conntrack import Tracked, table
from debug.kernel.read import identity, read_numbers, read_space
from debug.kernel.values import SpaceState
from debug.machine.read import read_machine
from debug.machine.values import MachineState
from debug.places import SWITCH, Ground, Place, PlaceError, inside
from debug.ruleset.read.both import AllRules
from debug.ruleset.saved import SavedRules
from proxy.objects.wire import WireObject

VERSION = 1
_LONGEST = 1 << 30  # bytes of a file
_MOST_CONNECTIONS = 200_000  # of a namespace, some 60 MB
_AT_ONCE = 8  # namespaces that are read beside each other
_KEPT = ("proxy.podwire.dev/", "service.kubernetes.io/")  # annotations that decide about packets

W = TypeVar("W", bound=WireObject)


class SnapshotError(ReportedError):
    """A file is no snapshot of this version; the text names the file and the cause."""


class SpaceSnapshot(Struct, frozen=True, omit_defaults=True):
    """One network namespace: of a Pod, or of the node itself.

    ``peers`` has the ``identity`` of other namespaces by ``Link.peer_netns``. ``rules`` and
    ``connections`` are there if they were asked for.
    """

    node: str
    state: SpaceState
    pod: tuple[str, str] | None = None
    identity: int = 0  # differs from that of every other namespace; 0 if it is not known
    peers: dict[int, int] = field(default_factory=dict)
    rules: SavedRules | None = None
    connections: tuple[Tracked, ...] = ()
    left_out: int = 0  # connections that there was no room for


class Snapshot(Struct, frozen=True, omit_defaults=True):
    """What was read of a cluster. ``unread`` says of what is missing why it is."""

    taken: str  # RFC 3339
    cluster: ClusterState | None = None
    spaces: tuple[SpaceSnapshot, ...] = ()
    machines: tuple[MachineState, ...] = ()
    unread: tuple[str, ...] = ()
    version: int = VERSION

    def node(self, name: str) -> SpaceState | None:
        """The namespace of a node."""
        return next((one.state for one in self.spaces if one.node == name and not one.pod), None)

    def machine(self, name: str) -> MachineState | None:
        """What was read of a node beside its namespace."""
        return next((one for one in self.machines if one.node == name), None)

    def nodes(self) -> tuple[SpaceSnapshot, ...]:
        """The namespaces of all nodes."""
        return tuple(one for one in self.spaces if one.pod is None)


def take(ground: Ground, *, machines: bool = False, rules: bool = False) -> Snapshot:
    """Read all places, and the cluster's objects if it is known how to ask for them.

    ``machines`` asks for what nodes have besides: the whole ruleset, which may take seconds;
    ``rules`` for what explain needs: each namespace's rules, and its connections.
    """
    unread: list[str] = []
    cluster = None
    if ground.kubeconfig is not None:
        try:
            cluster = read_cluster(ground.kubeconfig)
        except (ClientError, ReportedError) as err:
            unread.append(f"the API: {err}")
    spaces = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        reading = partial(_read, ground, rules=rules)
        for place, found in zip(ground.places, pool.map(reading, ground.places), strict=True):
            if isinstance(found, SpaceSnapshot):
                spaces.append(found)
            else:
                unread.append(f"{place.name}: {found}")
        nodes = [place for place in ground.nodes() if machines and place.node != SWITCH]
        facts = tuple(pool.map(partial(_machine, ground, rules=rules), nodes))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Snapshot(now, cluster, tuple(spaces), facts, tuple(unread))


def _read(ground: Ground, place: Place, *, rules: bool) -> SpaceSnapshot | str:
    """Read a place, or say why it cannot be read: a Pod may end meanwhile."""
    neighbors = _neighbors(ground, place)
    try:
        return inside(place, lambda: _whole(_space(place, neighbors), rules=rules))
    except (OSError, PlaceError) as err:
        return str(err)


def _whole(space: SpaceSnapshot, *, rules: bool) -> SpaceSnapshot:
    """Return a namespace's snapshot with what explain needs, if it is asked for."""
    if not rules:
        return space
    with closing(AllRules()) as found:
        saved = found.whole()
    flows = table()
    kept = tuple(islice(flows, _MOST_CONNECTIONS))
    return replace(space, rules=saved, connections=kept, left_out=sum(1 for _ in flows))


def _machine(ground: Ground, node: Place, *, rules: bool) -> MachineState:
    pods = [one for one in ground.places if one.pod is not None and one.node == node.node]
    return read_machine(node, pods, with_programs=rules)


def _neighbors(ground: Ground, place: Place) -> list[str]:
    """Return the namespaces that links of a place may lead to: of a Pod, its node's."""
    return [
        other.netns
        for other in ground.places
        if other != place and (place.pod is None or (other.node == place.node and not other.pod))
    ]


def _space(place: Place, neighbors: list[str]) -> SpaceSnapshot:
    state = read_space()  # first: the kernel numbers what links lead to as they are read
    return SpaceSnapshot(place.node, state, place.pod, identity(), read_numbers(neighbors))


def save(snapshot: Snapshot, path: Path) -> None:
    """Write a file that only its owner reads; raises OSError."""
    kept = snapshot.cluster and _without_secrets(snapshot.cluster)
    text = msgspec.json.encode(replace(snapshot, cluster=kept)).decode()
    whole.write(path, text, 0o600)


def load(path: Path) -> Snapshot:
    """Read a file; raises SnapshotError, OSError."""
    if path.stat().st_size > _LONGEST:
        raise SnapshotError(f"{path} is no snapshot: it is longer than {_LONGEST} bytes")
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except (msgspec.DecodeError, RecursionError) as err:
        raise SnapshotError(f"{path} is no snapshot of podwire: {err}") from err
    if found.version != VERSION:
        raise SnapshotError(f"{path} has version {found.version}; this podwire reads {VERSION}")
    for machine in found.machines:
        try:
            machine.parse()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as err:
            raise SnapshotError(f"{path}: {machine.node}'s rules are not what nft prints") from err
    return found


def _without_secrets(cluster: ClusterState) -> ClusterState:
    parts = {name: tuple(_stripped(getattr(cluster, name))) for name in cluster.__struct_fields__}
    return replace(cluster, **parts)


def _stripped(objects: Iterable[W]) -> Iterable[W]:
    for one in objects:
        notes = one.metadata.annotations.items()
        kept = {key: value for key, value in notes if key.startswith(_KEPT)}
        yield replace(one, metadata=replace(one.metadata, annotations=kept))
