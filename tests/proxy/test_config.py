"""Flags: their meaning, and the flag that an error names."""

import asyncio
import socket
from ipaddress import ip_address

import pytest
from click.testing import CliRunner

from proxy.backends.ebpf.options import EbpfOptions, parse_options
from proxy.cli import main
from proxy.config import ListenAddress, duration, from_flags
from proxy.desired.tracker import Tracker
from proxy.model.errors import BadFlagError
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, NodeView
from proxy.node import NodeSettings
from proxy.objects.feed import Feed, ObjectReader
from proxy.objects.wire import Node
from proxy.status.changes import PendingChanges
from proxy.status.metrics import ProxyMetrics
from tests.support.proxy.told import Told


def config(*args: str):
    context = main.make_context("proxy", ["--kubeconfig", "/k", *args])
    return from_flags(context.params, "Host.Example")


def test_defaults():
    made = config()
    assert made.node_name == "host.example"
    assert (made.healthz, made.metrics) == (
        ListenAddress("127.0.0.1", 10256),
        ListenAddress("127.0.0.1", 10249),
    )
    assert made.settings.mark == 0x4000
    assert made.settings.pods == {}
    assert made.settings.node_port_networks is None


def test_both_names_of_the_node():
    assert config("--node-name", "N1").node_name == "n1"
    assert config("--hostname-override", "n2").node_name == "n2"


def test_pods_are_detected_by_the_first_range_of_each_family():
    pods = config("--cluster-cidr", "10.0.0.0/8,fd00::/48,10.9.0.0/16").settings.pods
    assert {family: str(one.network) for family, one in pods.items()} == {
        Family.V4: "10.0.0.0/8",
        Family.V6: "fd00::/48",
    }


def test_pods_are_detected_by_interface():
    made = config(
        "--detect-local-mode", "InterfaceNamePrefix", "--pod-interface-name-prefix", "veth"
    )
    assert made.settings.pods[Family.V6].interface == "veth+"
    made = config("--detect-local-mode", "BridgeInterface", "--pod-bridge-interface", "br0")
    assert made.settings.pods[Family.V4].interface == "br0"


def test_servers_can_be_switched_off():
    assert config("--healthz-bind-address", "").healthz is None
    assert config("--metrics-bind-address", "0.0.0.0:0").metrics is None
    assert config("--healthz-bind-address", "[::1]:99").healthz == ListenAddress("::1", 99)


def test_an_address_alone_gets_the_usual_port():
    assert config("--healthz-bind-address", "0.0.0.0").healthz == ListenAddress("0.0.0.0", 10256)
    assert config("--metrics-bind-address", "::1").metrics == ListenAddress("::1", 10249)


def test_words_for_the_addresses_of_node_ports():
    made = config("--nodeport-addresses", "localhost, 192.0.2.0/24").settings
    assert list(map(str, made.node_port_networks)) == ["127.0.0.0/8", "::1/128", "192.0.2.0/24"]
    made = config("--nodeport-addresses", "primary,192.0.2.0/24")
    assert made.node_ports_by_node
    assert list(map(str, made.settings.node_port_networks)) == ["192.0.2.0/24"]
    made = config("--nodeport-addresses", "all")
    assert not made.node_ports_by_node
    assert all(made.settings.node_port_networks_of(family) is None for family in Family)


def test_a_family_without_ranges_serves_node_ports_everywhere():
    """As in upstream, ranges of the other family do not restrict this one."""
    made = config("--nodeport-addresses", "192.0.2.0/24").settings
    assert made.is_node_port_address(ip_address("192.0.2.1"))
    assert not made.is_node_port_address(ip_address("192.0.3.1"))
    assert made.is_node_port_address(ip_address("2001:db8::1"))


async def test_the_nodes_own_addresses_are_the_first_of_each_family():
    tracker = Tracker(NodeView("n1"), tuple(Family))
    feed = Feed(tracker, PendingChanges(ProxyMetrics()), lambda: None, "nftables", Told())
    followed = NodeSettings(config("--nodeport-addresses", "primary"), ProxySettings(), tracker)
    waiting = asyncio.create_task(followed.settle(feed))
    types = ("ExternalIP", "InternalIP", "InternalIP", "InternalIP")
    texts = ("198.51.100.1", "192.0.2.1", "2001:db8::1", "192.0.2.2")
    wire = [{"type": type, "address": text} for type, text in zip(types, texts, strict=True)]
    node = Node.read({"metadata": {"name": "n1"}, "status": {"addresses": wire}})
    feed.node(None, ObjectReader("n1", "").node(Node.read({"metadata": {"name": "n1"}})))
    feed.node(None, ObjectReader("n1", "").node(node))
    networks = (await waiting).node_port_networks
    assert {str(one) for one in networks} == {"192.0.2.1/32", "2001:db8::1/128"}


