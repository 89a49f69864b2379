"""Mode iptables: the real kernel refuses rules; who needs them is left out, and nobody else."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from proxy.backends.iptables import accounting
from proxy.backends.iptables.accounting import LOOPBACK_ACCEPTED, NAMES
from proxy.backends.iptables.backend import IptablesFamily
from proxy.backends.iptables.tool import Flavor, IptablesTool
from proxy.desired.tracker import Tracker
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family, Key
from tests.support.cni.worker import Worker
from tests.support.proxy.rulesets import many_services
from tests.support.proxy.strategies import NODE, SETTINGS

_FLAVORS = pytest.mark.parametrize("flavor", ["legacy", "nft"])
_RECENT = re.compile(rb"-m recent --name (\S+)(?: --(?:rcheck|set|reap|seconds \d+))+")


@pytest.fixture
def node(spaces: Callable) -> Iterator[Worker]:
    worker = Worker(spaces("refusing"))
    yield worker
    worker.stop()


class WithoutRecent(IptablesTool):
    """The real tool and kernel, which refuse session affinity.

    This kernel has the match ``recent``. In its place goes one that the kernel looks up and does
    not find, so that it refuses the rule by the same error, ENOENT.
    """

    def restore(self, transaction: bytes) -> None:
        super().restore(_RECENT.sub(rb"-m nfacct --nfacct-name \1", transaction))


def _with(tracker: Tracker, key: Key, **changes: object) -> None:
    tracker.set_service(key, replace(tracker._services[key], **changes))


def _served(tool: IptablesTool) -> list[str]:
    """Return the names of Services whose ClusterIPs lead to chains that have endpoints."""
    rules = tool.save().splitlines()
    ready = {line.split()[1] for line in rules if "-j KUBE-SEP-" in line}
    jumps = [line for line in rules if line.startswith("-A KUBE-SERVICES -d ")]
    pairs = [(re.search(r'"?ns/([^: ]+)', line), line.rpartition(" ")[2]) for line in jumps]
    return sorted({found[1] for found, chain in pairs if found and chain in ready})


def serve_without_affinity(flavor: str) -> str:
    """In the node: a load, with some Services whose rules the kernel refuses; then one more."""
    tool, tracker = WithoutRecent(Family.V4, Flavor(flavor)), many_services(20)
    for number in (3, 11):
        _with(tracker, ("ns", f"svc-{number}"), affinity=60)
    family = IptablesFamily(tool, SETTINGS)
    family.apply(tracker.desired(), NODE)
    first, has_trials = _served(tool), "KUBE-TRIAL" in tool.save()
    _with(tracker, ("ns", "svc-7"), affinity=60)
    with pytest.raises(KernelRefusedError):
        family.apply(tracker.desired(), NODE)
    family.apply(tracker.desired(), NODE)
    return json.dumps([first, _served(tool), has_trials])


@_FLAVORS
def test_who_needs_what_the_kernel_lacks_is_left_out(node: Worker, flavor: str) -> None:
    everyone = {f"svc-{number}" for number in range(20)}
    first, later, has_trials = json.loads(node.call(serve_without_affinity, flavor))
    assert set(first) == everyone - {"svc-3", "svc-11"}
    assert set(later) == everyone - {"svc-3", "svc-11", "svc-7"}
    assert not has_trials


def serve_after_a_flush_of_counters(flavor: str) -> str:
    """In the node: somebody removes the counters that no rule uses, as ``nfacct flush`` does."""
    logging.disable()
    accounting.ensure(NAMES)
    settings = replace(SETTINGS, pods={}, packet_counters=NAMES)
    tool, tracker = IptablesTool(Family.V4, Flavor(flavor)), many_services(3)
    family = IptablesFamily(tool, settings)
    family.apply(tracker.desired(), NODE)
    accounting.remove()
    left = sorted(accounting.read())
    port = replace(tracker._services["ns", "svc-1"].ports[0], node_port=30080)
    _with(tracker, ("ns", "svc-1"), ports=(port,), cluster_ips=(ip_address("10.96.9.9"),))
    with pytest.raises(KernelRefusedError):
        family.apply(tracker.desired(), NODE)
    family.apply(tracker.desired(), NODE)
    return json.dumps([left, _served(tool), f"--nfacct-name  {LOOPBACK_ACCEPTED}" in tool.save()])


@_FLAVORS
def test_counters_that_somebody_removed_cost_no_service(node: Worker, flavor: str) -> None:
    left, served, counts = json.loads(node.call(serve_after_a_flush_of_counters, flavor))
    assert LOOPBACK_ACCEPTED not in left
    assert served == ["svc-0", "svc-1", "svc-2"]
    assert counts
