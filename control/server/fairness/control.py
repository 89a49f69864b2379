"""Lets each request go on, wait for its turn, or be refused, as the cluster's objects say."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from control.api.flows import CATCH_ALL, EXEMPT
from control.metrics import Registry
from control.server.access.attributes import AccessAttributes
from control.server.fairness.kinds import FLOW_SCHEMA, PRIORITY_LEVEL
from control.server.fairness.level import Asker, Level, LevelSpec, Room, Seat, Ticket, level_of
from control.server.fairness.schemas import Flow, Schema, in_order, schema_of
from control.server.state.budget import BusyError
from control.server.state.watch_cache import KindCache, ObjectChange, WatchCache
from control.server.wire.info import is_true
from control.server.wire.request import User

# A quarter of the time that a request has, as upstream.
PATIENCE = 15.0
_MOST_KEPT = 4096  # answers about flows
_OBJECTS_A_SEAT, _MOST_SEATS = 100, 10  # of a list
_WAITS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
_NOWHERE = Flow(CATCH_ALL, "", CATCH_ALL, "")  # before the cluster's objects are there


def seats_of(asked: AccessAttributes, query: Mapping[str, str], objects: int) -> int:
    """Return how many requests for one object a request counts as: a list goes through many.

    A watch that begins with the present objects is a list, too.
    """
    if asked.name or asked.verb not in ("list", "watch"):
        return 1
    follows = asked.verb == "watch" and query.get("resourceVersion", "0") not in ("", "0")
    if follows and not is_true(query.get("sendInitialEvents", "0")):
        return 1
    return min(max(1, -(-objects // _OBJECTS_A_SEAT)), _MOST_SEATS)


class FlowControl:
    """The flows of one server."""

    def __init__(self, cache: WatchCache, total: int, registry: Registry) -> None:
        """``total`` is the number of requests that are answered at a time."""
        self._cache, self.room = cache, Room(total)
        self._schemas: tuple[Schema, ...] = ()
        self._flows: dict[tuple[str, tuple[str, ...], AccessAttributes], Flow] = {}
        self._followed: tuple[KindCache, ...] = ()
        self._counted: dict[tuple[str, str], list[int]] = {}  # waiting and going on, by flow
        self._metrics = FlowMetrics(registry, self)

    def flow(self, user: User, asked: AccessAttributes) -> Flow:
        """Return the flow of a request."""
        if not self._followed or self._followed[0] is not self._cache.of(FLOW_SCHEMA):
            self._follow()
        asked = asked._replace(name="", selector="")
        key = (user.name, user.groups, asked)
        found = self._flows.get(key)
        if found is None:
            if len(self._flows) >= _MOST_KEPT:
                self._flows.clear()
            found = self._flows[key] = self._matched(user, asked)
        return found

    def _matched(self, user: User, asked: AccessAttributes) -> Flow:
        for schema in self._schemas:
            if schema.level in self.room.levels and (flow := schema.flow(user, asked)):
                return flow
        return _NOWHERE

    def uids(self, flow: Flow) -> tuple[str, str]:
        """Return the UIDs of a flow's schema and priority level."""
        level = self.room.levels.get(flow.level)
        return flow.schema_uid, level.spec.uid if level else ""

    @asynccontextmanager
    async def turn(self, flow: Flow, seats: int, asker: Asker | None = None) -> AsyncIterator[None]:
        """Wait until a request may go on, and hold its seats; raises BusyError."""
        seat = await self.sit(asker or Asker(flow), seats)
        try:
            yield
        finally:
            self.rise(seat)

    async def sit(self, asker: Asker, seats: int) -> Seat:
        """Wait until a request may go on; raises BusyError. Who sits must rise."""
        flow = asker.flow
        level = self.room.levels.get(flow.level)
        asker.arrived = time.time()
        if level is None:
            return Seat(None, seats, asker)
        if level.spec.exempt:
            seat = Seat(level, seats, asker, is_bounded=False)
        else:
            seat = Seat(level, min(seats, max(1, level.nominal)), asker)
            await self._seated(level, flow, seat)
        asker.started = time.time()
        level.seated.add(seat)
        level.tally.dispatched += 1
        self._metrics.dispatched.add(level.spec.name, flow.schema)
        self._counts(flow)[1] += 1
        return seat

    def rise(self, seat: Seat) -> None:
        """Let a request give its seats back; it may have done so already."""
        level = seat.level
        if level is None or seat.is_free:
            return
        seat.is_free = True
        level.seated.discard(seat)
        self._counts(seat.asker.flow)[1] -= 1
        if seat.is_bounded:
            self.room.end(level, seat.seats)

    async def _seated(self, level: Level, flow: Flow, seat: Seat) -> None:
        if self.room.begin(level, seat.seats):
            return
        began = asyncio.get_running_loop().time()
        going: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket = Ticket(seat.seats, partial(_resolve, going), asker=seat.asker)
        if not level.enqueue(f"{flow.schema}/{flow.distinguisher}", ticket):
            level.tally.rejected += 1
            self._refuse(level, flow, "queue-full" if level.spec.queues else "concurrency-limit")
        counts = self._counts(flow)
        counts[0] += 1
        try:
            async with asyncio.timeout(PATIENCE):
                await going
        except BaseException as err:
            if going.done() and not going.cancelled():
                self.room.end(level, seat.seats)
            level.leave(ticket)
            if isinstance(err, TimeoutError):
                level.tally.timed_out += 1
                self._refuse(level, flow, "time-out")
            level.tally.cancelled += 1
            self._metrics.rejected.add(flow.schema, level.spec.name, "cancelled")
            raise
        finally:
            counts[0] -= 1
        seat.queue = ticket.queue
        waited = asyncio.get_running_loop().time() - began
        self._metrics.waits.observe("true", flow.schema, level.spec.name, value=waited)

    def _refuse(self, level: Level, flow: Flow, reason: str) -> None:
        self._metrics.rejected.add(flow.schema, level.spec.name, reason)
        raise BusyError

    def _counts(self, flow: Flow) -> list[int]:
        return self._counted.setdefault((flow.schema, flow.level), [0, 0])

    def numbers(self, which: int) -> dict[tuple[str, ...], float]:
        """Return how many requests wait (0) or go on (1), by schema and level."""
        return {key: counts[which] for key, counts in self._counted.items()}

    def seats(self, read: Callable[[Level], float]) -> dict[tuple[str, ...], float]:
        """Return a number of each level, by its name."""
        return {(name,): read(level) for name, level in self.room.levels.items()}

    def _follow(self) -> None:
        """Read the cluster's objects again after each change of one."""
        self._followed = tuple(map(self._cache.of, (FLOW_SCHEMA, PRIORITY_LEVEL)))
        for each in self._followed:
            each.listeners.add(self._changed)
        self._changed(None)

    def _changed(self, _: ObjectChange | None) -> None:
        schemas, levels = (list(each.items()) for each in self._followed)
        self._schemas = in_order(schema_of(item.wire) for item in schemas)
        specs = [level_of(item.wire) for item in levels]
        self.room.set(specs or [LevelSpec(EXEMPT, "", exempt=True)])
        self._flows.clear()


