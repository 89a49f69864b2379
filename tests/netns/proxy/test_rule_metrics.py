"""Mode iptables: metrics of rules and of the packets that they count, beside the real kernel."""

import json
import re
import socket
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from proxy.applier import Applier
from proxy.backends.base import open_backend
from proxy.backends.iptables import accounting, names
from proxy.backends.iptables.accounting import NAMES
from proxy.backends.iptables.backend import IptablesFamily
from proxy.backends.iptables.names import ChainName, Table
from proxy.backends.iptables.tool import Flavor, IptablesTool
from proxy.counters.counting import CounterDetail, ServiceCounters
from proxy.linux.bridges import PodBridges
from proxy.linux.links import LinkListener
from proxy.linux.nft_events import NftListener
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family
from proxy.status.metrics import ProxyMetrics
from tests.support.cni.worker import Worker
from tests.support.proxy.rulesets import many_services
from tests.support.proxy.strategies import NODE, SETTINGS

NODE_PORT = 30080
TOOLS = {"IPv4": "iptables", "IPv6": "ip6tables"}
Rules = dict[str, int]  # by family and table


@pytest.fixture
def node(spaces: Callable) -> Iterator[Worker]:
    space = spaces("metrics")
    space.ip("link", "set", "lo", "up")
    worker = Worker(space)
    yield worker
    worker.stop()


def _in_kernel(flavor: str) -> Rules:
    """Count the rules in the proxy's chains, without the chain that kubelet has too."""
    found: Counter[str] = Counter()
    for family, tool in TOOLS.items():
        for table in Table:
            command = [f"{tool}-{flavor}-save", "-t", table]
            text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            chains = (line.split()[1] for line in text.splitlines() if line.startswith("-A "))
            found[f"{family} {table}"] = sum(
                names.is_ours(ChainName(table, chain)) for chain in chains
            )
    return dict(found)


def _shown(metrics: ProxyMetrics, what: str) -> Rules:
    name = f"kubeproxy_sync_proxy_rules_iptables_{what}"
    found = re.findall(rf'^{name}{{ip_family="(\w+)",table="(\w+)"}} (\d+)$', metrics.text(), re.M)
    return {f"{family} {table}": int(count) for family, table, count in found}


def _packets(metrics: ProxyMetrics) -> int:
    metrics.refresh()
    name = "kubeproxy_iptables_localhost_nodeports_accepted_packets_total"
    return int(re.findall(rf"^{name} (\d+)$", metrics.text(), re.M)[0])


def follow(flavor: str) -> str:
    """In the node: what the metrics and the kernel say after a load, a change, and a call."""
    metrics, tracker = ProxyMetrics("iptables", SETTINGS.families), many_services(4)
    settings = replace(SETTINGS, pods={})
    backend = open_backend("iptables", settings, {"flavor": flavor})
    counting = ServiceCounters(settings, CounterDetail.OFF)
    seen: list[object] = []
    with closing(NftListener()) as events, closing(LinkListener()) as links:
        bridges = PodBridges({}, links)
        applier = Applier("iptables", backend, settings, metrics, counting, events, bridges)
        applier.apply(tracker.desired(), NODE)
        seen.append((_shown(metrics, "total"), _in_kernel(flavor)))
        key = ("ns", "svc-1")
        service = tracker._services[key]
        port = replace(service.ports[0], node_port=NODE_PORT)
        addresses = (ip_address("10.96.9.9"),)
        tracker.set_service(key, replace(service, ports=(port,), cluster_ips=addresses))
        tracker.set_service(("ns", "svc-2"), None)
        applier.apply(tracker.desired(), NODE)
        seen.append((_shown(metrics, "total"), _in_kernel(flavor)))
        seen.append(_shown(metrics, "last"))
        before = _packets(metrics)
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as caller:
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.1", NODE_PORT))  # no Pod is there; one first packet goes
        seen.append((before, _packets(metrics)))
        backend.remove()
    seen.append(sorted(accounting.read()))
    return json.dumps(seen)


@pytest.mark.parametrize("flavor", ["nft", "legacy"])
def test_metrics_say_what_is_in_the_kernel(node: Worker, flavor: str) -> None:
    loaded, changed, last, packets, left = json.loads(node.call(follow, flavor))
    for shown, there in (loaded, changed):
        assert shown == there
    assert loaded[0] != changed[0]
    assert 0 < last["IPv4 nat"] < changed[0]["IPv4 nat"]
    assert last["IPv6 nat"] == 0  # nothing changed there
    assert packets == [0, 1]
    assert left == []


def without_counters(flavor: str) -> int:
    """In the node: the kernel refuses rules that count, here because nobody can make counters."""
    accounting.ensure = lambda names: None  # in this process alone
    settings = replace(SETTINGS, packet_counters=NAMES)
    family = IptablesFamily(IptablesTool(Family.V4, Flavor(flavor)), settings)
    tracker = many_services(4)
    with pytest.raises(KernelRefusedError):
        family.apply(tracker.desired(), NODE)
    family.apply(tracker.desired(), NODE)
    return _in_kernel(flavor)["IPv4 nat"]


@pytest.mark.parametrize("flavor", ["nft", "legacy"])
def test_a_kernel_that_cannot_count_serves_all_the_same(node: Worker, flavor: str) -> None:
    assert node.call(without_counters, flavor) > 4 * 4
