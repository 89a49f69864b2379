"""Show who waits and who goes on, level by level, as text for people. Pure.

Source: k8s.io/apiserver/pkg/util/flowcontrol/apf_controller_debug.go
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

from control.server.fairness.level import Asker, Level, Room

ROOT = "/debug/api_priority_and_fairness/"
_DETAILS = "includeRequestDetails"
_UNIT = 10**8  # of a second of a seat
_NEVER = "0001-01-01T00:00:00Z"
_LEVELS = (
    *("PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests"),
    *("ExecutingRequests", "DispatchedRequests", "RejectedRequests", "TimedoutRequests"),
    "CancelledRequests",
)
_QUEUES = (
    *("PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse"),
    *("NextDispatchR", "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum"),
)
_REQUESTS = (
    *("PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue"),
    *("FlowDistingsher", "ArriveTime", "InitialSeats", "FinalSeats", "AdditionalLatency"),
    "StartTime",
)
_ABOUT = (
    *("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource"),
    "SubResource",
)
Row = Sequence[object]


def dump(room: Room, path: str, query: Mapping[str, str]) -> str | None:
    """Return the text at a path below ``ROOT``; None if there is none."""
    show = _DUMPS.get(path.removeprefix(ROOT))
    return None if show is None else show(room, query)


def _priority_levels(room: Room, _: Mapping[str, str]) -> str:
    rows: list[Row] = [_LEVELS]
    for name, level in sorted(room.levels.items()):
        active = sum(bool(waiting) for _, waiting, _ in level.queues())
        idle = _flag(not level.waiting and not level.seated)
        tally = level.tally
        ended = (tally.dispatched, tally.rejected, tally.timed_out, tally.cancelled)
        rows.append((name, active, idle, _flag(False), level.waiting, len(level.seated), *ended))
    return _table(rows)


def _queues(room: Room, _: Mapping[str, str]) -> str:
    rows: list[Row] = [_QUEUES]
    for name, level in room.levels.items():
        for number, waiting, served in level.queues():
            seated = [seat.seats for seat in level.seated if seat.queue == number]
            seats, work = sum(ticket.seats for ticket in waiting), _seat_seconds
            counts = (len(waiting), len(seated), sum(seated))
            rows.append((name, number, *counts, work(served), seats, seats, work(seats)))
    return _table(rows)


def _requests(room: Room, query: Mapping[str, str]) -> str:
    details = bool(query.get(_DETAILS))
    rows: list[Row] = [(*_REQUESTS, *(_ABOUT if details else ()))]
    for name, level in room.levels.items():
        for queue, index, seats, asker in _askers(level):
            flow, times = asker.flow, (asker.arrived, asker.started)
            arrived, started = map(_time, times)
            row = (name, flow.schema, queue, index, flow.distinguisher, arrived, seats, 0)
            rows.append((*row, "0s", started, *(_about(asker) if details else ())))
    return _table(rows)


def _askers(level: Level) -> Iterator[tuple[int, int, int, Asker]]:
    """Yield queue, place in it, seats and asker of each request; -1 for no queue, or no place."""
    for number, waiting, _ in level.queues():
        for index, ticket in enumerate(waiting):
            if ticket.asker is not None:
                yield number, index, ticket.seats, ticket.asker
    for seat in sorted(level.seated, key=lambda seat: seat.asker.started):
        yield seat.queue, -1, seat.seats, seat.asker


def _about(asker: Asker) -> Row:
    asked, parts = asker.asked, asker.path.split("/")
    version = ""
    if not asked.path:
        version = "/".join(parts[2:4]) if asked.group else "".join(parts[2:3])
    names = (asked.namespace, asked.name, version, asked.resource, asked.subresource)
    return asker.user, asked.verb, asker.path, *names


def _seat_seconds(value: float) -> str:
    whole, rest = divmod(round(value * _UNIT), _UNIT)
    return f"{whole}.{rest:08}ss"


def _time(at: float) -> str:
    if not at:
        return _NEVER
    text = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{text.rstrip('0').rstrip('.')}Z"


def _flag(value: object) -> str:
    return "true" if value else "false"


def _table(rows: Sequence[Row]) -> str:
    """Return rows in columns, with a comma after each value but the last of a row."""
    texts = [[f"{value}," for value in row[:-1]] + [str(row[-1])] for row in rows]
    widths = [max(8, 1 + max(map(len, column))) for column in zip(*texts, strict=True)]
    lines = ("".join([*map(str.ljust, text[:-1], widths), text[-1]]) for text in texts)
    return "".join(f"{line}\n" for line in lines)


_DUMPS: dict[str, Callable[[Room, Mapping[str, str]], str]] = {
    "dump_priority_levels": _priority_levels,
    "dump_queues": _queues,
    "dump_requests": _requests,
}
