"""Each check over a healthy cluster, and over one with its fault: pure."""

import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from debug.cluster import ClusterState
from debug.doctor.examine import confirmed, examine, exit_code, is_moving
from debug.doctor.show import lines
from debug.doctor.table import ALSO, CHECKS
from debug.drift.find import find
from debug.drift.model import State
from debug.kernel.values import Address, Forwarding, Link, Neighbor, Route, SpaceState
from debug.machine.values import PodFacts, ProxyFacts, TrackedFlow, base_chains
from debug.model import Finding, Level
from debug.snapshot import Snapshot, SpaceSnapshot
from proxy.policy.wire import NetworkPolicy
from tests.support.debug.healthy import (
    DNS,
    DNS_SLICE,
    HEALTHY,
    HOOKS,
    TABLE,
    endpoints,
    node,
    pod,
    ruleset,
    service,
    space,
    with_machine,
    with_node,
    with_objects,
    with_settings,
)
from tests.support.e2e.harness import CHECKOUT

SPACE = space(1)


def chain(hook: str, policy: str = "accept", *rules: list[Any]) -> list[dict[str, Any]]:
    place = {"family": "inet", "table": "other"}
    base = {**place, "name": hook, "hook": hook, "type": "filter", "prio": 0, "policy": policy}
    return [{"chain": base}, *({"rule": {**place, "chain": hook, "expr": one}} for one in rules)]


def to_port(number: int) -> dict[str, Any]:
    left = {"payload": {"protocol": "udp", "field": "dport"}}
    return {"match": {"op": "==", "left": left, "right": number}}


def without_link(name: str, /, **other: Any) -> Snapshot:
    return with_node(
        links=tuple(replace(one, **other) if one.name == name else one for one in SPACE.links)
    )


FAULTS: list[tuple[str, Level, Snapshot]] = [
    (
        "duplicate-node-ip",
        Level.FAIL,
        with_objects(nodes=(node(1), replace(node(2), status=node(1).status))),
    ),
    ("duplicate-node-ip", Level.FAIL, with_node(addresses=SPACE.addresses[1:])),
    (
        "duplicate-pod-cidr",
        Level.FAIL,
        with_objects(nodes=(node(1), node(2, podCIDR="10.244.0.0/16"))),
    ),
    ("mtu-black-hole", Level.FAIL, without_link("eth0", mtu=1400)),
    ("mtu-black-hole", Level.FAIL, without_link("podwire-vxlan", mtu=1500)),
    ("mtu-black-hole", Level.FAIL, without_link("podwire0", mtu=9000)),
    ("forwarding-off", Level.FAIL, with_settings(net__ipv4__ip_forward="0")),
    ("routes", Level.FAIL, with_node(routes=SPACE.routes[:2])),
    (
        "foreign-route",
        Level.FAIL,
        with_node(routes=(*SPACE.routes, Route("10.244.2.128/25", link=2, gateway="172.31.0.9"))),
    ),
    (
        "foreign-route",
        Level.FAIL,
        with_node(routes=(*SPACE.routes, Route("10.244.2.2/32", kind="blackhole"))),
    ),
    ("tunnel", Level.FAIL, with_node(forwarding=())),
    (
        "tunnel",
        Level.FAIL,
        with_node(forwarding=(*SPACE.forwarding, Forwarding(3, "02:00:00:00:00:99", "172.31.0.9"))),
    ),
    ("tunnel", Level.FAIL, with_node(neighbors=())),
    ("tunnel", Level.FAIL, without_link("podwire-vxlan", up=False)),
    (
        "overlay-filtered",
        Level.FAIL,
        with_machine(nft=ruleset(*chain("input", "accept", [to_port(4789), {"drop": None}]))),
    ),
    ("overlay-filtered", Level.FAIL, with_machine(nft=ruleset(*chain("input", "drop")))),
    (
        "strict-rp-filter",
        Level.FAIL,
        with_settings(**{"net__ipv4__conf__podwire-vxlan__rp_filter": "1"}),
    ),
    ("neighbor-overflow", Level.FAIL, with_settings(net__ipv4__neigh__default__gc_thresh3="0")),
    (
        "ipv6-dad",
        Level.WARN,
        with_node(addresses=(*SPACE.addresses, Address(4, "fd00::1/64", tentative=True))),
    ),
    (
        "ipv6-dad",
        Level.FAIL,
        with_node(addresses=(*SPACE.addresses, Address(4, "fd00::1/64", duplicate=True))),
    ),
]

