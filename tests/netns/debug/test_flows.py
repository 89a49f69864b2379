"""Flows of a node, listed and followed, in the names of Services and Pods."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest

from debug.again import Again
from debug.cluster import ClusterState
from debug.flows import show
from debug.flows.naming import FlowFilter, FlowNames, NamedFlow
from debug.flows.watch import follow, listed
from debug.kernel.conntrack import Direction, Tracked
from debug.places import Ground, Place, inside
from proxy.policy.wire import Pod
from tests.support.space import Space
from tests.support.views import PODS, STATE

pytestmark = pytest.mark.netns
RULES = """table ip services { chain out { type nat hook output priority -100;
  ip daddr 10.96.0.10 tcp dport 80 dnat to 10.244.1.2:8080
  fib daddr type local tcp dport 30080 dnat to 10.244.1.9:8080
}
}"""
WEB = STATE.services[:2]  # web, and ports with its NodePort
CLUSTER = ClusterState(
    services=WEB,
    slices=STATE.slices[:2],
    nodes=STATE.nodes,
    pods=tuple(
        Pod.read(
            {
                "metadata": {"namespace": "ns", "name": name},
                "status": {"phase": "Running", "podIPs": [{"ip": address}]},
            }
        )
        for name, (address, _) in PODS.items()
    ),
)
NAMES = FlowNames(CLUSTER)


def knock(address: str, port: int) -> None:
    """Begin a connection, and wait for nothing."""
    with closing(socket.socket()) as one:
        one.setblocking(False)
        one.connect_ex((address, port))


def listen() -> socket.socket:
    return socket.create_server(("10.244.1.2", 8080))


def call() -> socket.socket:
    return socket.create_connection(("10.96.0.10", 80), timeout=60)


@pytest.fixture(scope="module")
def node(spaces: Callable[[str], Space]) -> Iterator[Place]:
    node, pod = spaces("node"), spaces("pod")
    node.veth("pod", pod, "eth0")
    node.ip_batch("addr add 192.168.0.1/24 dev pod", "route add 10.0.0.0/8 dev pod")
    pod.ip_batch("addr add 10.244.1.2/8 dev eth0", "route add 192.168.0.0/24 dev eth0")
    node.run("nft", "-f", "-", stdin=RULES)
    node.sysctl("net.netfilter.nf_conntrack_acct", 1)
    made = Place("n1", os.getpid(), str(node.path))
    with inside(Place("n1", os.getpid(), str(pod.path)), listen), inside(made, call):
        inside(made, lambda: knock("192.168.0.1", 30080))
        yield made


def flows(node: Place, **asked: object) -> list[NamedFlow]:
    return listed(node, NAMES, FlowFilter(**asked), 100)[0]


def test_a_call_of_a_service_has_all_names(node: Place) -> None:
    (found,) = flows(node, service="ns/web")
    assert (found.client, found.service, found.port) == ("Node n1", "ns/web", "http")
    assert (found.server, found.flow.state, found.stale) == ("Pod ns/a", "ESTABLISHED", False)
    assert (found.flow.original.destination, found.flow.reply.source) == (
        "10.96.0.10",
        "10.244.1.2",
    )
    assert (found.flow.original.packets, found.flow.reply.packets) == (2, 1)
    text = show.shown([found])
    assert "10.96.0.10:80 (Service ns/web http)   10.244.1.2:8080 (Pod ns/a)" in text


def test_a_flow_to_who_is_no_endpoint_is_stale(node: Place) -> None:
    (found,) = flows(node, service="ns/ports")
    assert (found.stale, found.server, found.flow.state) == (True, "", "SYN_SENT")
    assert "STALE: no endpoint of it" in show.line(found)


@pytest.mark.parametrize(
    ("asked", "count"),
    [
        ({"pod": "ns/a"}, 1),
        ({"pod": "ns/b"}, 0),
        ({"port": 30080}, 1),
        ({"protocol": "tcp"}, 2),
        ({"protocol": "SCTP"}, 0),
        ({"service": "ns/web", "port": 8080}, 1),
        ({}, 2),
    ],
)
def test_flows_are_filtered(node: Place, asked: dict[str, object], count: int) -> None:
    assert len(flows(node, **asked)) == count


def test_no_more_are_kept_than_asked_for(node: Place) -> None:
    kept, more = listed(node, NAMES, FlowFilter(), 1)
    assert (len(kept), more) == (1, 1)


@contextmanager
def calling(node: Place) -> Iterator[None]:
    """Have a node call the Service all the time."""
    done = threading.Event()

    def calls() -> None:
        while not done.wait(0.05):
            knock("10.96.0.10", 80)

    caller = threading.Thread(target=lambda: inside(node, calls))
    caller.start()
    try:
        yield
    finally:
        done.set()
        caller.join()


CALLS = FlowFilter(service="ns/web", protocol="TCP")


def test_events_are_followed_with_names(node: Place) -> None:
    """Who listens hears a flow from its beginning."""
    with calling(node):
        events = follow(Again(lambda: Ground((node,))), lambda: NAMES, CALLS)
        found = next(events)
        events.close()
    assert isinstance(found, NamedFlow)
    assert (found.event, found.server, found.flow.protocol) == ("new", "Pod ns/a", "TCP")
    assert found.time.endswith("Z")
    assert " new    TCP " in show.line(found)


def test_a_node_that_is_started_again_is_followed_in_its_new_namespace(
    node: Place, spaces: Callable[[str], Space]
) -> None:
    before = Place(node.node, os.getpid(), str(spaces("before").path))
    looks = iter([Ground((before,))])
    again = Again(lambda: next(looks, Ground((node,))))
    with calling(node):
        events = follow(again, lambda: NAMES, CALLS)
        assert next(events) == f"Node {node.node} was started again"
        found = next(events)
        events.close()
    assert isinstance(found, NamedFlow)
    assert found.server == "Pod ns/a"


def test_node_ports_count_only_where_they_are_translated() -> None:
    """A node's own connection to a far port with a NodePort's number calls no Service."""
    there = Direction("192.168.0.1", "192.0.2.1", 4000, 30080)
    raw = Tracked(1, "TCP", there, Direction("192.0.2.1", "192.168.0.1", 30080, 4000))
    assert NAMES.named("n1", raw).service == ""
