"""A container in several networks that all have its port mappings, as with podman."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cni.runner import Json
from tests.support.cni.site import (
    BACKENDS,
    HOST,
    HOST6,
    Site,
    Spaces,
    ask,
    listening,
    mapped,
    on_path,
    served_site,
    traces,
)

PORTS = mapped("8080-80/tcp", f"{HOST}-8081-80/tcp", "5353-53/udp")
SUBNETS = {"blue": "10.20.0.0/24", "red": "10.21.0.0/24", "green": "10.22.0.0/24"}
BLUE, RED = "one ::ffff:10.20.0.1", "one ::ffff:10.21.0.1"


@pytest.fixture(scope="module", params=BACKENDS)
def site(
    request: pytest.FixtureRequest, spaces: Spaces, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with on_path(request.param, tmp_path_factory.mktemp("bin")) as backend:
        files = tmp_path_factory.mktemp("node")
        # the source is the bridge's address: it shows the network of a connection
        options: Json = {"masqAll": True, "isDefaultGateway": False, "isGateway": True}
        with served_site(spaces, files, backend=backend, **options) as made:
            yield made


@pytest.fixture(autouse=True)
def nothing_is_left(site: Site) -> Iterator[None]:
    yield
    assert traces(site.node.space) == ""


def network(site: Site, name: str, **options: Any) -> Json:
    base = {"name": name, "bridge": name, "runtimeConfig": PORTS}
    return site.conf(**base | {"ipam": site.node.ipam(SUBNETS[name])} | options)


def chained(site: Site, name: str) -> Json:
    return network(site, name, mode="chained", bridge=None, ipam={"dataDir": str(site.node.data)})


def answers(site: Site) -> set[str]:
    found = {ask(site.outside, HOST, port) for port in (8080, 8081)}
    # the same source port each time, so it is one flow
    return found | {ask(site.outside, HOST, 5353, "udp", 40000)}


def test_the_second_network_inherits_the_ports_of_the_first(site):
    node, one = site.node, site.pod()
    blue, red = network(site, "blue"), network(site, "red")
    first = node.add(one, blue)
    second = node.add(one, red, ifname="eth1")
    with listening(one.space, "one"), listening(one.space, "one", 53, "udp"):
        assert answers(site) == {BLUE}
        node.call("CHECK", one, blue | {"prevResult": first}).ok()
        node.call("CHECK", one, red | {"prevResult": second}, ifname="eth1").ok()
        assert node.call("ADD", site.pod(), network(site, "green")).document["code"] == 7
        node.delete(one, blue)
        assert answers(site) == {RED}
        node.call("CHECK", one, red | {"prevResult": second}, ifname="eth1").ok()
        assert node.call("ADD", site.pod(), network(site, "green")).document["code"] == 7
        # and back, as after podman network connect
        node.add(one, blue)
        assert answers(site) == {RED}
        node.delete(one, red, ifname="eth1")
        assert answers(site) == {BLUE}
    node.delete(one, blue)


def test_deleting_the_second_network_keeps_the_ports(site):
    node, one = site.node, site.pod()
    blue, red = network(site, "blue"), network(site, "red")
    node.add(one, blue)
    node.add(one, red, ifname="eth1")
    node.delete(one, red, ifname="eth1")
    with listening(one.space, "one"), listening(one.space, "one", 53, "udp"):
        assert answers(site) == {BLUE}
    node.delete(one, blue)


def test_a_lost_attachment_of_the_container_blocks_nothing(site):
    node, one = site.node, site.pod()
    blue, red = network(site, "blue"), network(site, "red")
    first = node.add(one, blue)
    node.space.ip("link", "del", first["interfaces"][1]["name"])
    node.add(one, red, ifname="eth1")
    with listening(one.space, "one"), listening(one.space, "one", 53, "udp"):
        assert answers(site) == {RED}
        for conf, ifname in ((blue, "eth0"), (red, "eth1")):
            node.delete(one, conf, ifname=ifname)


def test_gc_passes_the_ports_to_the_other_network(site):
    node, one, other = site.node, site.pod(), site.pod()
    blue, red = network(site, "blue"), network(site, "red")
    node.add(one, blue)
    node.add(one, red, ifname="eth1")
    node.execute(blue | {"cni.dev/valid-attachments": []}, command="GC").ok()
    with listening(one.space, "one"), listening(one.space, "one", 53, "udp"):
        assert answers(site) == {RED}
    # the second attachment is lost too: the port is free
    node.space.ip("link", "del", node.host_link(one, "eth1"))
    node.add(other, blue)
    for pod, conf, ifname in ((one, red, "eth1"), (other, blue, "eth0")):
        node.delete(pod, conf, ifname=ifname)


def test_chained_in_two_networks(site):
    """Behind reference plugins only the firewall rules show the container of an attachment."""
    node, one = site.node, site.pod()
    wired = [("blue", "eth0"), ("red", "eth1")]
    for name, ifname in wired:
        result = node.add(one, network(site, name, runtimeConfig=None), ifname=ifname)
        behind = chained(site, name) | {"prevResult": result}
        node.add(one, behind, ifname=ifname)
        node.call("CHECK", one, behind, ifname=ifname).ok()
    assert node.call("ADD", site.pod(), network(site, "green")).document["code"] == 7
    with listening(one.space, "one"), listening(one.space, "one", 53, "udp"):
        assert answers(site) == {BLUE}
        valid = [{"containerID": one.container_id, "ifname": "eth0"}]
        collected = network(site, "blue") | {"cni.dev/valid-attachments": valid}
        node.execute(collected, command="GC").ok()
        assert answers(site) == {BLUE}
        node.delete(one, chained(site, "blue"))
        assert answers(site) == {RED}
    node.delete(one, chained(site, "red"), ifname="eth1")
    for name, ifname in wired:
        node.delete(one, network(site, name, runtimeConfig=None), ifname=ifname)


def test_a_second_default_route_takes_over_when_the_first_is_deleted(site):
    """After the deletion of either network the container still reaches the outside."""
    node, one = site.node, site.pod()
    confs = {
        name: network(
            site,
            name,
            isDefaultGateway=True,
            ipam=node.ipam(SUBNETS[name], f"fd00:{name[0].encode().hex()}::/64"),
        )
        for name in SUBNETS
    }
    names = {"blue": "eth0", "red": "eth1", "green": "eth2"}
    results = {name: node.add(one, confs[name], ifname=names[name]) for name in names}
    with listening(one.space, "one"):
        for gone, left in (("red", BLUE), ("blue", "one ::ffff:10.22.0.1")):
            for name in list(results):
                asked = confs[name] | {"prevResult": results[name]}
                node.call("CHECK", one, asked, ifname=names[name]).ok()
            node.delete(one, confs[gone], ifname=names[gone])
            del results[gone]
            assert ask(site.outside, HOST, 8080) == left
            assert one.reaches(HOST)
            assert one.reaches(HOST6)
    node.delete(one, confs["green"], ifname="eth2")