def _resolve(going: "asyncio.Future[None]") -> None:
    if not going.done():
        going.set_result(None)


class FlowMetrics:
    """What is counted of flows, by upstream's names.

    Source: k8s.io/apiserver/pkg/util/flowcontrol/metrics
    """

    def __init__(self, registry: Registry, control: FlowControl) -> None:
        place = ("flow_schema", "priority_level")
        self.rejected = registry.counter(
            "apiserver_flowcontrol_rejected_requests_total",
            "Number of requests rejected by API Priority and Fairness subsystem",
            *(*place, "reason"),
        )
        self.dispatched = registry.counter(
            "apiserver_flowcontrol_dispatched_requests_total",
            "Number of requests executed by API Priority and Fairness subsystem",
            *("priority_level", "flow_schema"),
        )
        self.waits = registry.histogram(
            "apiserver_flowcontrol_request_wait_duration_seconds",
            "Length of time a request spent waiting in its queue",
            *("execute", *place),
            buckets=_WAITS,
        )
        self._measure(registry, control, place)

    def _measure(self, registry: Registry, control: FlowControl, place: tuple[str, ...]) -> None:
        stage = "in initial (for a WATCH) or any (for a non-WATCH) execution stage in"
        for which, name, meaning in (
            (0, "current_inqueue_requests", "currently pending in queues of"),
            (1, "current_executing_requests", stage),
        ):
            registry.measured(
                f"apiserver_flowcontrol_{name}",
                f"Number of requests {meaning} the API Priority and Fairness subsystem",
                *place,
                read=partial(control.numbers, which),
            )
        for name, meaning, read in (
            (
                "nominal_limit_seats",
                "Nominal number of execution seats configured for each priority level",
                lambda level: level.nominal,
            ),
            (
                "current_executing_seats",
                "Concurrency (number of seats) occupied by the currently executing requests",
                lambda level: level.occupied,
            ),
        ):
            registry.measured(
                f"apiserver_flowcontrol_{name}",
                meaning,
                "priority_level",
                read=partial(control.seats, read),
            )
