"""Which of the kernel's events mean that somebody changed rules of ours."""

import pytest

from proxy.backends.iptables.disturbance import disturbance as of_iptables
from proxy.backends.nftables.disturbance import disturbance as of_nftables
from proxy.linux.nft_events import Sort, Touch


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
