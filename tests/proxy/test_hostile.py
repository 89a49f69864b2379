"""Hostile text in any string of an object: rules stay whole and ours, and other Services work."""

import re
from ipaddress import ip_address
from typing import Any

import pytest

from control.api import kinds
from control.api.kinds import Kind
from control.api.wire import UnreadableError, decode, encode
from control.client.stream import read_object
from proxy.backends.ebpf.contents import MapContents
from proxy.backends.ebpf.options import EbpfOptions
from proxy.desired.claims import ClaimResolver, WinnerChange
from proxy.desired.fate import Evaluator, Packet, Verdict
from proxy.desired.tracker import Tracker
from proxy.model.values import Family, NodeView, Target
from proxy.objects.feed import ObjectReader
from proxy.objects.wire import ENDPOINT_SLICE, SERVICE
from tests.support.proxy.fake_iptables import BUILTIN, FakeIptables
from tests.support.proxy.fake_nft import FakeNft
from tests.support.proxy.hostile import EVIL, GOOD_POD, GOOD_VIP, good, mangled, pairs
from tests.support.proxy.rulesets import FakeNftNode, start_iptables
from tests.support.proxy.strategies import NODE, SETTINGS

FOREIGN = b"*filter\n:MINE - [0:0]\n-A INPUT -j MINE\n-A MINE -j ACCEPT\nCOMMIT\n"


def tracked(*objects) -> tuple[Tracker, int]:
    """Return the tracker of pairs of wire objects, and how many objects could not be parsed."""
    tracker, read, lost = Tracker(NodeView("n1", "z1"), tuple(Family)), ObjectReader("n1", ""), 0
    for web, behind in objects:
        try:
            kept = read.service(read_object(SERVICE, web))
            tracker.set_service(kept.key, kept.value)
        except UnreadableError:
            lost += 1
        try:
            part = read.slice(read_object(ENDPOINT_SLICE, behind))
            tracker.set_slice(part.key, part.value)
        except UnreadableError:
            lost += 1
    return tracker, lost


@pytest.fixture(scope="module", params=EVIL, ids=lambda evil: repr(evil)[:20])
def tracker(request) -> Tracker:
    """Return a tracker with all hostile objects and one good Service."""
    made, lost = tracked(good(), *pairs(request.param))
    assert lost < 6, "models refuse what is no string where one belongs, and little else"
    return made


def test_other_services_are_served(tracker: Tracker) -> None:
    evaluator = Evaluator(tracker.desired(), NODE, SETTINGS)
    packet = Packet(ip_address("10.244.1.9"), ip_address(GOOD_VIP), 80)
    fate = evaluator.fate(packet)
    assert fate.verdict is Verdict.FORWARD
    assert fate.targets == {Target.of(ip_address(GOOD_POD), 8080)}
    assert len(tracker.desired()) > 60


@pytest.mark.parametrize("family", Family)
def test_iptables_is_whole_and_touches_nothing_else(tracker: Tracker, family: Family) -> None:
    kernel = FakeIptables()
    kernel.restore(FOREIGN)
    start_iptables(kernel, family, tracker.desired(), chunk=20)
    for table, chains in kernel.tables.items():
        for chain, rules in chains.items():
            assert chain in (*BUILTIN[table], "MINE") or re.fullmatch(r"KUBE-[A-Z2-7-]+", chain)
            if chain in BUILTIN[table]:
                assert all("-j KUBE-" in rule or rule == "-j MINE" for rule in rules)
            assert chain != "MINE" or rules == ["-j ACCEPT"]


@pytest.mark.parametrize("family", Family)
def test_nftables_is_whole(tracker: Tracker, family: Family) -> None:
    kernel = FakeNft()
    node = FakeNftNode(kernel, family)
    node.apply(tracker)
    names = (*kernel.chains, *kernel.stores)
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", name) for name in names)
    table = "ip podwire-proxy" if family is Family.V4 else "ip6 podwire-proxy"
    command = re.compile(rf"(add|flush|delete) (table|map|set|chain|rule|element) {table}( |$)")
    assert all(command.match(line) for line in node.texts[0].splitlines())


def test_maps_hold_entries_of_their_size(tracker: Tracker) -> None:
    claims = ClaimResolver(SETTINGS)
    claims.update(tracker.desired())
    change = MapContents(EbpfOptions()).advance(
        WinnerChange(one, None, claim) for one, claim in claims.winners()
    )
    for entries in (change.endpoints, change.members, change.frontends):
        assert len({len(key) for key in entries}) == 1
        assert len({len(value) for value in entries.values()}) == 1


def test_no_mangled_object_stops_another() -> None:
    """Each mangled object is either refused by the models, or ends in a state."""
    tracker, read, refused = Tracker(NODE, tuple(Family)), ObjectReader("n1", ""), 0
    parse = {"service": (SERVICE, read.service), "slice": (ENDPOINT_SLICE, read.slice)}
    for sort, wire in mangled():
        kind, keep = parse[sort]
        try:
            kept = keep(read_object(kind, decode(encode(wire))))
        except UnreadableError:
            refused += 1
            continue
        if sort == "service":
            tracker.set_service(kept.key, kept.value)
        else:
            tracker.set_slice(kept.key, kept.value)
        claims = ClaimResolver(SETTINGS)
        claims.update(tracker.desired())
        for frontend, claim in claims.winners():
            assert 0 < frontend.port < 65536
            assert all(0 < one.port < 65536 for one in claim.forward.targets)
    assert 0 < refused < 2000


@pytest.mark.parametrize(
    ("sort", "ours", "theirs"),
    [("slice", ENDPOINT_SLICE, kinds.ENDPOINT_SLICE), ("service", SERVICE, kinds.SERVICE)],
    ids=["slice", "service"],
)
def test_objects_are_checked_as_the_api_checks_them(sort: str, ours: Kind, theirs: Kind) -> None:
    """The proxy parses them by types of its own, for speed."""
    wires = [wire for one, wire in mangled() if one == sort]
    taken = [is_taken(ours, wire) for wire in wires]
    assert taken == [is_taken(theirs, wire) for wire in wires]
    assert 0 < sum(taken) < len(taken)


def is_taken(kind: Kind, wire: dict[str, Any]) -> bool:
    try:
        read_object(kind, decode(encode(wire)))
    except UnreadableError:
        return False
    return True
