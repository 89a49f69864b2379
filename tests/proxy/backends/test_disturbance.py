"""Which of the kernel's events mean that another program changed our rules."""

import pytest

from proxy.backends.iptables.ownership import disturbance as of_iptables
from proxy.backends.nftables.observe import disturbance as of_nftables
from proxy.linux.nft_events import NftEvent, NftEventKind


def event_of(sort, table, name="", deleted=True, text=b""):
    return NftEvent(sort, deleted, table, name, text)


JUMP = b"..KUBE-SERVICES.."


@pytest.mark.parametrize(
    "event",
    [
        event_of(NftEventKind.TABLE, "nat"),
        event_of(NftEventKind.CHAIN, "nat", "KUBE-SVC-ABC"),
        event_of(NftEventKind.RULE, "filter", "KUBE-FORWARD"),
        event_of(NftEventKind.RULE, "nat", "KUBE-SERVICES", deleted=False),
        event_of(NftEventKind.RULE, "nat", "PREROUTING", text=JUMP),
        event_of(NftEventKind.LOST, ""),
    ],
)
def test_changes_of_our_iptables_rules(event):
    assert of_iptables([event_of(NftEventKind.RULE, "nat", "DOCKER"), event])


@pytest.mark.parametrize(
    "event",
    [
        event_of(NftEventKind.TABLE, "mine"),
        event_of(NftEventKind.TABLE, "nat", deleted=False),
        event_of(NftEventKind.CHAIN, "nat", "KUBE-KUBELET-CANARY", deleted=False),
        event_of(
            NftEventKind.CHAIN, "nat", "KUBE-SVC-ABC", deleted=False
        ),  # kube-proxy's, unused as yet
        event_of(NftEventKind.RULE, "filter", "KUBE-FIREWALL", deleted=False),  # kubelet's as well
        event_of(NftEventKind.RULE, "nat", "PREROUTING", text=b"DOCKER"),
        event_of(NftEventKind.RULE, "nat", "PREROUTING", deleted=False, text=JUMP),
        event_of(NftEventKind.RULE, "podwire-proxy", "services"),
        event_of(NftEventKind.ELEMENT, "nat", "KUBE-THING"),
    ],
)
def test_changes_of_other_iptables_rules(event):
    assert not of_iptables([event])


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
def test_any_change_in_our_nftables_table(sort, deleted):
    assert "podwire-proxy" in of_nftables([event_of(sort, "podwire-proxy", "x", deleted)])
    assert not of_nftables([event_of(sort, "nat", "KUBE-SERVICES", deleted)])


def test_lost_events_count_as_a_change():
    assert of_nftables([event_of(NftEventKind.LOST, "")])
