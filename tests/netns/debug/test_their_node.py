"""A node that others have set up, as one whole: explain, trace and doctor, with an API and without.

Pods of Debian's bridge plugin with libcni's cache, rules in the shape of kube-proxy's in each of
its back ends, and no process of podwire's.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from debug.explain.result import Branch, Explanation, ends, every_hop
from tests.support.debug.their_node import NAME, TheirNode
from tests.support.space import Space

MODES = ("nftables", "iptables-nft", "iptables-legacy")
WEB, NONE = "10.96.0.9:80", "10.96.0.10:80"
CHAINS = {
    "nftables": ("services", "service-DK7ABAZC-ns1/web/tcp/http"),
    "iptables-nft": ("KUBE-SERVICES", "KUBE-SVC-4LVCYZMTA5CQO6SX"),
    "iptables-legacy": ("KUBE-SERVICES", "KUBE-SVC-4LVCYZMTA5CQO6SX"),
}
REFUSED = {"nftables": "reject-chain", "iptables-nft": "KUBE-SERVICES"}


@pytest.fixture(scope="module", params=MODES)
def node(
    request: pytest.FixtureRequest,
    spaces: Callable[[str], Space],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TheirNode]:
    made = TheirNode(spaces, tmp_path_factory.mktemp("theirs"), request.param)
    yield made
    made.stop()


@pytest.fixture(params=[True, False], ids=["kubeconfig", "alone"])
def api(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def explain(node: TheirNode, *words: str, api: bool) -> tuple[int, Branch]:
    code, told = node.run("explain", *words, api=api)
    return code, msgspec.convert(told, Explanation).way


def chains(way: Branch) -> list[str]:
    return [rule.chain for hop in every_hop(way) for rule in hop.rules]


def test_a_service_is_explained_with_both_of_its_endpoints(node: TheirNode, api: bool) -> None:
    """The names are those of the API; without one, those of libcni's cache and of comments."""
    code, way = explain(node, "ns1/shop", "service/ns1/web" if api else WEB, api=api)
    assert code == 0
    found = {
        (one.at, one.probability, back.end, back.at)
        for one in ends(way)
        for back in (ends(one.reply) if one.reply else ())
    }
    assert found == {
        (f"Pod ns1/{name}", 0.5, "delivered", "Pod ns1/shop") for name in ("shop", "web")
    }
    assert list(dict.fromkeys(hop.place for hop in every_hop(way)))[:2] == [
        "Pod ns1/shop",
        f"Node {NAME}",
    ]
    assert set(CHAINS[node.mode]) <= set(chains(way))
    packets = {hop.packet for hop in every_hop(way)}
    client, server = f"{node.addresses['shop']}:40000", f"{node.addresses['web']}:8080"
    assert f"tcp {client} (Pod ns1/shop) > {server} (Pod ns1/web)" in packets
    called = f"{WEB} (Service ns1/web)" if api else WEB
    assert f"tcp {client} (Pod ns1/shop) > {called}" in packets


def test_a_service_without_endpoints_is_refused_by_its_rule(node: TheirNode, api: bool) -> None:
    code, way = explain(node, "ns1/shop", "service/ns1/none" if api else NONE, api=api)
    (end,) = ends(way)
    assert (code, end.end, end.at) == (1, "dropped", f"Node {NAME}")
    assert end.why.startswith("rejected: the sender gets an ")
    assert REFUSED.get(node.mode, "KUBE-SERVICES") in end.why


def test_a_node_port_is_called_from_outside(node: TheirNode, api: bool) -> None:
    code, way = explain(node, "outside", "172.30.0.11:30080", api=api)
    assert code == 0
    assert {one.at for one in ends(way)} == {"Pod ns1/shop", "Pod ns1/web"}
    masqueraded = f"tcp 10.244.1.1:any > {node.addresses['web']}:8080 (Pod ns1/web)"
    assert masqueraded in {hop.packet for hop in every_hop(way)}


def rules(told: dict[str, Any]) -> str:
    return json.dumps([hop for one in told["packets"] for hop in one["hops"]])


def test_a_trace_arrives_where_it_was_explained(node: TheirNode, api: bool) -> None:
    code, told = node.run("trace", "ns1/shop", "service/ns1/web" if api else WEB, api=api)
    assert code == 0, told
    probe = told["packets"][0]
    assert (probe["outcome"], probe["where"] in ("Pod ns1/shop", "Pod ns1/web")) == (
        "arrived",
        True,
    )
    assert [hop["place"] for hop in probe["hops"]][:2] == ["Pod ns1/shop", f"Node {NAME}"]
    if node.mode == "iptables-legacy":
        assert told["unseen"] == [
            f"Node {NAME}: iptables-legacy has rules (tables filter, nat), which cannot be traced"
        ]
    else:
        assert "unseen" not in told or not told["unseen"]
        assert "ns1/web" in rules(told)


def test_a_traced_refusal_has_its_rule(node: TheirNode, api: bool) -> None:
    code, told = node.run("trace", "ns1/shop", "service/ns1/none" if api else NONE, api=api)
    assert code == 1
    probe = told["packets"][0]
    assert (probe["outcome"], probe["where"]) == ("dropped", f"Node {NAME}")
    if node.mode != "iptables-legacy":
        assert REFUSED[node.mode] in json.dumps(probe["hops"])


def wrong(node: TheirNode, api: bool) -> dict[str, str]:
    _, told = node.run("doctor", api=api)
    return {one["check"]: one["about"] for one in told if one["level"] in ("warn", "fail")}


def test_doctor_finds_what_is_wrong_and_nothing_else(node: TheirNode, api: bool) -> None:
    """A Service has no endpoint, which only the API tells; then a Pod's link goes down."""
    true = {"service-endpoints": "Service ns1/none"} if api else {}
    assert wrong(node, api) == true
    link = node.links["web"]
    node.space.ip("link", "set", link, "down")
    found = wrong(node, api)
    node.space.ip("link", "set", link, "up")
    assert found == {**true, "pod-link": "Pod ns1/web"}
