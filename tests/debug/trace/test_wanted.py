"""What the API's objects want of a probe, beside what was predicted and seen."""

from typing import Any

import pytest
from msgspec.structs import replace

from debug.cluster import ClusterState
from debug.explain.result import Branch, Hop, RuleLine
from debug.places import Place
from debug.trace import model
from debug.trace.compare import compare
from debug.trace.packet import Flow
from debug.trace.text import lines
from debug.trace.wanted import Wanted
from proxy.policy.wire import Namespace, NetworkPolicy
from tests.support.debug.healthy import endpoints, node, pod, service

SOURCE = Place("node1", 1, "/pod", ("default", "client"))
FLOW = Flow("tcp", "10.244.1.2", "10.96.0.7", 40000, 80)
CLUSTER = ClusterState(
    pods=(pod("client", 1), pod("web-2", 2), pod("web-3", 3)),
    services=(service(),),
    slices=(endpoints("10.244.2.2", "10.244.3.2"),),
    nodes=tuple(map(node, (1, 2, 3))),
    namespaces=(Namespace.read({"metadata": {"name": "default"}}),),
)


def policy(**spec: Any) -> NetworkPolicy:
    meta = {"metadata": {"name": "guard", "namespace": "default"}}
    return NetworkPolicy.read({**meta, "spec": {"podSelector": {}, **spec}})


DENYING = policy(policyTypes=["Ingress"])
OPEN = policy(policyTypes=["Ingress"], ingress=[{}])


def passed(end: str) -> list[str]:
    """The places of a packet that ends in one."""
    far = [f"Node node{end[-1]}", end] if end.startswith("Pod") else [end]
    return list(dict.fromkeys(("Pod default/client", "Node node1", *far)))


def seen(endpoint: str, end: str, outcome: str = "arrived") -> model.PacketTrace:
    """A packet that a rule of node1 sent to an endpoint."""
    before = model.Ends("tcp", "10.244.1.2", "10.96.0.7", 40000, 80)
    after = replace(before, destination=endpoint, destination_port=8080)
    rule = model.Step("rule", family="ip", table="nat", chain="pick", handle=5, verdict="accept")
    steps = (replace(rule, before=before, ends=after),) if endpoint else ()
    places = passed(end)
    hops = tuple(
        model.Hop(f"node{1 + (number > 1)}", place, steps=steps if number == 1 else ())
        for number, place in enumerate(places)
    )
    return model.PacketTrace(1, "forward", "TCP SYN", outcome, end, "", hops)


def explained(endpoint: str, end: str) -> Branch:
    did = (f"destination becomes {endpoint} port 8080",)
    rule = RuleLine("ip nat", "pick", "accept", 5, did=did)
    places = passed(end)
    hops = [Hop(place, "x", "", rules=(rule,) if place == "Node node1" else ()) for place in places]
    return Branch(1.0, tuple(hops), end="delivered", at=end)


def compared(
    packet: model.PacketTrace, predicted: Branch, cluster: ClusterState = CLUSTER
) -> model.Comparison:
    wanted = Wanted(cluster, SOURCE, FLOW, packet).facts()
    (found,) = compare(predicted, (packet,), wanted)
    return found


def test_any_endpoint_will_do_and_the_way_to_it_is_wanted() -> None:
    for number in (2, 3):
        end = f"Pod default/web-{number}"
        wanted = Wanted(CLUSTER, SOURCE, FLOW, seen(f"10.244.{number}.2", end)).facts()
        assert [one.text for one in wanted] == [
            "Pod default/client",
            "Node node1",
            f"destination becomes 10.244.{number}.2 port 8080",
            f"Node node{number}",
            end,
            f"delivered at {end}",
        ]


def test_a_packet_that_goes_as_explained_may_go_where_nobody_wants_it() -> None:
    """The rules still name an endpoint that is gone; explain reads the same rules."""
    found = compared(seen("10.244.9.9", "Node node9"), explained("10.244.9.9", "Node node9"))
    assert (found.agrees, found.as_wanted, found.parts_at) == (True, False, "Node node1")
    text = "\n".join(lines(model.Trace("a", "b", "", comparisons=(found,))))
    assert "as explained (100.0%), but not as the API's objects want" in text
    assert "one of 10.244.2.2 port 8080, 10.244.3.2 port 8080" in text
    assert "they part in Node node1" in text


def test_rules_that_are_gone_are_what_was_wanted_and_not_seen() -> None:
    packet = seen("", "Node node1", "unknown")
    one = replace(CLUSTER, slices=(endpoints("10.244.2.2"),))
    found = compared(packet, explained("10.244.2.2", "Pod default/web-2"), one)
    assert (found.agrees, found.as_wanted, found.parts_at) == (False, False, "Node node1")
    row = next(row for row in found.rows if row.parts)
    assert row.wanted == "destination becomes 10.244.2.2 port 8080"
    assert row.observed != row.wanted


@pytest.mark.parametrize(
    ("policies", "said", "is_wanted"),
    [
        ((), "", True),
        ((OPEN,), "policies admit it", True),
        ((DENYING,), "policies refuse it", False),
    ],
)
def test_policies_have_a_say(
    policies: tuple[NetworkPolicy, ...], said: str, is_wanted: bool
) -> None:
    """The packet arrives: nobody enforces what denies it."""
    end = "Pod default/web-2"
    cluster = replace(CLUSTER, policies=policies)
    found = compared(seen("10.244.2.2", end), explained("10.244.2.2", end), cluster)
    assert found.as_wanted is is_wanted
    assert [row.wanted for row in found.rows if "policies" in row.wanted] == (
        [said] if said else []
    )


def test_what_a_policy_drops_should_be_dropped() -> None:
    packet = seen("10.244.2.2", "Node node1", "dropped")
    rule = model.Step(
        "rule", family="ip", table="podwire-policy", chain="x", handle=9, verdict="drop"
    )
    hops = (packet.hops[0], replace(packet.hops[1], steps=(*packet.hops[1].steps, rule)))
    wanted = Wanted(replace(CLUSTER, policies=(DENYING,)), SOURCE, FLOW, packet).facts()
    predicted = explained("10.244.2.2", "Pod default/web-2")  # it does not know the rule
    (found,) = compare(predicted, (replace(packet, hops=hops),), wanted)
    assert (found.as_wanted, found.agrees, found.parts_at) == (True, False, "Node node1")


def test_a_service_without_endpoints_should_refuse() -> None:
    packet = seen("", "Node node1", "dropped")
    found = compared(packet, Branch(1.0), replace(CLUSTER, slices=()))
    assert [row.wanted for row in found.rows][-2:] == [
        "no endpoint: refused",
        "dropped at Node node1",
    ]


def test_without_objects_nothing_is_wanted() -> None:
    end = "Pod default/web-2"
    (found,) = compare(explained("10.244.2.2", end), (seen("10.244.2.2", end),))
    assert found.as_wanted is None
    text = "\n".join(lines(model.Trace("a", "b", "", comparisons=(found,))))
    assert "in all 7 places and rules" in text
