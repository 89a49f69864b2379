"""What is done before there are addresses is part of what would be done then."""

import json
from ipaddress import ip_interface

from hypothesis import given
from hypothesis import strategies as st

from cni_plugin import ops
from cni_plugin.errors import CniError
from cni_plugin.plan import plan_add, plan_ahead
from cni_plugin.request import parse_request
from cni_plugin.result import IPConfig, Result
from cni_plugin.state import Link, Seen

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
}
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "isGateway": st.booleans(),
        "isDefaultGateway": st.booleans(),
        "hairpinMode": st.booleans(),
        "promiscMode": st.booleans(),
        "portIsolation": st.booleans(),
        "macspoofchk": st.booleans(),
        "disableContainerInterface": st.booleans(),
        "forceAddress": st.booleans(),
        "ipMasq": st.booleans(),
        "enabledad": st.booleans(),
        "mtu": st.sampled_from([0, 1400]),
        "vlan": st.sampled_from([0, 7]),
        "mac": st.sampled_from(["", "02:00:00:00:00:09"]),
        "mode": st.sampled_from(["bridge", "ptp"]),
    },
)
ADDRESSES = st.lists(st.sampled_from(["10.1.0.5/24", "fd00:1::5/64"]), unique=True, max_size=2).map(
    lambda texts: tuple(IPConfig(ip_interface(text)) for text in texts)
)


def bridge(**changes):
    made = {
        "index": 5, "name": "cni0", "kind": "bridge", "mac": "02:00:00:00:00:01", "mtu": 1450,
        "up": True, "running": True, "promiscuous": False, "master": 0, "peer": 0, "alias": "",
    }  # fmt: skip
    return Link(**(made | changes))


BRIDGES = st.one_of(
    st.none(),
    st.builds(bridge, up=st.booleans(), running=st.booleans(), kind=st.sampled_from(["bridge"])),
)


def request_of(options):
    conf = {"cniVersion": "1.0.0", "name": "n", "type": "podwire-cni"} | options
    return parse_request(ENVIRONMENT, json.dumps(conf).encode())


def seen_with(link):
    return Seen(
        bridge=link,
        gateway=link,
        gateway_addresses=(),
        host_taken=False,
        pod_taken=False,
        outside_mtu=1500,
        boot_id="b",
    )


@given(OPTIONS, BRIDGES, ADDRESSES)
def test_what_is_done_ahead_is_in_the_plan_in_that_order(options, link, addresses):
    request, seen = request_of(options), seen_with(link)
    first = plan_ahead(request, seen)
    try:
        plan = plan_add(request, Result(ips=addresses), seen)
    except CniError:
        return
    assert [op for op in plan.ops if op in first] == list(first)


@given(OPTIONS)
def test_the_pair_waits_for_a_bridge_that_has_to_be_made_or_changed(options):
    request = request_of(options)
    assert plan_ahead(request, seen_with(None)) == ()
    assert plan_ahead(request, seen_with(bridge(up=False))) == ()
    assert plan_ahead(request, seen_with(bridge(kind="veth"))) == ()


def test_the_pair_is_made_ahead_where_it_can():
    first = plan_ahead(request_of({"mode": "bridge"}), seen_with(bridge()))
    assert [type(op) for op in first] == [ops.CreateVeth, ops.SetPort]
    assert plan_ahead(request_of({"vlan": 7}), seen_with(bridge())) == ()
