"""Rates of Services and endpoints, from readings of conntrack."""

from debug.flows.naming import FlowNames
from debug.kernel.conntrack import Direction, Tracked
from debug.top.count import MOST, NodeCounter, Row, merged, rows
from tests.support.views import STATE

NAMES = FlowNames(STATE)


def flow(number: int, endpoint: str = "10.244.1.2", count: int | None = None, **more) -> Tracked:
    size = None if count is None else 100 * count
    there = Direction("192.168.0.9", "10.96.0.10", 4000 + number, 80, count, size)
    back = Direction(endpoint, "192.168.0.9", 8080, 4000 + number, count, size)
    return Tracked(number, "TCP", there, back, **{"translated": True, **more})


def of(*readings, programs=({}, {})) -> list[Row]:
    """Return the rows of the last of some readings, two seconds after the one before."""
    counter = NodeCounter()
    for flows, counted in zip(readings, programs, strict=True):
        sums, owners = counter.take(flows, counted, NAMES)
    return rows(merged([sums]), owners, NAMES, 2.0)


def test_what_came_since_the_last_reading_is_new() -> None:
    old = [flow(1), flow(2)]
    whole, first, second = of(old, [*old, flow(3), flow(4, "10.244.1.3"), flow(5)])
    assert (whole.service, whole.open, whole.new, whole.bytes) == ("ns/web:http", 5, 1.5, None)
    assert (first.endpoint, first.open, first.new) == ("10.244.1.2:8080", 4, 1.0)
    assert (second.endpoint, second.open, second.new) == ("10.244.1.3:8080", 1, 0.5)


def test_traffic_is_what_grew_in_both_directions() -> None:
    (whole, endpoint) = of([flow(1, count=10)], [flow(1, count=13), flow(2, count=1)])
    assert (whole.packets, whole.bytes) == (4.0, 400.0)
    assert endpoint.bytes == whole.bytes


def test_a_first_reading_has_no_rates() -> None:
    counter = NodeCounter()
    sums, owners = counter.take([flow(1, count=9)], {"ns/web:http": 7}, NAMES)
    (whole, _) = rows(sums, owners, NAMES, 1.0)
    assert (whole.open, whole.new, whole.bytes) == (1, 0.0, 0.0)


def test_what_calls_no_service_is_not_counted() -> None:
    direct = Direction("10.244.1.9", "10.244.1.2", 4000, 8080)
    back = Direction("10.244.1.2", "10.244.1.9", 8080, 4000)
    assert of([], [Tracked(1, "TCP", direct, back), flow(2, translated=False)]) == []


def test_connections_that_only_programs_see_are_added() -> None:
    """Mode ebpf balances at sockets, which conntrack does not see."""
    counted = ({"ns/web:http": 100}, {"ns/web:http": 110, "ns/ports:http": 4})
    web, endpoint, ports = of([flow(1)], [flow(1), flow(2), flow(3)], programs=counted)
    assert (web.service, web.new, endpoint.new) == ("ns/web:http", 5.0, 1.0)
    assert (ports.service, ports.new, ports.endpoint) == ("ns/ports:http", 2.0, "")


def test_memory_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr("debug.top.count.MOST", 2)
    counter = NodeCounter()
    sums, _ = counter.take([flow(number) for number in range(5)], {}, NAMES)
    assert (sum(one.open for one in sums.values()), counter.left_out) == (2, 3)
    assert MOST > 2