FLOWS = (TrackedFlow("10.96.0.7:53", "10.244.9.9:53"),)
UDP = {
    "services": (service(ports=[{"port": 53, "protocol": "UDP"}]),),
    "slices": (endpoints("10.244.1.2", port=53, protocol="UDP"),),
}
REFUSING = "*filter\n:KUBE-REFUSE - [0:0]\n-A KUBE-REFUSE -d 10.96.0.7/32 -j REJECT\nCOMMIT\n"
BALANCING = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n"
SAVED = "*nat\n:PREROUTING ACCEPT [0:0]\n{}\nCOMMIT\n*filter\n:FORWARD {} [0:0]\n{}\nCOMMIT\n"
MASQUERADE = chain("postrouting", "accept", [{"masquerade": None}])
MASQUERADE[0]["chain"]["type"] = "nat"
FAULTS += [
    (
        "duplicate-node-ip",
        Level.FAIL,
        with_node(addresses=(*SPACE.addresses, Address(4, "172.31.0.2/32"))),
    ),
    ("duplicate-pod-ip", Level.FAIL, with_objects(pods=(pod("a", 1), pod("b", 1)))),
    ("duplicate-mac", Level.FAIL, without_link("eth0", mac="02:00:00:00:00:02")),
    ("pod-range", Level.FAIL, with_objects(pods=(pod("web-1", 1, status=pod("x", 2).status),))),
    ("pod-link", Level.FAIL, without_link("pw1", up=False)),
    ("pod-link", Level.FAIL, without_link("pw1", name="other")),
    ("pod-link", Level.FAIL, without_link("pw1", master=0)),
    ("hairpin-off", Level.FAIL, without_link("pw1", hairpin=False)),
    ("forward-drop", Level.FAIL, with_machine(nft=ruleset(*chain("forward", "drop")))),
    ("forward-drop", Level.FAIL, with_machine(iptables={"legacy 4": SAVED.format("", "DROP", "")})),
    (
        "forward-drop",
        Level.FAIL,
        with_machine(
            iptables={"nft 4": SAVED.format("", "DROP", "-A FORWARD -i docker0 -j ACCEPT")}
        ),
    ),
    ("bridge-filter-off", Level.FAIL, with_machine(filtered={"podwire0": False})),
    ("proxy-hung", Level.WARN, with_machine(proxy=None)),
    ("rules-wiped", Level.FAIL, with_machine(nft=ruleset())),
    ("rules-wiped", Level.FAIL, with_machine(proxy=ProxyFacts("iptables"))),
    (  # iptables -t nat -F: the other family's rules are there
        "rules-wiped",
        Level.FAIL,
        with_machine(
            proxy=ProxyFacts("iptables"), iptables={"nft 4": REFUSING, "nft 6": BALANCING}
        ),
    ),
    (
        "iptables-mixed",
        Level.WARN,
        with_machine(
            iptables=dict.fromkeys(
                ("nft 4", "legacy 4"), SAVED.format("", "ACCEPT", "-A FORWARD -j LOG")
            )
        ),
    ),
    ("over-masquerade", Level.FAIL, with_machine(nft=ruleset(*MASQUERADE))),
    (
        "over-masquerade",
        Level.FAIL,
        with_machine(
            iptables={
                "nft 4": SAVED.format("-A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE", "ACCEPT", "")
            }
        ),
    ),
    (
        "over-masquerade",
        Level.FAIL,
        with_machine(proxy=ProxyFacts("nftables", {"clusterCIDR": "10.9.0.0/16"})),
    ),
    (
        "stale-endpoint",
        Level.FAIL,
        with_machine(
            iptables={
                "nft 4": SAVED.format(
                    "-A KUBE-SEP-X -p tcp -j DNAT --to-destination 10.244.1.9:80", "ACCEPT", ""
                )
            }
        ),
    ),
    (
        "stale-udp",
        Level.FAIL,
        replace(with_objects(**UDP), machines=with_machine(flows=FLOWS).machines),
    ),
    ("conntrack-full", Level.WARN, with_settings(net__netfilter__nf_conntrack_count="800")),
    ("conntrack-full", Level.FAIL, with_settings(net__netfilter__nf_conntrack_count="990")),
    (
        "conntrack-invalid",
        Level.WARN,
        with_settings(net__netfilter__nf_conntrack_tcp_be_liberal="0"),
    ),
    ("snat-race", Level.WARN, with_machine(statistics={"nf_conntrack/insert_failed": 500})),
    (
        "nodeport-loopback",
        Level.WARN,
        replace(
            with_settings(net__ipv4__conf__all__route_localnet="0"),
            cluster=with_objects(
                services=(service(ports=[{"port": 80, "nodePort": 30080}]),)
            ).cluster,
            machines=with_machine(
                proxy=ProxyFacts("nftables", {"iptables": {"localhostNodePorts": True}})
            ).machines,
        ),
    ),
    ("service-endpoints", Level.WARN, with_objects(slices=(DNS_SLICE, endpoints()))),
    (
        "wrong-selector",
        Level.WARN,
        with_objects(services=(service(selector={"app": "none"}),), slices=()),
    ),
    (
        "wrong-target-port",
        Level.FAIL,
        with_objects(services=(service(ports=[{"port": 80, "targetPort": "http"}]),)),
    ),
    ("dns-down", Level.FAIL, with_objects(slices=(endpoints("10.244.1.2", "10.244.2.2"),))),
    ("ipam-leak", Level.WARN, with_machine(attachments=())),
]


