"""The feed: however a watch repeats and reorders, the proxy ends in the same state."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from unittest.mock import patch

import orjson
from hypothesis import given
from hypothesis import strategies as st

from control.api.kinds import Kind
from control.api.meta import Status
from control.client.backoff import Backoff
from control.client.errors import ApiError, Operation, UnreachableError
from control.client.rest import Listing
from control.client.stream import LineSplitter, parse_event, read_object
from proxy.desired.tracker import Tracker
from proxy.model.values import Family, NodeView
from proxy.objects.feed import Feed, ObjectReader, following
from proxy.objects.wire import ENDPOINT_SLICE, SERVICE, Fields
from proxy.objects.wire import NODE as NODE_KIND
from proxy.status.changes import PendingChanges
from proxy.status.metrics import ProxyMetrics
from tests.support.proxy.strategies import few
from tests.support.proxy.told import Told

NODE = {"metadata": {"name": "n1", "uid": "n", "resourceVersion": "1"}}


def service(name: str, turn: int) -> dict:
    ports = [{"name": "http", "port": 80 + turn % 3}]
    spec = {"clusterIP": f"10.96.0.{1 + turn % 4}", "ports": ports}
    return {"metadata": {"namespace": "ns", "name": name}, "spec": spec}


def endpoints(name: str, turn: int) -> dict:
    labels = {"kubernetes.io/service-name": "ab"[turn % 2]}
    return {
        "metadata": {"namespace": "ns", "name": name, "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [f"10.244.0.{1 + one}"]} for one in range(turn % 5)],
    }


MAKERS = {"service": service, "endpoints": endpoints}


@dataclass
class Collection:
    """A kind's history on the server, and the faults of its watches."""

    make: object
    events: list[tuple[str, dict]] = field(default_factory=list)  # (verb, object), by version
    streams: list[tuple[int, list[int], str]] = field(default_factory=list)
    listed: int = 0  # the version of the first list
    last: int = 0  # up to where the latest list or watch led

    def live(self, version: int) -> list[dict]:
        """Return the objects at a version."""
        found: dict[str, dict] = {}
        for verb, wire in self.events[:version]:
            found.pop(wire["metadata"]["name"], None)
            if verb != "DELETED":
                found[wire["metadata"]["name"]] = wire
        return list(found.values())


ENDS = ("closed", "broken", "gone", "garbage")


@st.composite
def collections(draw: st.DrawFn, make, names: str) -> Collection:
    """Draw a history of objects, with watches that repeat, reorder, break off and expire."""
    made = Collection(make)
    uids: dict[str, str] = {}
    for version in range(1, draw(st.integers(1, 10)) + 1):
        name = draw(st.sampled_from(names))
        verb = "MODIFIED" if name in uids else "ADDED"
        if name in uids and draw(st.integers(0, 2)) == 0:
            verb = "DELETED"
        uid = uids.setdefault(name, f"{name}-{version}")
        if verb == "DELETED":
            del uids[name]
        wire = make(name, draw(st.integers(0, 9)))
        wire["metadata"] |= {"uid": uid, "resourceVersion": str(version)}
        made.events.append((verb, wire))
    made.listed = reached = draw(st.integers(0, len(made.events)))
    cuts = sorted(draw(st.lists(st.integers(reached, len(made.events)), max_size=3)))
    for upto in (*cuts, len(made.events)):
        old = draw(st.lists(st.sampled_from(range(upto)), max_size=4)) if upto else []
        order = draw(st.permutations([*range(reached, upto), *old]))
        made.streams.append((upto, order, draw(st.sampled_from(ENDS))))
        reached = upto
    return made


