"""Weights: for any annotation, shares are fair, few, and the same in every backend."""

import re
from collections import Counter
from fractions import Fraction
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.backends.ebpf.contents import MapContents
from proxy.backends.ebpf.options import EbpfOptions
from proxy.backends.iptables import names
from proxy.backends.iptables.ruleset import IptablesRuleset
from proxy.desired.claims import ClaimResolver
from proxy.desired.tracker import Tracker
from proxy.desired.weights import ANNOTATION, receiving, shared_out, weigh, weight_of
from proxy.model.values import Endpoint, Family, Port, Protocol, Service, Slice, Target, Weight
from proxy.objects.parse import parse_service
from tests.support.proxy.fake_nft import FakeNft
from tests.support.proxy.objects import service_with as wire
from tests.support.proxy.rulesets import FakeMaps, FakeNftNode
from tests.support.proxy.strategies import NODE, SETTINGS, few

KEY = ("ns", "web")
VIP = ip_address("10.96.0.1")


def target(number: int) -> Target:
    return Target.of(ip_address("10.244.0.0") + number, 80)


def endpoint(number: int) -> Endpoint:
    return Endpoint(target(number), pod=f"web-{number}")


def parsed(text: str) -> tuple[tuple[Weight, ...], list[str]]:
    api, complaints = wire(annotations={ANNOTATION: text})
    found = parse_service(api, complaints)
    assert found is not None
    return found.weights, complaints.lines


def served(weights: dict[int, int], affinity: int | None = None) -> Tracker:
    """Return a Service whose Pod web-N has the weight ``weights[N]``."""
    made = Tracker(NODE, (Family.V4,))
    give(made, weights, affinity)
    endpoints = tuple(endpoint(number) for number in weights)
    made.set_slice(KEY, Slice(KEY, {("", Protocol.TCP): endpoints}))
    return made


def give(made: Tracker, weights: dict[int, int], affinity: int | None = None) -> None:
    rules = tuple(Weight(f"web-{number}", weight) for number, weight in weights.items())
    ports = (Port("", Protocol.TCP, 80),)
    made.set_service(KEY, Service(KEY, ports, (VIP,), affinity=affinity, weights=rules))


def test_an_annotation() -> None:
    weights, complaints = parsed("web-canary-*=1, web-*=9,10.0.0.7=0,FD00:0::1=100,")
    assert weights == (
        Weight("web-canary-*", 1),
        Weight("web-*", 9),
        Weight("10.0.0.7", 0),
        Weight("fd00::1", 100),
    )
    assert not complaints


@pytest.mark.parametrize(
    "bad",
    [
        "web",
        "=1",
        "web=",
        "web=-1",
        "web=101",
        "web=1.5",
        "web=٣",
        "we b=1",
        "web[0]=1",
        "web=1=1",
        "w\n1=1",
    ],
)
def test_a_malformed_rule_is_named_and_stops_no_other(bad: str) -> None:
    weights, (complaint,) = parsed(f"db=2,{bad},web=3")
    assert weights == (Weight("db", 2), Weight("web", 3))
    assert complaint.startswith(f"Service ns/web: annotation {ANNOTATION}[1] is ignored: ")


def test_an_annotation_with_too_many_rules_is_ignored() -> None:
    weights, (complaint,) = parsed("web=1," * 101)
    assert weights == ()
    assert "101 parts" in complaint


@few
@given(st.one_of(st.text(), st.text("web-1*=,0:", max_size=40)), st.integers(1, 250))
def test_no_annotation_can_raise_or_hang(text: str, number: int) -> None:
    weights, _ = parsed(text)
    assert 0 <= weight_of(endpoint(number), weights) <= 100


def test_many_wildcards_cost_little() -> None:
    weights, _ = parsed(f"{'*a' * 120}b=3,web=2")
    long = Endpoint(target(1), pod="a" * 250)
    assert weight_of(long, weights) == 1


def test_the_first_matching_rule_counts_and_the_default_weight_is_one() -> None:
    weights, _ = parsed("web-1=5,web-*=2,10.244.0.3=7")
    assert [weight_of(endpoint(number), weights) for number in (1, 2, 3)] == [5, 2, 2]
    assert weight_of(Endpoint(target(3), pod="db"), weights) == 7
    assert weight_of(Endpoint(target(4)), weights) == 1


@few
@given(st.dictionaries(st.integers(1, 60), st.integers(1, 100), min_size=1))
def test_shares_are_exactly_the_weights_and_as_few_as_can_be(weights: dict[int, int]) -> None:
    rules = [Weight(f"web-{number}", weight) for number, weight in weights.items()]
    endpoints = [endpoint(number) for number in weights]
    found = Counter(shared_out(endpoints, weigh(endpoints, rules)))
    total = sum(weights.values())
    expected = {target(n): Fraction(weight, total) for n, weight in weights.items()}
    assert {t: Fraction(n, found.total()) for t, n in found.items()} == expected
    assert all(any(n % divisor for n in found.values()) for divisor in (2, 3, 5, 7))