def test_kube_proxys_nftables_needs_no_drop_where_the_kernel_knows_late_segments() -> None:
    strict = with_settings(net__netfilter__nf_conntrack_tcp_be_liberal="0")
    own = {"family": "ip", "name": "kube-proxy"}
    for kernel, level in (("6.1.0-9", Level.OK), ("5.15.0", Level.WARN), ("", Level.WARN)):
        seen = with_machine(nft=ruleset({"table": own}), kernel=kernel).machines
        found = examine(replace(strict, machines=seen), "node1", ["conntrack-invalid"])
        assert [one.level for one in found] == [level], kernel


def test_a_link_local_address_may_be_tentative() -> None:
    """Each Pod's link has one for a second or two; another host's address is a fault at once."""
    for ip, failed, level in (
        ("fe80::1/64", False, Level.OK),
        ("fe80::1/64", True, Level.FAIL),
        ("2001:db8::1/64", False, Level.WARN),
    ):
        seen = with_node(addresses=(Address(2, ip, tentative=True, duplicate=failed),))
        found = [one.level for one in examine(seen, "node1", ["ipv6-dad"])]
        assert found == [level], ip


def in_pod(*rules: list[Any], listening: tuple[str, ...] = ("TCP 8080",), **spec: Any) -> Snapshot:
    """The cluster, with rules at input and listeners in the Pod of node1."""
    objects = json.loads(ruleset(*chain("input", "accept", *rules)))["nftables"]
    chains = tuple(base_chains(next(iter(one.items())) for one in objects))
    facts = PodFacts("default/web-1", chains, listening)
    return replace(
        with_machine(pods=(facts,)), cluster=with_objects(services=(service(**spec), DNS)).cluster
    )


def policy(**spec: Any) -> NetworkPolicy:
    meta = {"name": "p", "namespace": "default"}
    return NetworkPolicy.read({"metadata": meta, "spec": {"podSelector": {}, **spec}})


