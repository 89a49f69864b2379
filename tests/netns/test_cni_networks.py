"""A container in several networks at once, as podman has them: each asks for the same ports."""

from __future__ import annotations

import itertools

import pytest

from tests.cni_plugin.runner import Json, Node, Pod

PORTS = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
_subnets = itertools.count(20)


@pytest.fixture
def node(spaces, tmp_path) -> Node:
    return Node(spaces("node"), tmp_path)


@pytest.fixture
def pods(spaces) -> tuple[Pod, Pod]:
    return Pod("one", spaces("one")), Pod("two", spaces("two"))


def network(node: Node, name: str, **options) -> Json:
    subnet = f"10.{next(_subnets)}.0.0/24"
    return node.conf(name=name, bridge=name, ipam=node.ipam(subnet), runtimeConfig=PORTS, **options)


def port_leads_to(node: Node) -> str:
    """The address in the map of mapped ports."""
    for line in node.space.run("nft", "list", "map", "inet", "podwire_cni", "port_4").splitlines():
        if "8080" in line:
            return line.split()[-4]
    return ""


def test_the_first_network_gets_the_ports(node, pods):
    one, two = pods
    blue, red = network(node, "blue"), network(node, "red", isDefaultGateway=False)
    first = node.add(one, blue)
    second = node.add(one, red, ifname="eth1")
    assert port_leads_to(node) == first["ips"][0]["address"].partition("/")[0]
    node.call("CHECK", one, blue | {"prevResult": first}).ok()
    node.call("CHECK", one, red | {"prevResult": second}, ifname="eth1").ok()
    assert node.call("ADD", two, network(node, "green")).document["code"] == 7
    node.delete(one, blue)
    gone = node.call("CHECK", one, red | {"prevResult": second}, ifname="eth1").document
    assert gone["code"] == 101
    node.delete(one, red, ifname="eth1")
    assert "podwire" not in node.space.run("nft", "list", "tables")


def test_a_sibling_that_vanished_is_not_in_the_way(node, pods):
    one, _ = pods
    blue, red = network(node, "blue"), network(node, "red", isDefaultGateway=False)
    first = node.add(one, blue)
    node.space.ip("link", "del", first["interfaces"][1]["name"])
    second = node.add(one, red, ifname="eth1")
    assert port_leads_to(node) == second["ips"][0]["address"].partition("/")[0]
    for conf, ifname in ((blue, "eth0"), (red, "eth1")):
        node.delete(one, conf, ifname=ifname)
    assert "podwire" not in node.space.run("nft", "list", "tables")
