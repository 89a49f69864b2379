"""Which of the kernel's events mean that somebody changed rules of ours."""

import subprocess
from collections.abc import Iterator

import pytest

from proxy.apply import Kernel
from proxy.backend import open_backend
from proxy.counters.counting import Counting
from proxy.counters.table import Detail
from proxy.ebpf.backend import EbpfBackend
from proxy.iptables.disturbance import disturbance as of_iptables
from proxy.metrics import Metrics
from proxy.nft_events import NftEvents, Sort, Touch
from proxy.nftables.disturbance import disturbance as of_nftables
from proxy.state import Desired
from tests.proxy.strategies import NODE, SETTINGS


def touch(sort, table, name="", deleted=True, text=b""):
    return Touch(sort, deleted, table, name, text)


JUMP = b"..KUBE-SERVICES.."


@pytest.mark.parametrize(
    "one",
    [
        touch(Sort.TABLE, "nat"),
        touch(Sort.CHAIN, "nat", "KUBE-SVC-ABC"),
        touch(Sort.RULE, "filter", "KUBE-FORWARD"),
        touch(Sort.RULE, "nat", "KUBE-SERVICES", deleted=False),
        touch(Sort.RULE, "nat", "PREROUTING", text=JUMP),
        touch(Sort.LOST, ""),
    ],
)
def test_iptables_rules_of_ours(one):
    assert of_iptables([touch(Sort.RULE, "nat", "DOCKER"), one])


@pytest.mark.parametrize(
    "one",
    [
        touch(Sort.TABLE, "mine"),
        touch(Sort.TABLE, "nat", deleted=False),
        touch(Sort.CHAIN, "nat", "KUBE-KUBELET-CANARY", deleted=False),
        touch(Sort.CHAIN, "nat", "KUBE-SVC-ABC", deleted=False),  # kube-proxy's, unused as yet
        touch(Sort.RULE, "filter", "KUBE-FIREWALL", deleted=False),  # kubelet's as well
        touch(Sort.RULE, "nat", "PREROUTING", text=b"DOCKER"),
        touch(Sort.RULE, "nat", "PREROUTING", deleted=False, text=JUMP),
        touch(Sort.RULE, "podwire-proxy", "services"),
        touch(Sort.ELEMENT, "nat", "KUBE-THING"),
    ],
)
def test_iptables_rules_of_others(one):
    assert not of_iptables([one])


@pytest.mark.parametrize("sort", [Sort.TABLE, Sort.CHAIN, Sort.RULE, Sort.SET, Sort.ELEMENT])
@pytest.mark.parametrize("deleted", [True, False])
def test_anything_in_our_own_table(sort, deleted):
    assert "podwire-proxy" in of_nftables([touch(sort, "podwire-proxy", "x", deleted)])
    assert not of_nftables([touch(sort, "nat", "KUBE-SERVICES", deleted)])


def test_lost_events_may_have_been_anything():
    assert of_nftables([touch(Sort.LOST, "")])


@pytest.fixture
def events() -> Iterator[NftEvents]:
    made = NftEvents()
    yield made
    made.close()
    for mode in ("nftables", "iptables"):
        open_backend(mode, SETTINGS, {}).remove()


def flush() -> None:
    """What somebody else does."""
    subprocess.run(["nft", "flush", "ruleset"], check=True)


@pytest.mark.parametrize(("mode", "flavor"), [("nftables", "nft"), ("iptables", "nft")])
def test_our_own_writes_alone_go_unheard(events, mode, flavor):
    backend = open_backend(mode, SETTINGS, {"flavor": flavor}, events.deaf)
    backend.apply(Desired(), NODE)
    backend.remove()
    assert events.read() == []
    backend = open_backend(mode, SETTINGS, {"flavor": flavor}, events.deaf)
    backend.apply(Desired(), NODE)
    flush()
    assert backend.disturbed(events.read())


def test_what_others_do_while_maps_are_filled_is_heard(events, monkeypatch):
    """With many Services that takes a while, in which rules are not written any more."""
    monkeypatch.setattr(EbpfBackend, "_balance", lambda *_: flush())
    backend = open_backend("ebpf", SETTINGS, {"cgroup-root": "/"}, events.deaf)
    counting = Counting(SETTINGS, Detail.OFF)
    kernel = Kernel("ebpf", backend, SETTINGS, Metrics(), counting, events)
    kernel.apply(Desired(), NODE)
    assert "podwire-proxy" in kernel.disturbed()
    assert kernel.disturbed() == ""
