"""What is installed, read back from the kernel: the same view with every back end."""

from collections.abc import Callable, Iterator

import pytest

from debug.views.join import NodeState, join
from debug.views.layers import here
from debug.views.report import ServicesReport
from proxy.backends.ebpf.libbpf import BpfMap, Libbpf, pinned
from proxy.backends.ebpf.mounts import MAPS
from proxy.backends.installed import Layer
from tests.support.cni.worker import Worker
from tests.support.groups import group
from tests.support.groups import join as move
from tests.support.proxy.backends import apply, remove
from tests.support.proxy.world import DEFAULT
from tests.support.space import Space
from tests.support.views import EXPECTED, KUBE_PROXY, STATE, desired_of, seen

pytestmark = pytest.mark.netns
MODES = {
    "nftables": ("nftables", {}),
    "iptables-nft": ("iptables", {"flavor": "nft"}),
    "iptables-legacy": ("iptables", {"flavor": "legacy"}),
    "ebpf": ("ebpf", {}),
    "ebpf-maglev": ("ebpf", {"ebpf-algorithm": "maglev"}),
}
WEB = "10.96.0.10 . tcp . 80"


class Node:
    """A node on which back ends are applied without a proxy: nobody repairs what a test breaks."""

    def __init__(self, space: Space, group: str) -> None:
        space.ip_batch("link add eth0 type bridge", "addr add 192.168.0.1/24 dev eth0")
        self.space, self.worker, self._group = space, Worker(space), group
        move(group, [self.worker])

    def apply(self, mode: str) -> None:
        backend, options = MODES[mode]
        given = {**options, "cgroup-root": self._group} if backend == "ebpf" else options
        self.worker.call(apply, backend, given, DEFAULT, desired_of(STATE))

    def report(self) -> ServicesReport:
        return join([NodeState("n1", self.worker.call(layers))], STATE)

    def wrong(self) -> dict[str, set[str]]:
        """Return what differs, by Service."""
        found: dict[str, set[str]] = {}
        for one in self.report().frontends:
            lines = {line for entry in one.nodes for line in entry.wrong}
            if lines:
                found.setdefault(one.service, set()).update(lines)
        return found


def layers() -> tuple[Layer, ...]:
    return tuple(here())


@pytest.fixture(scope="module")
def node(spaces: Callable[[str], Space]) -> Iterator[Node]:
    with group("views") as root:
        made = Node(spaces("node"), root)
        yield made
        made.worker.call(remove)
        made.worker.stop()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_shows_the_same_services(node: Node, mode: str) -> None:
    node.apply(mode)
    report = node.report()
    assert node.wrong() == {}
    assert report.nodes[0].faults == ()
    assert report.nodes[0].back_ends[0] == mode.removesuffix("-maglev")
    found = seen(report)
    assert found.keys() == EXPECTED.keys()
    tolerance = 0.02 if mode == "ebpf-maglev" else 0.0001
    for address, (service, kind, shares, unusual) in EXPECTED.items():
        assert found[address] == (service, kind, pytest.approx(shares, abs=tolerance), unusual)


def forget_endpoint() -> None:
    """In the node: remove one endpoint from the programs' map."""
    library = Libbpf()
    endpoints = BpfMap(library, pinned(library, MAPS / "endpoints"), "endpoints", own=True)
    endpoints.discard(endpoints.keys(8)[0])
    endpoints.close()


def svc_chain(node: Node, tool: str) -> str:
    saved = node.space.run(f"{tool}-save", "-t", "nat").splitlines()
    (rule,) = (line for line in saved if line.startswith("-A KUBE-SERVICES -d 10.96.0.10/32"))
    return rule.split()[-1]


@pytest.mark.parametrize("mode", ["nftables", "iptables-nft", "iptables-legacy", "ebpf"])
def test_a_removed_endpoint_is_shown(node: Node, mode: str) -> None:
    node.apply(mode)
    if mode == "nftables":
        element = f"{{ {WEB} . 1 }}"
        node.space.run("nft", "delete", "element", "ip", "podwire-proxy", "backends-3", element)
    elif mode == "ebpf":
        node.worker.call(forget_endpoint)
    else:
        node.space.run(mode, "-t", "nat", "-D", svc_chain(node, mode), "2")
    wrong = node.wrong()
    assert wrong
    lines = set().union(*wrong.values())
    assert any("is missing" in line for line in lines), lines
    if mode in ("nftables", "iptables-nft", "iptables-legacy"):
        assert set(wrong) == {"ns/web"}
    if mode == "nftables":
        assert "33% of new connections find no endpoint" in lines


def test_a_rule_and_a_service_by_hand_are_shown(node: Node) -> None:
    node.apply("nftables")
    table = ("ip", "podwire-proxy")
    node.space.run("nft", "delete", "element", *table, "services", f"{{ {WEB} }}")
    stranger = "{ 10.96.0.99 . tcp . 80 : goto pick-1 }"
    node.space.run("nft", "add", "element", *table, "services", stranger)
    node.space.run("nft", "flush", "chain", *table, "nat-output")
    wrong = node.wrong()
    assert wrong["ns/web"] == {"missing: nothing is installed for it"}
    assert wrong[""] == {"stale: no object has this address"}
    (fault,) = node.report().nodes[0].faults
    assert fault == "ip podwire-proxy: chain nat-output does not lead to services"


def test_rules_of_kube_proxy_are_read(node: Node) -> None:
    """Of mode nftables, in its own names and layout: the same values as podwire's."""
    node.worker.call(remove)
    node.space.run("nft", "-f", "-", stdin=KUBE_PROXY)
    report = node.report()
    node.space.run("nft", "delete", "table", "ip", "kube-proxy")
    assert report.nodes[0].back_ends == ("kube-proxy nftables",)
    assert report.nodes[0].faults == ()
    found = seen(report)
    for address in (
        "10.96.0.10:80/TCP",
        "203.0.113.12:80/TCP",
        "*:30081/TCP",
        "10.96.0.14:80/TCP",
        "10.96.0.15:80/TCP",
        "203.0.113.16:80/TCP",
    ):
        assert found[address] == EXPECTED[address]