WEB = {
    "match": {
        "op": "==",
        "left": {"payload": {"protocol": "tcp", "field": "dport"}},
        "right": {"set": [8080]},
    }
}
GATEWAY = {
    "match": {
        "op": "==",
        "left": {"payload": {"protocol": "ip", "field": "saddr"}},
        "right": "10.244.1.1",
    }
}
SWITCH = SpaceSnapshot("switch", SpaceState(links=(Link(7, "p1", "veth", mtu=1300, peer=2),)))
WIRED = replace(SPACE.links[1], peer=7)
FAULTS += [
    ("forwarding-off", Level.FAIL, with_settings(net__ipv4__conf__podwire0__forwarding="0")),
    (
        "mtu-black-hole",
        Level.FAIL,
        (wired := with_node(links=(WIRED, *SPACE.links[2:])))
        and replace(wired, spaces=(*wired.spaces, SWITCH)),
    ),
    (
        "duplicate-pod-cidr",
        Level.FAIL,
        with_node(routes=(*SPACE.routes, Route("10.244.2.0/25", link=4))),
    ),
    (
        "wrong-neighbor",
        Level.FAIL,
        with_node(neighbors=(*SPACE.neighbors, Neighbor(2, "172.31.0.2", "permanent", "02::99"))),
    ),
    ("wrong-target-port", Level.FAIL, in_pod(listening=("TCP 81",))),
    ("pod-filter", Level.FAIL, in_pod([WEB, {"drop": None}])),
    ("probe-blocked", Level.FAIL, in_pod([GATEWAY, WEB, {"drop": None}])),
    ("dead-affinity", Level.FAIL, in_pod([WEB, {"drop": None}], sessionAffinity="ClientIP")),
    (
        "dns-down",
        Level.FAIL,
        with_machine(
            nft=ruleset(*HOOKS, *chain("prerouting", "accept", [to_port(53), {"drop": None}]))
        ),
    ),
    (
        "local-policy",
        Level.WARN,
        replace(
            with_objects(slices=(DNS_SLICE, endpoints("10.244.2.2"))),
            cluster=replace(
                with_objects(slices=(DNS_SLICE, endpoints("10.244.2.2"))).cluster or ClusterState(),
                services=(service(internalTrafficPolicy="Local"), DNS),
            ),
        ),
    ),
    ("policy-denies", Level.WARN, with_objects(policies=(policy(policyTypes=["Ingress"]),))),
    (
        "policy-no-dns",
        Level.WARN,
        with_objects(
            policies=(policy(egress=[{"ports": [{"protocol": "TCP"}]}], policyTypes=["Egress"]),)
        ),
    ),
]


def test_a_healthy_cluster_is_well() -> None:
    findings = examine(HEALTHY)
    assert {(one.check, one.summary) for one in findings if one.level is not Level.OK} == set()
    assert {one.check for one in findings} >= set(CHECKS)
    assert exit_code(findings) == 0


@pytest.mark.parametrize(("check", "level", "snapshot"), FAULTS, ids=[one[0] for one in FAULTS])
def test_a_fault_is_named(check: str, level: Level, snapshot: Snapshot) -> None:
    findings = [one for one in examine(snapshot) if one.level in (Level.WARN, Level.FAIL)]
    named = [one for one in findings if one.check == check]
    assert named, findings
    assert {one.level for one in named} == {level}
    assert [one for one in examine(snapshot, only=[check]) if one in named] == named
    for one in named:
        assert one.evidence and one.cause and one.consequence and one.fix and one.about
        assert one.link == f"docs/debug/doctor.md#{check}"
    assert exit_code(findings) == (2 if level is Level.FAIL else 1)


def test_one_nodes_findings_are_of_that_node() -> None:
    found = examine(with_node(routes=SPACE.routes[:2]), "node2")
    assert {one.node for one in found} == {"node2", ""}
    assert exit_code(found) == 0


def test_what_was_not_read_is_unknown() -> None:
    found = examine(replace(HEALTHY, cluster=None, machines=()))
    assert {one.level for one in found} <= {Level.OK, Level.UNKNOWN}
    assert any(one.check == "routes" and one.level is Level.UNKNOWN for one in found)


