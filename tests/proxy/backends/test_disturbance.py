"""Which of the kernel's events mean that somebody changed rules of ours."""

import pytest

from proxy.backends.iptables.disturbance import disturbance as of_iptables
from proxy.backends.nftables.disturbance import disturbance as of_nftables
from proxy.linux.nft_events import NftEvent, NftEventKind


def touch(sort, table, name="", deleted=True, text=b""):
    return NftEvent(sort, deleted, table, name, text)


JUMP = b"..KUBE-SERVICES.."


@pytest.mark.parametrize(
    "one",
    [
        touch(NftEventKind.TABLE, "nat"),
        touch(NftEventKind.CHAIN, "nat", "KUBE-SVC-ABC"),
        touch(NftEventKind.RULE, "filter", "KUBE-FORWARD"),
        touch(NftEventKind.RULE, "nat", "KUBE-SERVICES", deleted=False),
        touch(NftEventKind.RULE, "nat", "PREROUTING", text=JUMP),
        touch(NftEventKind.LOST, ""),
    ],
)
def test_iptables_rules_of_ours(one):
    assert of_iptables([touch(NftEventKind.RULE, "nat", "DOCKER"), one])


@pytest.mark.parametrize(
    "one",
    [
        touch(NftEventKind.TABLE, "mine"),
        touch(NftEventKind.TABLE, "nat", deleted=False),
        touch(NftEventKind.CHAIN, "nat", "KUBE-KUBELET-CANARY", deleted=False),
        touch(
            NftEventKind.CHAIN, "nat", "KUBE-SVC-ABC", deleted=False
        ),  # kube-proxy's, unused as yet
        touch(NftEventKind.RULE, "filter", "KUBE-FIREWALL", deleted=False),  # kubelet's as well
        touch(NftEventKind.RULE, "nat", "PREROUTING", text=b"DOCKER"),
        touch(NftEventKind.RULE, "nat", "PREROUTING", deleted=False, text=JUMP),
        touch(NftEventKind.RULE, "podwire-proxy", "services"),
        touch(NftEventKind.ELEMENT, "nat", "KUBE-THING"),
    ],
)
def test_iptables_rules_of_others(one):
    assert not of_iptables([one])


@pytest.mark.parametrize(
    "sort",
    [
        NftEventKind.TABLE,
        NftEventKind.CHAIN,
        NftEventKind.RULE,
        NftEventKind.SET,
        NftEventKind.ELEMENT,
    ],
)
@pytest.mark.parametrize("deleted", [True, False])
def test_anything_in_our_own_table(sort, deleted):
    assert "podwire-proxy" in of_nftables([touch(sort, "podwire-proxy", "x", deleted)])
    assert not of_nftables([touch(sort, "nat", "KUBE-SERVICES", deleted)])


def test_lost_events_may_have_been_anything():
    assert of_nftables([touch(NftEventKind.LOST, "")])