class Server:
    """The part of ``control.client.Client`` that informers use, with these collections."""

    def __init__(self, collections: dict[Kind, Collection], chunk: int) -> None:
        self.collections = collections
        self.told = {kind: asyncio.Event() for kind in collections}
        self._chunk = chunk

    async def pages(
        self, kind: Kind, _namespace: str | None, **_: object
    ) -> AsyncIterator[Listing]:
        if kind is NODE_KIND:
            yield Listing((read_object(kind, NODE),), "1")
            return
        if kind not in self.collections:
            raise ApiError(Operation("list", kind.plural), Status(code=404, reason="NotFound"))
        held = self.collections[kind]
        version = held.last = max(held.last, held.listed)
        items = held.live(version)
        for place, wire in enumerate(items):
            yield Listing((read_object(kind, wire),), str(version))
            assert place < len(items)
        if not items:
            yield Listing((), str(version))

    @asynccontextmanager
    async def watch(self, kind: Kind, _namespace: str | None, **options: str):
        if kind is NODE_KIND or not self.collections[kind].streams:
            if kind in self.told:
                self.told[kind].set()
            await asyncio.Event().wait()
        held = self.collections[kind]
        assert int(options["resource_version"]) == held.last
        held.last, order, end = held.streams.pop(0)
        yield self._events(kind, [held.events[one] for one in order], end)

    async def _events(self, kind: Kind, events: list[tuple[str, dict]], end: str):
        lines = LineSplitter()
        data = b"".join(
            orjson.dumps({"type": verb, "object": wire}) + b"\n" for verb, wire in events
        )
        bookmark = {"metadata": {"resourceVersion": str(self.collections[kind].last)}}
        data += orjson.dumps({"type": "BOOKMARK", "object": bookmark}) + b"\n"
        for start in range(0, len(data), self._chunk):
            for line in lines.feed(data[start : start + self._chunk]):
                yield parse_event(kind, line)
            await asyncio.sleep(0)
        if end == "broken":
            raise UnreachableError("watch: the connection broke")
        if end == "gone":
            raise ApiError(Operation("watch", "services"), Status(code=410, reason="Expired"))
        if end == "garbage":
            parse_event(kind, b'{"type": "ADDED", "obj')


@few
@given(
    collections(service, "ab"),
    collections(endpoints, "xyz"),
    st.sampled_from([7, 100, 10_000]),
)
def test_faults_of_a_watch_do_not_change_the_state(services, slices, chunk):
    final = Tracker(NodeView("n1"), (Family.V4,))
    read = ObjectReader("n1", "")
    for wire in services.live(len(services.events)):
        kept = read.service(read_object(SERVICE, wire))
        final.set_service(kept.key, kept.value)
    for wire in slices.live(len(slices.events)):
        kept = read.slice(read_object(ENDPOINT_SLICE, wire))
        final.set_slice(kept.key, kept.value)
    assert asyncio.run(followed(services, slices, chunk)).desired() == final.desired()


def test_no_api_object_is_kept():
    """Services take only as much memory as their values."""
    made = {name: [("ADDED", make(name, 4)) for name in "abc"] for name, make in MAKERS.items()}
    for events in made.values():
        for version, (_, wire) in enumerate(events, 1):
            wire["metadata"] |= {"uid": str(version), "resourceVersion": str(version)}
    services, slices = (
        Collection(make, made[name], [(3, [0, 2], "closed")], listed=1)
        for name, make in MAKERS.items()
    )
    held = []

    def count() -> None:
        gc.collect()
        held.append([one for one in gc.get_objects() if isinstance(one, Fields)])

    before = {id(one) for one in gc.get_objects() if isinstance(one, Fields)}
    tracker = asyncio.run(followed(services, slices, 100, count))
    assert len(tracker.desired()) == 2
    assert [one for one in held[0] if id(one) not in before] == []


async def followed(
    services: Collection, slices: Collection, chunk: int, then: Callable[[], None] = lambda: None
) -> Tracker:
    """Return a proxy's tracker after both watches sent everything."""
    tracker = Tracker(NodeView("n1"), (Family.V4,))
    server = Server({SERVICE: services, ENDPOINT_SLICE: slices}, chunk)
    feed = Feed(tracker, PendingChanges(ProxyMetrics()), lambda: None, "nftables", Told())
    with patch("control.client.informer.Backoff", lambda: Backoff(0.0, 0.0)):
        async with asyncio.timeout(60), following(server, feed, "n1", ""):
            for told in server.told.values():
                await told.wait()
            then()
    return tracker
