"""Port mappings, masquerade and policy: the same packets whoever filters them.

Backends: nftables, and iptables in both of its flavors, as the plain command on the PATH is.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.cni_world import (
    HOST,
    HOST6,
    OUTSIDE,
    OUTSIDE6,
    Spaces,
    World,
    ask,
    listening,
    mapped,
    served_world,
)

BACKENDS = ("nftables", "iptables-nft", "iptables-legacy")


def path_with(folder: Path, flavor: str) -> str:
    """A PATH on which iptables is of a flavor."""
    for command in ("iptables", "ip6tables"):
        for verb in ("", "-save", "-restore"):
            target = shutil.which(f"{command}-{flavor}{verb}", path="/usr/sbin:/sbin")
            assert target, "Debian: iptables"
            (folder / f"{command}{verb}").symlink_to(target)
    return f"{folder}:{os.environ['PATH']}"


@pytest.fixture(scope="module", params=BACKENDS)
def world(
    request: pytest.FixtureRequest, spaces: Spaces, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    backend, _, flavor = request.param.partition("-")
    with pytest.MonkeyPatch.context() as patch:
        if flavor:
            patch.setenv("PATH", path_with(tmp_path_factory.mktemp("bin"), flavor))
        files = tmp_path_factory.mktemp("node")
        with served_world(spaces, files, backend=backend, ipMasqBackend=backend) as made:
            yield made


def traces(world: World) -> str:
    """All that is ours in the packet filter."""
    commands = [["nft", "list", "ruleset"]]
    for name in ("iptables", "ip6tables"):
        commands += [[f"{name}-nft-save"], [f"{name}-legacy-save"]]
    shown = "\n".join(world.node.space.run(*command) for command in commands)
    return "\n".join(line for line in shown.splitlines() if "podwire" in line.lower())


def flush_ports(world: World) -> None:
    """Take the mapped ports away, as a stranger would."""
    if world.options["backend"] == "nftables":
        world.node.space.run("nft", "flush", "map", "inet", "podwire_cni", "port_4")
    else:
        world.node.space.run("iptables", "-t", "nat", "-F", "PODWIRE-tcp-8080")


@pytest.fixture(autouse=True)
def nothing_is_left(world: World) -> Iterator[None]:
    yield
    assert traces(world) == ""
    assert not [name for name in world.node.links() if name.startswith("p") and name != "pw0"]
    assert world.node.reservations() == {}


def test_mapped_ports_lead_to_the_pod_from_everywhere(world):
    node, one, other = world.node, world.pod(), world.pod()
    dual = node.ipam("10.1.0.0/24", "fd00:1::/64")
    conf = world.conf(ipam=dual, runtimeConfig=mapped("8080-80/tcp", "5353-53/udp"))
    result = node.add(one, conf)
    node.add(other, world.conf(ipam=dual))
    own = {item["address"].partition("/")[0] for item in result["ips"]}
    gateways = {item["gateway"] for item in result["ips"]}
    with listening(one.space, "one"), listening(one.space, "one", 53, "udp"):
        # from outside the client's address survives
        assert ask(world.outside, HOST, 8080) == f"one ::ffff:{OUTSIDE}"
        assert ask(world.outside, HOST6, 8080) == f"one {OUTSIDE6}"
        assert ask(world.outside, HOST, 5353, "udp") == f"one ::ffff:{OUTSIDE}"
        # from the host itself, its loopback, a neighbour, and the Pod itself (hairpin)
        assert ask(node.space, HOST, 8080).startswith("one ")
        assert ask(node.space, "127.0.0.1", 8080).startswith("one ")
        for gateway in gateways:
            assert ask(other.space, gateway, 8080).startswith("one ")
            assert ask(one.space, gateway, 8080).startswith("one ")
        assert ask(other.space, HOST, 5353, "udp").startswith("one ")
    assert own
    node.call("CHECK", one, conf | {"prevResult": result}).ok()
    flush_ports(world)
    assert node.call("CHECK", one, conf | {"prevResult": result}).document["code"] == 101
    node.delete(one, conf)
    assert ask(world.outside, HOST, 8080).startswith("error")
    node.delete(other, world.conf(ipam=dual))


def test_a_mapping_for_one_host_address(world):
    node, one = world.node, world.pod()
    conf = world.conf(runtimeConfig=mapped(f"{HOST}-8081-80/tcp"))
    node.add(one, conf)
    with listening(one.space, "one"):
        assert ask(world.outside, HOST, 8081).startswith("one")
        assert ask(node.space, "127.0.0.1", 8081).startswith("error")
    node.delete(one, conf)


def test_a_taken_port_is_refused_and_a_vanished_holder_is_not_in_the_way(world):
    node, one, other = world.node, world.pod(), world.pod()
    conf = world.conf(runtimeConfig=mapped("8080-80/tcp"))
    first = node.add(one, conf)
    refused = node.call("ADD", other, conf)
    assert refused.document["code"] == 7
    assert "8080" in refused.document["msg"]
    assert len(node.reservations()) == 1
    # as after a crash of everything: the link is gone, the rules are not
    node.space.ip("link", "del", first["interfaces"][1]["name"])
    node.add(other, conf)
    with listening(other.space, "other"):
        assert ask(world.outside, HOST, 8080).startswith("other")
    node.delete(one, conf)
    with listening(other.space, "other"):
        assert ask(world.outside, HOST, 8080).startswith("other")
    node.delete(other, conf)


def test_udp_flows_follow_the_port_to_its_next_pod(world):
    node = world.node
    conf = world.conf(runtimeConfig=mapped("5353-53/udp"))
    for name in ("first", "second"):
        pod = world.pod()
        node.add(pod, conf)
        with listening(pod.space, name, 53, "udp"):
            # one flow: the same source port each time
            assert ask(world.outside, HOST, 5353, "udp", 40000).startswith(name)
        node.delete(pod, conf)


def test_masquerade_hides_pods_outside_and_only_there(world):
    node, one, other = world.node, world.pod(), world.pod()
    conf = world.conf(ipMasq=True, ipam=node.ipam("10.1.0.0/24", "fd00:1::/64"))
    result = node.add(one, conf)
    node.add(other, conf)
    with listening(world.outside, "outside"), listening(other.space, "other"):
        assert ask(one.space, OUTSIDE, 80) == f"outside ::ffff:{HOST}"
        assert ask(one.space, OUTSIDE6, 80) == f"outside {HOST6}"
        neighbour = sorted(other.addresses())[0].partition("/")[0]
        seen = ask(one.space, neighbour, 80).removeprefix("other ").removeprefix("::ffff:")
        assert seen in {item["address"].partition("/")[0] for item in result["ips"]}
    node.delete(one, conf, netns=None)
    with listening(world.outside, "outside"):
        assert ask(other.space, OUTSIDE, 80) == f"outside ::ffff:{HOST}"
    node.delete(other, conf)


def test_garbage_collection_takes_links_rules_and_addresses(world):
    node, keep, lose = world.node, world.pod(), world.pod()
    base = {"ipMasq": True, "bandwidth": None}
    limits = {"bandwidth": {"egressRate": 8_000_000, "egressBurst": 800_000}}
    kept = world.conf(**base, runtimeConfig=mapped("8080-80/tcp") | limits)
    lost = world.conf(**base, runtimeConfig=mapped("8081-80/tcp") | limits)
    before = node.add(keep, kept)
    node.add(lose, lost)
    valid = [{"containerID": keep.container_id, "ifname": "eth0"}]
    node.execute(world.conf() | {"cni.dev/valid-attachments": valid}, command="GC").ok()
    node.call("CHECK", keep, kept | {"prevResult": before}).ok()
    assert len(node.reservations()) == 1
    assert "8081" not in traces(world)
    assert len([name for name in node.links() if name.startswith("pi")]) == 1
    assert node.execute(world.conf(), command="GC").document["code"] == 7
    node.execute(world.conf() | {"cni.dev/valid-attachments": []}, command="GC").ok()


def test_policies_keep_bridges_and_containers_apart(world):
    node = world.node
    walled, neighbour, foreign = world.pod(), world.pod(), world.pod()
    # iptables knows the bridges with a policy, nftables any
    policy = {} if world.options["backend"] == "nftables" else {"ingressPolicy": "same-bridge"}
    elsewhere = world.conf(bridge="br9", name="other", ipam=node.ipam("10.9.0.0/24"), **policy)
    node.add(foreign, elsewhere)
    conf = world.conf(ingressPolicy="same-bridge")
    address = node.add(walled, conf)["ips"][0]["address"].partition("/")[0]
    node.add(neighbour, conf)
    with listening(walled.space, "walled"), listening(foreign.space, "foreign"):
        assert ask(neighbour.space, address, 80).startswith("walled")
        assert ask(foreign.space, address, 80).startswith("error")
        assert ask(node.space, address, 80).startswith("walled")
        # what it asks for itself comes back
        theirs = sorted(foreign.addresses())[0].partition("/")[0]
        assert ask(walled.space, theirs, 80).startswith("error" if policy else "foreign")
    for each in (walled, neighbour):
        node.delete(each, conf)
    alone, other = world.pod(), world.pod()
    conf = world.conf(ingressPolicy="isolated")
    address = node.add(alone, conf)["ips"][0]["address"].partition("/")[0]
    node.add(other, conf)
    with listening(alone.space, "alone"):
        assert ask(other.space, address, 80).startswith("error")
        assert ask(node.space, address, 80).startswith("alone")
    for each in (alone, other):
        node.delete(each, conf)
    node.delete(foreign, elsewhere)
