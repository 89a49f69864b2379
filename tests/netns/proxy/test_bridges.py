"""The proxy filters the Pods' bridges where its mode needs it, and no other bridge."""

import json
import platform
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.groups import group
from tests.support.proxy.process import RunningProxy, service, slices
from tests.support.space import Space

HAS_TCX = tuple(map(int, platform.release().split(".")[:2])) >= (6, 6)
SYSCTLS = [f"net.bridge.bridge-nf-call-{ip}tables" for ip in ("ip", "ip6")]


@pytest.fixture(scope="module")
def world(spaces, tmp_path_factory) -> Iterator[RunningProxy]:
    with group("bridges") as root:
        made = RunningProxy(spaces, tmp_path_factory.mktemp("proxy"), "nftables", root)
        add_bridge(made.lab.spaces["node"], "docker0", "172.20.0.1/24")
        made.put(service(), *slices("a"))
        yield made
        made.close()


def add_bridge(node: Space, name: str, address: str) -> None:
    node.ip("link", "add", name, "type", "bridge")
    node.ip("address", "add", address, "dev", name)


def filtered(node: Space) -> dict[str, tuple[int, int]]:
    """Return what each bridge passes to the rules, of IPv4 and IPv6."""
    found = json.loads(node.ip("-json", "-details", "link", "show", "type", "bridge"))
    settings = {one["ifname"]: one["linkinfo"]["info_data"] for one in found}
    return {
        name: (one["nf_call_iptables"], one["nf_call_ip6tables"]) for name, one in settings.items()
    }


def await_filtered(world: RunningProxy, **expected: bool) -> None:
    """Wait until these bridges are filtered or are not; the test's other bridge never is."""
    want = {name: (int(on), int(on)) for name, on in {**expected, "docker0": False}.items()}
    deadline = time.monotonic() + 200
    while (found := filtered(world.lab.spaces["node"])) != want:
        assert found["docker0"] == (0, 0)
        assert time.monotonic() < deadline, f"{found}, not {want}"
        time.sleep(0.02)


@pytest.mark.parametrize("mode", ["nftables", "ebpf", "iptables", "ebpf"])
def test_each_mode_filters_as_it_needs(world: RunningProxy, mode: str) -> None:
    """A change of mode changes it, by a proxy that ended or was killed."""
    if world.process is not None:
        world.end(signal.SIGKILL)
    world.mode, node, on = mode, world.lab.spaces["node"], mode != "ebpf" or not HAS_TCX
    world.run()
    await_filtered(world, podwire0=on)
    world.until({"A"})
    add_bridge(node, "late0", "10.244.1.129/28")
    await_filtered(world, podwire0=on, late0=on)
    for name in ("podwire0", "late0"):  # somebody else changes it
        node.ip("link", "set", name, "type", "bridge", "nf_call_iptables", str(int(not on)))
    await_filtered(world, podwire0=on, late0=on)
    node.ip("link", "del", "late0")
    assert [node.run("sysctl", "-n", key) for key in SYSCTLS] == ["0\n", "0\n"]


def test_cleanup_leaves_the_bridge_to_any_other_proxy(world: RunningProxy) -> None:
    if world.process is not None:
        world.end(signal.SIGTERM)
    world.lab.spaces["node"].run(*world.command("--cleanup")[2:])
    await_filtered(world, podwire0=True)
