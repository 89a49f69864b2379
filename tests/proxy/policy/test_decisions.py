"""Who may reach whom: the evaluator by the API's text, and the index, which packets follow."""

import random
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from proxy.model.values import Address, Family
from proxy.policy.drops.explain import Asked, SideVerdict, explain
from proxy.policy.index import PolicyIndex
from proxy.policy.profile import Group, Profile
from proxy.policy.tiers.networks import cut_networks
from proxy.policy.tiers.ranking import Course, Ranking
from proxy.policy.values import Action, BlockPeer, Direction
from tests.support.proxy.cluster_table import CLUSTER_TABLE, random_cluster
from tests.support.proxy.evaluate import Cluster, Packet, evaluate
from tests.support.proxy.policy_index import (
    NODE,
    cluster,
    index,
    packet,
)
from tests.support.proxy.policy_table import (
    ENDS,
    TABLE,
    app,
    egress,
    entry,
    ingress,
    random_policy,
)


def passes(made: PolicyIndex, packet: Packet) -> bool:
    """Look a packet up as the kernel's chains do."""
    ends = (packet.source, packet.destination)
    if ip_address(NODE) in ends:
        return True
    source, destination = (made.posts.get(one) for one in ends)
    return (
        source is None
        or _runs(made, source.egress_course, source.egress, packet.destination, packet)
    ) and (
        destination is None
        or _runs(made, destination.ingress_course, destination.ingress, packet.source, packet)
    )


def _runs(
    made: PolicyIndex,
    course: Course | None,
    profile: Profile | None,
    peer: Address,
    packet: Packet,
) -> bool:
    if course is not None:
        assert course.policies == profile
        for ranking in course.rankings():
            action = _ranks(made, ranking, peer, packet)
            if action is not Action.PASS:
                return action is Action.ACCEPT
    return profile is None or _admits(made, profile, peer, packet)


def _ranks(made: PolicyIndex, ranking: Ranking, peer: Address, packet: Packet) -> Action:
    door = (packet.destination, packet.protocol, packet.port)
    if door in (exact := made.exact(ranking)):
        return exact[door]
    ladders = [
        ladder
        for port, ladder in ranking.doors
        if port.protocol is packet.protocol and port.first <= packet.port <= port.last
    ]
    ladder = ladders[0] if ladders else ranking.anywhere
    assert len(ladders) < 2
    if ladder.settled is not None:
        return ladder.settled
    rungs = made.rungs(ladder)
    assert rungs.get(peer) == made.rung(ladder, peer)
    if peer in rungs:
        return rungs[peer]
    for span, action in cut_networks(ladder.steps, Family(peer.version)):
        if span.first <= int(peer) <= span.last:
            return action
    group, action = ladder.steps[-1]
    return action if group is None else Action.PASS


def _admits(made: PolicyIndex, profile: Profile, peer: Address, packet: Packet) -> bool:
    if packet.source == packet.destination:
        return True
    if _is_in(made, profile.always, peer):
        return True
    if any(
        door.port.protocol is packet.protocol
        and (packet.destination, packet.port) in made.doors(door)
        for door in profile.named
    ):
        return True
    return any(
        port.protocol is packet.protocol
        and port.first <= packet.port <= port.last
        and _is_in(made, group, peer)
        for port, group in profile.doors
    )


def _is_in(made: PolicyIndex, group: Group | None, address: Address) -> bool:
    spans = [s for one in group or () if isinstance(one, BlockPeer) for s in one.ranges]
    return (
        group is None
        or address in made.addresses(group)
        or any(s.version == address.version and s.first <= int(address) <= s.last for s in spans)
    )


