"""The maps' contents: after any history they have the same meaning as after a fresh start."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

from proxy.backends.ebpf.contents import MapChanges, MapContents
from proxy.backends.ebpf.layout import (
    ForwardEntry,
    pack_address,
    pack_frontend,
    pack_settings,
    pack_targets,
)
from proxy.backends.ebpf.options import EbpfOptions
from proxy.backends.ebpf.room import room_for
from proxy.desired.claims import ClaimResolver, WinnerChange
from proxy.desired.desired import Desired
from proxy.desired.tracker import Tracker
from proxy.model.settings import PodDetector, ProxySettings
from proxy.model.values import Endpoint, Family, Port, Protocol, Service, Slice, Target
from tests.support.proxy.fate import rows
from tests.support.proxy.rulesets import FakeMaps
from tests.support.proxy.strategies import NODE, few, histories, replay
from tests.support.proxy.world import DEFAULT, Case, desired
from tests.support.proxy.world import NODE as NODE_VIEW

RANDOM, MAGLEV = EbpfOptions(), EbpfOptions(by_hash=True)
CASES = [Case(row, number, 4) for number, row in enumerate(rows(4)) if row.settings == "default"]


def follow(history: list[Desired], options: EbpfOptions = RANDOM) -> FakeMaps:
    maps, table, claims = FakeMaps(), MapContents(options), ClaimResolver(DEFAULT)
    for want in history:
        maps.write(table.advance(claims.update(want)))
    return maps


@few
@given(histories, st.sampled_from([RANDOM, MAGLEV, EbpfOptions(by_hash=True, direct=True)]))
def test_any_history_ends_as_a_fresh_start(history, options: EbpfOptions) -> None:
    tracker, states = Tracker(NODE, tuple(Family)), []
    for change in history:
        replay(tracker, [change])
        states.append(tracker.desired())
    grown, fresh = follow(states, options), follow([tracker.desired()], options)
    assert len(grown.seats) == len(fresh.seats)
    assert grown.meaning() == fresh.meaning()
    assert len(grown.endpoints) == len(fresh.endpoints)
    assert len(grown.members) == len(fresh.members)
    assert len(grown.ranges) == len(fresh.ranges)


@few
@given(histories, st.sampled_from([RANDOM, MAGLEV, EbpfOptions(by_hash=True, direct=True)]))
def test_there_is_room_for_all_contents(history, options: EbpfOptions) -> None:
    tracker = Tracker(NODE, tuple(Family))
    replay(tracker, history)
    _check_room(tracker.desired(), options)


@pytest.mark.parametrize("options", [RANDOM, MAGLEV, EbpfOptions(direct=True)])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row.id)
def test_there_is_room_for_each_kind_of_service(case: Case, options: EbpfOptions) -> None:
    _check_room(desired([case]), options)


def _check_room(want: Desired, options: EbpfOptions) -> None:
    room = room_for((portal for ports in want.values() for portal in ports), options)
    made = MapContents(options).advance(ClaimResolver(DEFAULT).update(want))
    for name, entries in asdict(room).items():
        assert len(getattr(made, name)) <= entries, name


@pytest.mark.parametrize("options", [RANDOM, MAGLEV])
def test_an_empty_state_leaves_no_entries(options: EbpfOptions) -> None:
    maps = follow([desired(CASES), Desired()], options)
    assert not maps.seats
    assert not maps.frontends
    assert not maps.endpoints
    assert not maps.members
    assert not maps.ranges


def test_the_same_state_is_no_change() -> None:
    claims, table = ClaimResolver(DEFAULT), MapContents(RANDOM)
    table.advance(claims.update(desired(CASES)))
    assert table.advance(claims.update(desired(CASES))) == MapChanges()


def test_equal_pools_are_one() -> None:
    """A Service's ClusterIP, NodePort and balancer addresses lead to one pool."""
    (case,) = [c for c in CASES if c.row.id == "default - A B C cluster"]
    maps = follow([desired([case])])
    assert len(maps.endpoints) == 3
    assert len(maps.frontends) == 4 * len(Protocol)


def test_only_pods_that_may_be_here_can_call_themselves() -> None:
    here, there, somewhere = (Target.of(ip_address(f"10.244.0.{last}"), 8080) for last in (1, 2, 3))
    ends = (Endpoint(here, local=True), Endpoint(there, elsewhere=True), Endpoint(somewhere))
    key, port = ("ns", "a"), Port("p", Protocol.TCP, 80)
    tracker = Tracker(NODE, tuple(Family))
    tracker.set_service(key, Service(key, (port,), (ip_address("10.96.0.1"),)))
    tracker.set_slice(("ns", "a-x"), Slice(key, {("p", Protocol.TCP): ends}))
    maps = follow([tracker.desired()])
    assert len(maps.endpoints) == 3
    assert maps.callers() == {pack_address(one.address) for one in (here, somewhere)}