def named_node(address: str, cidr: str):
    status = {"addresses": [{"type": "InternalIP", "address": address}] if address else []}
    spec = {"podCIDRs": [cidr] if cidr else []}
    wire = {"metadata": {"name": "n1"}, "spec": spec, "status": status}
    return ObjectReader("n1", "").node(Node.read(wire))


async def test_a_node_that_is_made_again_changes_the_settings():
    tracker = Tracker(NodeView("n1"), tuple(Family))
    feed = Feed(tracker, PendingChanges(ProxyMetrics()), lambda: None, "nftables", Told())
    flags = ("--nodeport-addresses", "primary,10.0.0.0/8", "--detect-local-mode", "NodeCIDR")
    made = config(*flags)
    followed = NodeSettings(made, made.settings, tracker)

    def seen(address: str, cidr: str) -> bool:
        feed.node(None, named_node(address, cidr))
        followed.check()
        return followed.moved.is_set()

    seen("192.0.2.1", "10.244.1.0/24")
    first = await followed.settle(feed)
    assert not seen("192.0.2.1", "10.244.1.0/24")
    assert not seen("", "")  # a new Node has neither at first
    assert seen("192.0.2.1", "10.244.7.0/24")
    second = await followed.settle(feed)
    assert str(second.pods[Family.V4].network) == "10.244.7.0/24"
    assert second.node_port_networks == first.node_port_networks
    assert seen("192.0.2.9", "10.244.7.0/24")
    networks = (await followed.settle(feed)).node_port_networks
    assert [str(network) for network in networks] == ["10.0.0.0/8", "192.0.2.9/32"]
    assert not followed.moved.is_set()


def test_ebpf_needs_a_cgroup():
    with pytest.raises(BadFlagError, match="--cgroup-root is missing"):
        config("--proxy-mode", "ebpf")
    made = config("--proxy-mode", "ebpf", "--cgroup-root", "/n1")
    assert made.backend_options["cgroup-root"] == "/n1"
    assert parse_options(made.backend_options) == EbpfOptions(root="/n1")


def test_direct_return_needs_maglev():
    flags = ("--proxy-mode", "ebpf", "--cgroup-root", "/", "--ebpf-direct-return")
    with pytest.raises(BadFlagError, match="needs --ebpf-algorithm maglev"):
        config(*flags)
    made = config(*flags, "--ebpf-algorithm", "maglev")
    assert parse_options(made.backend_options) == EbpfOptions(root="/", by_hash=True, direct=True)


@pytest.mark.parametrize(
    "args",
    [
        ["--cluster-cidr", "10.0.0.0/33"],
        ["--nodeport-addresses", "x"],
        ["--detect-local-mode", "BridgeInterface"],
        ["--detect-local-mode", "BridgeInterface", "--pod-bridge-interface", "a -j ACCEPT"],
        ["--healthz-bind-address", "localhost:1"],
        ["--healthz-bind-address", "127.0.0.1:70000"],
        ["--min-sync-period", "soon"],
        ["--min-sync-period", "10"],
    ],
)
def test_mistakes_name_the_flag(args):
    with pytest.raises(
        BadFlagError, match=args[-2] if args[-1] != "BridgeInterface" else "--pod-bridge"
    ):
        config(*args)


@pytest.mark.parametrize(
    ("text", "seconds"), [("10ms", 0.01), ("1m30s", 90), ("0s", 0), ("1.5h", 5400)]
)
def test_durations(text, seconds):
    assert duration("--x", text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "args", [["--nonsense"], [], ["--proxy-mode", "magic"], ["--kubeconfig", "/nowhere/at/all"]]
)
def test_a_mistake_is_one_line_and_code_2(args):
    result = CliRunner().invoke(main, [*args, "--node-name", socket.gethostname()])
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "Error: " in result.output


@pytest.mark.parametrize("args", [["--cleanup"], ["--kubeconfig", "/none"]])
def test_without_root_nothing_is_tried(monkeypatch, args):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    result = CliRunner().invoke(main, args)
    assert (result.exit_code, "Error: run as root: " in result.output) == (2, True), result.output