@pytest.mark.parametrize("row", [*TABLE, *CLUSTER_TABLE])
def test_who_may_reach_whom(row):
    policies, good, bad = TABLE.get(row) or CLUSTER_TABLE[row]
    world = cluster(policies)
    flows = {packet(text): True for text in good.split()}
    flows |= {packet(text): False for text in bad.split()}
    assert {one: evaluate(world, one[1]).passes for one in flows} == flows
    made = index(world)
    assert {one: passes(made, one[1]) for one in flows} == flows
    for one in flows:
        told, answer = explained(world, one[1]), evaluate(world, one[1])
        assert [(s.direction, s.pod, s.passes) for s in told] == [
            (s.direction, s.pod, s.passes) for s in answer.sides
        ]
        assert [tuple(p.policy for p in s.policies if p.admits) for s in told] == [
            s.admitted_by for s in answer.sides
        ]


def explained(world: Cluster, one: Packet) -> tuple[SideVerdict, ...]:
    ends = (one.source, one.destination)
    near, far = (next((p for p in world.pods if end in p.addresses), None) for end in ends)
    port = one.port if one.protocol else None
    asked = Asked(*ends, near, far, port, one.protocol, by_service=True)
    policies = (world.policies, world.namespaces, world.nodes, world.cluster_policies)
    return explain(asked, *policies)


def test_the_answer_names_the_policies():
    world = cluster([ingress(), ingress(entry(app("db")), name="b"), egress()])
    answer = evaluate(world, packet("db>web:1")[1])
    out, in_ = answer.sides
    assert (out.direction, out.pod, out.guards, out.admitted_by) == (
        Direction.EGRESS,
        ("ns", "db"),
        (("ns", "out"),),
        (),
    )
    assert (in_.guards, in_.admitted_by) == ((("ns", "b"), ("ns", "in")), (("ns", "b"),))
    assert not answer.passes


@pytest.mark.parametrize("seed", range(10))
def test_cluster_policies_meet_what_the_evaluator_says(seed):
    """A hundred worlds; the index sees their policies come and go in another order too."""
    dice = random.Random(seed)
    for _ in range(10):
        policies = random_cluster(dice)
        world = cluster(policies)
        made, moving = index(world), index(world)
        for one in dice.sample(policies, len(policies)):
            replay(moving, world, one["metadata"]["name"])
        for flow in flows(dice):
            one = packet(flow)[1]
            said = evaluate(world, one)
            assert said.passes == passes(made, one), (flow, policies)
            assert said.passes == passes(moving, one), (flow, policies)
            told = [(s.direction, s.pod, s.passes) for s in explained(world, one)]
            assert told == [(s.direction, s.pod, s.passes) for s in said.sides], (flow, policies)


def replay(made: PolicyIndex, world: Cluster, name: str) -> None:
    """Take a policy away, and a Pod; put them again."""
    policies = [one for one in world.cluster_policies if one.name == name]
    made.set_cluster_policy(name, None)
    pod = next(iter(world.pods))
    made.set_pod(pod.key, None)
    made.take()
    for one in policies:
        made.set_cluster_policy(name, one)
    made.set_pod(pod.key, pod)
    made.take()


def flows(dice: random.Random) -> Iterator[str]:
    for source in ENDS:
        for destination in ENDS:
            if source.endswith("6") == destination.endswith("6"):
                ports = ("", ":80", ":8080", ":80/UDP", ":80/SCTP", ":100", ":9001")
                yield f"{source}>{destination}{dice.choice(ports)}"


@pytest.mark.parametrize("seed", range(10))
def test_packets_meet_what_the_evaluator_says(seed):
    """Fifty worlds of random policies; all flows between ends of one family."""
    dice = random.Random(seed)
    for _ in range(50):
        policies = [random_policy(dice, number) for number in range(dice.randint(1, 5))]
        world = cluster(policies)
        made = index(world)
        for source in ENDS:
            for destination in ENDS:
                if source == destination or source.endswith("6") != destination.endswith("6"):
                    continue
                flow = f"{source}>{destination}" + dice.choice(
                    ("", ":80", ":8080", ":80/UDP", ":80/SCTP", ":100", ":9001")
                )
                one = packet(flow)[1]
                assert evaluate(world, one).passes == passes(made, one), (flow, policies)
