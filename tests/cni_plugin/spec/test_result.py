"""Results survive a round trip in every version that has a place for them."""

from ipaddress import ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni_plugin.spec.errors import CniError
from cni_plugin.spec.result import Dns, Interface, IPConfig, Result, Route, parse, render
from cni_plugin.spec.versions import SUPPORTED, at_least

RESULT = Result(
    interfaces=(Interface("br", "02:00:00:00:00:01"), Interface("eth0", sandbox="/n", mtu=1400)),
    ips=(
        IPConfig(ip_interface("10.0.0.2/24"), ip_address("10.0.0.1"), 1),
        IPConfig(ip_interface("fd00::2/64"), ip_address("fd00::1"), 1),
    ),
    routes=(
        Route(ip_network("0.0.0.0/0"), ip_address("10.0.0.1")),
        Route(ip_network("fd01::/64"), mtu=1300, table=100),
    ),
    dns=Dns(("10.0.0.53",), "example.org", ("a.example.org",), ("ndots:5",)),
)


def test_legacy_versions_have_one_address_of_each_family():
    document = render(RESULT, "0.2.0")
    assert document["ip4"] == {
        "ip": "10.0.0.2/24",
        "gateway": "10.0.0.1",
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}],
    }
    assert document["ip6"]["routes"] == [{"dst": "fd01::/64"}]
    assert "interfaces" not in document
    two = Result(ips=(RESULT.ips[0], RESULT.ips[0]))
    with pytest.raises(CniError) as raised:
        render(two, "0.1.0")
    assert raised.value.code == 1


@pytest.mark.parametrize("version", SUPPORTED)
def test_addresses_have_their_ip_version_only_before_1_0_0(version):
    document = render(RESULT, version)
    if at_least(version, "0.3.0"):
        assert ("version" in document["ips"][0]) is not at_least(version, "1.0.0")
    assert document["cniVersion"] == version


@pytest.mark.parametrize("version", SUPPORTED)
def test_new_fields_appear_only_in_the_newest_version(version):
    text = str(render(RESULT, version))
    assert ("'mtu'" in text) is (version == "1.1.0")
    assert ("'table'" in text) is (version == "1.1.0")


addresses = st.builds(
    lambda value, length: ip_interface(f"{value}/{length}"),
    st.ip_addresses(v=4),
    st.integers(0, 32),
) | st.builds(
    lambda value, length: ip_interface(f"{value}/{length}"),
    st.ip_addresses(v=6),
    st.integers(0, 128),
)
results = st.builds(
    Result,
    interfaces=st.lists(
        st.builds(Interface, st.text(min_size=1), st.text(), st.text(), st.integers(0, 65535)),
        max_size=3,
    ).map(tuple),
    ips=st.lists(
        st.builds(IPConfig, addresses, st.none() | st.ip_addresses(), st.none() | st.just(0)),
        max_size=3,
    ).map(tuple),
    routes=st.lists(
        st.builds(
            Route,
            addresses.map(lambda item: item.network),
            st.none() | st.ip_addresses(),
            st.none() | st.integers(0, 9000),
        ),
        max_size=3,
    ).map(tuple),
)


@given(results)
def test_the_newest_version_loses_nothing(result):
    assert parse(render(result, "1.1.0"), "1.1.0") == result


@given(results, st.sampled_from(SUPPORTED[2:]))
def test_a_rendered_result_is_parsed_back_unchanged(result, version):
    once = parse(render(result, version), version)
    assert parse(render(once, version), version) == once
    assert once.ips == result.ips