def test_a_machine_that_is_no_node_is_unknown_and_not_well() -> None:
    """As with --here where the Node has another name than the host: no check looks at anything."""
    snapshot = replace(HEALTHY, spaces=(replace(HEALTHY.spaces[0], node="web.example.com"),))
    (found,) = (one for one in examine(snapshot) if one.level is Level.UNKNOWN)
    assert found.summary.endswith("the name of a machine that was read: web.example.com")
    (drift,) = find(snapshot)
    assert (drift.state, drift.what) == (State.UNKNOWN, found.summary)


def test_a_rule_of_a_strange_shape_stops_no_other_check() -> None:
    chain = {"chain": {**TABLE, "name": "x", "hook": "forward", "type": "filter", "policy": "drop"}}
    rule = {"rule": {**TABLE, "chain": "x", "expr": [{"match": 3}, {"drop": None}]}}
    found = examine(with_machine(nft=ruleset(chain, rule)))
    assert any("a defect of podwire" in line for one in found for line in one.evidence)
    assert {one.check for one in found} >= set(CHECKS)


def test_what_is_on_its_way_into_a_kernel_is_no_fault() -> None:
    """During a rollout rules have endpoints that the objects, read before, do not have yet."""
    first, again = (
        Finding("stale-endpoint", Level.FAIL, "", "node1", f"endpoint 10.244.1.{number}")
        for number in (2, 3)
    )
    other = Finding("routes", Level.FAIL, "", "node1", "route")
    assert is_moving([first]) and not is_moving([other])
    assert confirmed([first], [first, again, other]) == (first, other)


def test_findings_are_told_with_their_evidence() -> None:
    text = "\n".join(lines(examine(with_settings(net__ipv4__ip_forward="0"))))
    for part in (
        "✗ fail",
        "forwarding-off on node1",
        "read: ",
        "fix: sysctl -w net.ipv4.ip_forward=1",
    ):
        assert part in text
    assert "✓ ok: duplicate-node-ip" in text


def test_findings_are_json() -> None:
    found = json.loads(msgspec.json.encode(examine(with_settings(net__ipv4__ip_forward="0"))))
    assert {"check": "forwarding-off", "level": "fail", "node": "node1"}.items() <= next(
        one.items() for one in found if one["level"] == "fail"
    )


def test_every_fault_is_explained() -> None:
    page = (CHECKOUT / "docs/debug/doctor.md").read_text()
    assert [name for name in (*CHECKS, *ALSO) if f'<a id="{name}"></a>' not in page] == []


def dual(**parts: Any) -> Snapshot:
    """The cluster with IPv6 beside IPv4, and other parts of node1's namespace."""
    nodes = tuple(
        node(number, podCIDRs=[f"10.244.{number}.0/24", f"fd00:244:{number}::/64"])
        for number in (1, 2)
    )
    return replace(with_node(**parts), cluster=with_objects(nodes=nodes).cluster)


def test_each_family_has_its_own_neighbor_table() -> None:
    many = tuple(Neighbor(2, f"fd00::{one:x}", "stale", "02::1") for one in range(1, 1020))
    limits = {f"net/{one}/neigh/default/gc_thresh3": "1024" for one in ("ipv4", "ipv6")}
    shown = dual(neighbors=many, sysctls={**SPACE.sysctls, **limits})
    found = examine(shown, "node1", ["neighbor-overflow"])
    assert [(one.level, "IPv6" in one.summary) for one in found] == [
        (Level.OK, False),
        (Level.WARN, True),
    ]


def test_a_link_that_is_too_short_for_ipv6_has_none() -> None:
    links = tuple(replace(one, mtu=1200) if one.name == "podwire0" else one for one in SPACE.links)
    assert [one.level for one in examine(dual(), "node1", ["ipv6-disabled"])] == [Level.OK]
    (found,) = examine(dual(links=links), "node1", ["ipv6-disabled"])
    assert (found.level, found.about) == (Level.FAIL, "link podwire0")
    assert "1200, less than 1280" in found.summary
