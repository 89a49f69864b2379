"""The reasons of STATUS, by the state of the host."""

from dataclasses import replace
from typing import Any

import pytest

from cni_plugin.spec.config import NetConf
from cni_plugin.spec.kernel_state import Link
from cni_plugin.verbs.status import HostState, reasons

ABLE = HostState(True, frozenset({"bridge", "veth"}), frozenset({"nftables"}), None, forwards=True)
BRIDGE = Link(
    index=2,
    name="cni0",
    kind="bridge",
    mac="",
    mtu=1500,
    up=False,
    running=False,
    promiscuous=False,
    master=0,
    peer=0,
    alias="",
)


def why(host: HostState, **options: Any) -> str:
    return "; ".join(
        f"{reason}: {details}" for reason, details in reasons(NetConf(**options), host)
    )


@pytest.mark.parametrize(
    ("host", "options", "said"),
    [
        (replace(ABLE, privileged=False), {}, "CAP_NET_ADMIN"),
        (replace(ABLE, kinds=frozenset({"bridge"})), {}, "CONFIG_VETH"),
        (replace(ABLE, kinds=frozenset({"veth"})), {}, "CONFIG_BRIDGE"),
        (ABLE, {"vlan": 5}, "CONFIG_VLAN_8021Q"),
        (replace(ABLE, bridge=replace(BRIDGE, kind="veth")), {}, "cni0 is no bridge"),
        (replace(ABLE, forwards=False), {"is_gateway": True}, "read-only"),
        (replace(ABLE, forwards=False), {"mode": "ptp"}, "read-only"),
        (replace(ABLE, filters=frozenset()), {"ip_masq": True}, "no nftables nor iptables"),
        (ABLE, {"ip_masq": True, "ip_masq_backend": "iptables"}, "no iptables"),
        (ABLE, {"capabilities": {"portMappings": True}, "backend": "iptables"}, "no iptables"),
    ],
)
def test_status_names_what_add_cannot_repair(host, options, said):
    assert said in why(host, **options)


@pytest.mark.parametrize(
    ("host", "options"),
    [
        (ABLE, {"is_gateway": True, "ip_masq": True, "capabilities": {"portMappings": True}}),
        # ADD brings the bridge up
        (replace(ABLE, bridge=BRIDGE), {}),
        # the configuration needs none of these
        (replace(ABLE, forwards=False, filters=frozenset()), {}),
        (replace(ABLE, kinds=frozenset({"veth"})), {"mode": "ptp"}),
        (replace(ABLE, kinds=frozenset()), {"mode": "chained"}),
    ],
)
def test_status_accepts_what_add_repairs_or_does_not_need(host, options):
    assert why(host, **options) == ""
