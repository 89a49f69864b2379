"""The order of addresses: each is allocated once, the gateway never."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugin.spec.errors import InvalidConfigurationError
from cni_plugin.spec.ranges import assign, candidates, check_sets, make_range, range_of

FOUR = make_range(ip_network("10.0.0.0/29"))
SIX = make_range(ip_network("fd00::/125"))


def test_defaults_are_those_of_host_local():
    assert (str(FOUR.start), str(FOUR.end), str(FOUR.gateway)) == (
        "10.0.0.1",
        "10.0.0.6",
        "10.0.0.1",
    )
    assert str(SIX.end) == "fd00::7"  # IPv6 has no broadcast address


def test_the_search_begins_after_the_last_address():
    order = [str(item) for item in candidates((FOUR,), ip_address("10.0.0.4"))]
    assert order == ["10.0.0.5", "10.0.0.6", "10.0.0.2", "10.0.0.3", "10.0.0.4"]


def test_a_last_address_of_another_range_is_ignored():
    assert str(next(candidates((FOUR,), ip_address("192.0.2.1")))) == "10.0.0.2"


networks = st.builds(
    lambda value, length: ip_network(f"10.{value}.0.0/{length}", strict=False),
    st.integers(0, 255),
    st.integers(22, 30),
) | st.builds(
    lambda value, length: ip_network(f"fd00:{value:x}::/{length}", strict=False),
    st.integers(0, 0xFFFF),
    st.integers(120, 126),
)


@given(st.data(), st.lists(networks, min_size=1, max_size=3, unique_by=lambda net: net[0]))
def test_every_address_once_and_never_a_gateway(data, subnets):
    ranges = tuple(make_range(subnet) for subnet in subnets)
    try:
        check_sets([(item,) for item in ranges])
    except InvalidConfigurationError:
        return  # the subnets overlap
    everything = list(candidates(ranges, None))
    last = data.draw(st.none() | st.sampled_from(everything))
    order = list(candidates(ranges, last))
    assert len(order) == len(set(order))
    assert set(order) == set(everything)
    assert not {item.gateway for item in ranges} & set(order)
    if last is not None:
        assert order[-1] == last


@pytest.mark.parametrize(
    "wrong",
    [
        {"subnet": "10.0.0.0/31"},
        {"subnet": "10.0.0.0/24", "start": "10.0.1.1"},
        {"subnet": "10.0.0.0/24", "end": "10.0.1.1"},
        {"subnet": "10.0.0.0/24", "start": "10.0.0.9", "end": "10.0.0.8"},
        {"subnet": "10.0.0.0/24", "start": "fd00::1"},
    ],
)
def test_invalid_ranges(wrong):
    rest = {name: ip_address(text) for name, text in wrong.items() if name != "subnet"}
    with pytest.raises(InvalidConfigurationError):
        make_range(ip_network(wrong["subnet"]), **rest)


def test_sets_must_not_overlap_or_mix_families():
    with pytest.raises(InvalidConfigurationError, match="overlap"):
        check_sets([(FOUR,), (make_range(ip_network("10.0.0.0/28")),)])
    with pytest.raises(InvalidConfigurationError, match="mixes"):
        check_sets([(FOUR, SIX)])
    with pytest.raises(InvalidConfigurationError, match="no ranges"):
        check_sets([()])


def test_requested_addresses_find_their_sets():
    asked = [ip_address("fd00::5"), ip_address("10.0.0.3")]
    assert assign(asked, [(FOUR,), (SIX,)]) == {0: asked[1], 1: asked[0]}


@pytest.mark.parametrize("address", ["10.0.0.1", "10.0.0.7", "192.0.2.1"])
def test_addresses_that_no_set_can_allocate(address):
    with pytest.raises(InvalidConfigurationError):
        assign([ip_address(address)], [(FOUR,)])


def test_range_of():
    assert range_of(ip_address("fd00::3"), (FOUR, SIX)) is SIX
