"""Arbitrary Services, endpoints and desired states, for property tests."""

from ipaddress import ip_address, ip_network

from hypothesis import settings
from hypothesis import strategies as st

from proxy.desired.tracker import Tracker
from proxy.model.settings import PodDetector, ProxySettings
from proxy.model.values import (
    Balance,
    Endpoint,
    Family,
    NodeView,
    Port,
    Protocol,
    Service,
    Slice,
    Target,
    Weight,
)

few = settings(max_examples=40, deadline=None)  # the machine may be busy: no test is timed

NODE = NodeView("n1", zone="z1", addresses=(ip_address("192.168.0.1"), ip_address("fd00:1::1")))
SETTINGS = ProxySettings(
    pods={
        Family.V4: PodDetector(network=ip_network("10.244.0.0/16")),
        Family.V6: PodDetector(network=ip_network("fd00:10:244::/56")),
    }
)

protocols = st.sampled_from(Protocol)
v4 = st.integers(1, 60).map(lambda n: ip_address("10.96.0.0") + n)
v6 = st.integers(1, 60).map(lambda n: ip_address("fd00:10:96::") + n)
pod4 = st.integers(1, 9).map(lambda n: ip_address("10.244.0.0") + n)
pod6 = st.integers(1, 9).map(lambda n: ip_address("fd00:10:244::") + n)
keys = st.tuples(st.just("ns"), st.sampled_from(["a", "b"]))
hints = st.frozensets(st.sampled_from(["z1", "z2", "n1", "n2"]), max_size=2)
ranges = st.sampled_from([None, (), (ip_network("192.168.0.0/24"),), (ip_network("fd00:1::/64"),)])
pods = st.sampled_from(["", "web-1", "web-2", "db-1"])
rules = st.builds(
    Weight, st.sampled_from(["web-*", "db-1", "*", "10.244.0.3"]), st.sampled_from([0, 1, 2, 6])
)


@st.composite
def services(draw: st.DrawFn, key: tuple[str, str]) -> Service:
    """Draw a Service with the key ``key``."""
    names = draw(st.lists(st.sampled_from(["http", ""]), unique=True, max_size=2, min_size=1))
    node_port = st.one_of(st.just(0), st.integers(30000, 30003))
    return Service(
        key=key,
        ports=tuple(
            Port(name, draw(protocols), draw(st.integers(1, 3)), draw(node_port)) for name in names
        ),
        cluster_ips=(draw(v4), draw(v6))[: draw(st.integers(1, 2))],
        external_ips=tuple(draw(st.lists(st.one_of(v4, v6), max_size=2, unique=True))),
        load_balancer_ips=tuple(draw(st.lists(st.one_of(v4, v6), max_size=2, unique=True))),
        sources=draw(ranges),
        affinity=draw(st.one_of(st.none(), st.integers(1, 86400))),
        internal_local=draw(st.booleans()),
        external_local=draw(st.booleans()),
        health_check_port=draw(st.sampled_from([0, 31000])),
        weights=tuple(draw(st.lists(rules, max_size=3))),
        balance=draw(st.sampled_from(Balance)),
    )


@st.composite
def endpoints(draw: st.DrawFn, address: st.SearchStrategy) -> Endpoint:
    """Draw an endpoint in any state."""
    return Endpoint(
        Target.of(draw(address), 8080),
        local=draw(st.booleans()),
        ready=draw(st.sampled_from([True, True, True, False])),
        serving=draw(st.booleans()),
        terminating=draw(st.booleans()),
        zones=draw(hints),
        nodes=draw(hints),
        pod=draw(pods),
    )


@st.composite
def slices(draw: st.DrawFn, service: tuple[str, str]) -> Slice:
    """Draw a slice of ``service``."""
    address = draw(st.sampled_from([pod4, pod6]))
    every = [(name, protocol) for name in ("http", "") for protocol in Protocol]
    ports = draw(st.one_of(st.just(every), st.lists(st.sampled_from(every), unique=True)))
    found = tuple(draw(st.lists(endpoints(address), min_size=1, max_size=4)))
    return Slice(service, dict.fromkeys(ports, found))


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, tuple[str, str], object]:
    """Draw ("service" or "slice", key, the object as it is now or None)."""
    key = draw(keys)
    if draw(st.integers(0, 3)) == 3:
        return "service", key, draw(st.one_of(st.none(), services(key), services(key)))
    name = ("ns", key[1] + draw(st.sampled_from("12")))
    return "slice", name, draw(st.one_of(st.none(), slices(key), slices(key)))


@st.composite
def _histories(draw: st.DrawFn) -> list[tuple[str, tuple[str, str], object]]:
    """Draw changes, mostly of existing Services and of endpoints that come and go."""
    both = [("service", key, draw(services(key))) for key in (("ns", "a"), ("ns", "b"))]
    return [*both[: draw(st.integers(0, 2))], *draw(st.lists(changes(), max_size=10))]


histories = _histories()


def replay(tracker: Tracker, history) -> None:
    """Make all changes in a tracker."""
    for kind, key, value in history:
        (tracker.set_service if kind == "service" else tracker.set_slice)(key, value)