def test_sctp_is_left_to_nftables() -> None:
    (case,) = [c for c in CASES if c.row.id == "default - A B C cluster"]
    claims = ClaimResolver(DEFAULT)
    claims.update(desired([case]))
    for frontend, claim in claims.winners():
        (value,) = (
            MapContents(RANDOM).advance([WinnerChange(frontend, None, claim)]).frontends.values()
        )
        by_nftables = value == ForwardEntry(by_nftables=True).pack()
        assert by_nftables is (frontend.protocol is Protocol.SCTP)


def test_source_ranges_are_a_set_by_a_number() -> None:
    (case,) = [c for c in CASES if c.row.id == "default from-pods A B C balancer"]
    ranges = follow([desired([case])]).ranges
    (key,) = ranges  # of the balancer's address by TCP and UDP
    assert key[:4] == (32 + 96 + 16).to_bytes(4, "little")
    assert key[8:] == bytes.fromhex("00000000000000000000ffff0af40000")


def test_an_empty_set_of_ranges_admits_no_client() -> None:
    """An empty set of ranges is a set of its own, and not the absence of ranges."""
    (case,) = [c for c in CASES if c.row.id == "default from-nowhere A B C balancer"]
    maps = follow([desired([case])])
    assert not maps.ranges
    assert sum(value[28:32] != bytes(4) for value in maps.frontends.values()) == 2


DIRECT = EbpfOptions(by_hash=True, direct=True)


@pytest.mark.parametrize(
    ("row", "directly"),
    [
        ("default - A B C balancer", 4),  # and externalIP, by TCP and UDP
        ("default external A B C balancer", 0),
        ("default - A%n1 B%n1 C%n2 cluster", 0),  # other nodes take other endpoints
    ],
)
def test_frontends_with_direct_return(row: str, directly: int) -> None:
    (case,) = [c for c in CASES if c.row.id == row]
    for options, expected in ((DIRECT, directly), (MAGLEV, 0)):
        values = follow([desired([case])], options).frontends.values()
        assert sum(value[36] for value in values) == expected


def test_direct_return_knows_the_local_endpoints() -> None:
    (case,) = [c for c in CASES if c.row.id == "default - A B C balancer"]
    maps = follow([desired([case])], DIRECT)
    for value in maps.frontends.values():
        pool = value[8:12]
        here = {key[16:20] for key in maps.members if key.startswith(pool)}
        expected = {bytes([10, 244, 1, 2]), bytes([10, 244, 1, 3])} if value[36] else set()
        assert here == expected


def test_affinity_belongs_to_the_portal_not_to_the_address() -> None:
    """A client finds its endpoint again at the NodePort too, and after a restart."""
    (case,) = [c for c in CASES if c.row.id == "default - A B C nodeport"]
    tracker = Tracker(NODE_VIEW, tuple(Family))
    tracker.set_service(case.key, replace(case.service(), affinity=60))
    tracker.set_slice(case.key, case.slice())
    portals = {}
    for key, value in follow([tracker.desired()]).frontends.items():
        portals.setdefault(key[18:20], set()).add(value[16:28])
    assert all(len(one) == 1 for one in portals.values())
    tcp, udp = portals[b"\6\0"].pop(), portals[b"\x11\0"].pop()
    assert tcp != udp
    assert tcp[8:] == udp[8:] == (60).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("family", "address", "packed"),
    [
        (Family.V4, "10.0.0.1", "00000000000000000000ffff0a000001"),
        (Family.V4, None, "00000000000000000000ffff00000000"),
        (Family.V6, "fd00::1", "fd000000000000000000000000000001"),
        (Family.V6, None, "00000000000000000000000000000000"),
    ],
)
def test_addresses_are_packed_as_ipv6_sockets_see_them(
    family: Family, address: str | None, packed: str
) -> None:
    where = ip_address(address) if address else None
    key = pack_frontend(family, where, 0x1234, Protocol.TCP)
    assert key == bytes.fromhex(f"{packed}12340600")
    if where:
        assert pack_targets([Target.of(where, 0x1234)]) == [bytes.fromhex(f"{packed}12340000")]


def test_settings() -> None:
    pods = {
        Family.V4: PodDetector(network=ip_network("10.244.0.0/16")),
        Family.V6: PodDetector(interface="veth+"),
    }
    packed = pack_settings(ProxySettings(pods=pods), MAGLEV, node=7)
    assert packed[:16] == bytes([7, 0, 0, 0, 0, 0, 0, 0, 1, 0b01, 0b10, 1, 0, 0, 0, 0])
    assert packed[16:48].hex() == "0" * 20 + "ffff0af40000" + "f" * 28 + "0000"
    assert len(packed) == 80
