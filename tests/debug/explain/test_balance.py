"""What a program does with a flow's first packet that comes in by a link of a node."""

from ipaddress import ip_address, ip_network

import pytest

from debug.explain.balance import begins, entered
from debug.explain.here import Here
from debug.explain.programs import Balanced, _balanced, _of_packet
from debug.places import Place
from debug.ruleset.packet import DNAT, SNAT, State, make
from proxy.backends.ebpf.layout import PodRanges, pack_settings, unpack_settings
from proxy.backends.ebpf.options import EbpfOptions
from proxy.backends.installed import Installed, InstalledKind, even
from proxy.config import pods_of
from proxy.desired.portals import Frontend, Masquerade
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, Protocol, Target

SERVICE = ip_address("10.96.0.1")
RANGES = PodRanges((ip_network("10.244.0.0/16"),), by_interface=False, direct=False)
TARGETS = [Target.of(ip_address(f"10.244.{number}.2"), 8080) for number in (1, 2)]
INSTALLED = Installed(
    Frontend(Family.V4, SERVICE, 80, Protocol.TCP),
    InstalledKind.CLUSTER_IP,
    "default/web:http",
    even(TARGETS),
    masquerade=Masquerade.NOT_PODS,
)
POD, CALLER, STRANGER = "10.244.3.9", "10.244.1.2", "192.0.2.7"


class Elsewhere:
    """A namespace that tracks nothing."""

    place = Place("n1", 1, "/node")
    name = "Node n1"

    def connection(self, *_: object, **__: object) -> None:
        return None


def balanced(source: str, installed: Installed = INSTALLED, ranges: PodRanges = RANGES):
    packet = make(source, str(SERVICE), 6, 40000, 80)
    call = _of_packet(installed, packet, ranges)
    if call is None or call.unknown:
        return call
    return _balanced(call, installed, packet, ranges, lambda _: "10.0.0.1")


def sources(found: Balanced | None) -> list[str | None]:
    assert found
    return [str(source) if source else None for _, source in found.shares]


@pytest.mark.parametrize(
    ("source", "masqueraded"),
    [
        (POD, [None, None]),
        (CALLER, ["10.0.0.1", None]),  # it may call itself
        (STRANGER, ["10.0.0.1", "10.0.0.1"]),
    ],
)
def test_who_is_masqueraded(source: str, masqueraded: list[str | None]) -> None:
    assert sources(balanced(source)) == masqueraded


def test_what_others_rules_may_masquerade_is_left_to_rules() -> None:
    outside = even([Target.of(ip_address("203.0.113.5"), 443)])
    assert balanced(POD, INSTALLED._replace(shares=outside)) is None
    assert balanced(POD, INSTALLED._replace(shares=())) is None
    assert balanced(STRANGER, INSTALLED._replace(sources=(ip_network("10.0.0.0/8"),))) is None


def test_with_direct_server_return_a_strangers_way_is_unknown() -> None:
    direct = RANGES._replace(direct=True)
    found = balanced(STRANGER, ranges=direct)
    assert found
    assert "the endpoint's node" in found.unknown
    assert sources(balanced(POD, ranges=direct)) == [None, None]  # a Pod's is balanced here


def test_the_flow_is_tracked_and_translated_before_any_rule() -> None:
    space = Elsewhere()
    here = Here(space, State(make(STRANGER, str(SERVICE), 6, 40000, 80)))  # type: ignore[arg-type]
    found = balanced(STRANGER)
    assert begins(here)
    assert found
    (first, line), (second, _) = entered(here, found)
    assert (first.weight, second.weight) == (1 / 2, 1 / 2)
    assert line.did == ("destination becomes 10.244.1.2 port 8080", "source becomes 10.0.0.1")
    flow = first.tracked(first.state).flow
    assert flow
    assert flow.translated == SNAT | DNAT
    assert not begins(first)
    assert flow.reply
    assert ip_address(flow.reply.source) == TARGETS[0].address
    assert flow.reply.destination_port == 40000


@pytest.mark.parametrize("cidrs", [("10.244.0.0/16",), ("10.244.0.0/16", "fd00::/56")])
def test_ranges_of_pods_are_read_as_they_were_written(cidrs: tuple[str, ...]) -> None:
    networks = tuple(map(ip_network, cidrs))
    packed = pack_settings(ProxySettings(pods=pods_of(networks)), EbpfOptions(), 7)
    assert unpack_settings(packed) == PodRanges(networks, by_interface=False, direct=False)