def test_a_pool_stays_small_and_no_endpoint_loses_its_share() -> None:
    rules = [Weight("web-1", 1), Weight("web-2", 99), Weight("*", 100)]
    endpoints = [endpoint(number) for number in range(1, 1001)]
    found = Counter(shared_out(endpoints, weigh(endpoints, rules)))
    assert found.total() < 11_000
    assert len(found) == 1000
    assert found[target(1)] == 1


def test_weight_zero_gets_nothing_while_others_have_weight() -> None:
    three = [endpoint(number) for number in (1, 2, 3)]
    assert receiving(three, weigh(three, [Weight("web-2", 0)])) == [three[0], three[2]]
    nothing = weigh(three, [Weight("*", 0)])
    assert receiving(three, nothing) == three
    assert shared_out(three, nothing) == (target(1), target(2), target(3))


def chances(made: Tracker) -> dict[str, float]:
    """Return each endpoint's probability by the rules of its KUBE-SVC- chain, in the kernel's
    order.
    """
    ruleset = IptablesRuleset(Family.V4, SETTINGS)
    change = ruleset.update(made.desired(), NODE)
    (portal,) = made.desired()[KEY]
    ends = {names.endpoint_chain(portal, one): str(one.address) for one in portal.used}
    found: dict[str, float] = {}
    left = 1.0
    chain = names.ChainName(names.Table.NAT, names.cluster_chain(portal))
    for rule in change.put[chain]:
        _, _, name = rule.rpartition("-j ")
        if name not in ends or "--rcheck" in rule:
            continue
        odds = re.search(r"--probability (\S+)", rule)
        taken = left * (float(odds[1]) if odds else 1.0)
        found[ends[name]], left = taken, left - taken
    assert left == pytest.approx(0)
    return found


@few
@given(
    st.dictionaries(st.integers(1, 9), st.integers(0, 20), min_size=1), st.sampled_from([None, 60])
)
def test_every_backend_gives_the_same_chances(weights: dict[int, int], affinity) -> None:
    made = served(weights, affinity)
    pool = Counter(str(one.address) for one in made.desired()[KEY][0].cluster)
    expected = {address: n / pool.total() for address, n in pool.items()}
    assert chances(made) == pytest.approx(expected)
    if affinity is None:
        assert in_nftables(made) == in_maps(made) == pool
    else:
        assert drawn(made) == pytest.approx(expected)


def in_nftables(made: Tracker) -> Counter[str]:
    node = FakeNftNode(FakeNft())
    node.apply(made)
    (name,) = (one for one in node.kernel.stores if one.startswith("backends-"))
    slots = node.kernel.stores[name]
    assert name == f"backends-{len(slots)}"
    return Counter(value.partition(" ")[0] for value in slots.values())


def drawn(made: Tracker) -> dict[str, float]:
    """Return the probabilities that nftables' rules give new clients of a Service with affinity."""
    node, left, found = FakeNftNode(FakeNft()), 1.0, {}
    node.apply(made)
    (chain,) = (rules for name, rules in node.kernel.chains.items() if name.startswith("cluster-"))
    for rule in chain:
        if draw := re.fullmatch(r"numgen random mod (\d+) < (\d+) goto (\S+)", rule):
            *_, address = node.kernel.chains[draw[3]][1].split()
            found[address.partition(":")[0]] = left * int(draw[2]) / int(draw[1])
            left *= 1 - int(draw[2]) / int(draw[1])
    return found


def in_maps(made: Tracker) -> Counter[str]:
    maps, claims = FakeMaps(), ClaimResolver(SETTINGS)
    maps.write(MapContents(EbpfOptions()).advance(claims.update(made.desired())))
    return Counter(str(ip_address(value[12:16])) for value in maps.endpoints.values())


def test_a_change_moves_only_the_elements_that_differ() -> None:
    made, node = served({1: 1, 2: 2, 3: 1}), FakeNftNode(FakeNft())
    other = ("ns", "other")
    made.set_service(other, Service(other, (Port("", Protocol.TCP, 80),), (VIP + 1,)))
    made.set_slice(other, Slice(other, {("", Protocol.TCP): (endpoint(1), endpoint(2))}))
    node.apply(made)
    give(made, {1: 2, 2: 1, 3: 1})
    node.apply(made)
    slot = "10.96.0.1 . tcp . 80 . 1"
    assert node.texts[-1].splitlines() == [
        f"delete element ip podwire-proxy backends-4 {{ {slot} : 10.244.0.2 . 80 }}",
        f"add element ip podwire-proxy backends-4 {{ {slot} : 10.244.0.1 . 80 }}",
    ]


def test_equal_weights_are_the_same_as_none() -> None:
    made, node = served({1: 1, 2: 1}), FakeNftNode(FakeNft())
    node.apply(made)
    count = len(node.texts)
    give(made, {1: 50, 2: 50})
    node.apply(made)
    assert len(node.texts) == count
