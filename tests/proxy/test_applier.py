"""What the applier found of other proxies is told once, also while it still looks."""

from contextlib import closing

import pytest

from proxy import applier
from proxy.applier import Applier
from proxy.backends.base import open_backend
from proxy.counters.counting import ServiceCounters
from proxy.linux.bridges import PodBridges
from proxy.linux.links import LinkListener
from proxy.linux.nft_events import NftListener
from proxy.model.settings import CounterDetail, ProxySettings
from proxy.status.metrics import ProxyMetrics

SETTINGS = ProxySettings()
TABLES = ["table ip kube-proxy", "table ip6 kube-proxy"]


def test_rules_of_another_proxy_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop asks between two steps of the thread that looks."""
    told = []
    with closing(NftListener()) as events, closing(LinkListener()) as links:
        mine = Applier(
            "nftables",
            open_backend("nftables", SETTINGS, {}),
            SETTINGS,
            ProxyMetrics("nftables", SETTINGS.families),
            ServiceCounters(SETTINGS, CounterDetail.OFF),
            events,
            PodBridges({}, links),
            keep_others=True,
        )

        class Other:
            def exists(self) -> bool:
                told.extend(mine.rivals())
                return True

        monkeypatch.setattr(applier.upstream, "found", lambda: list(TABLES))
        monkeypatch.setattr(applier, "open_backend", lambda *_: Other())
        mine._meet_upstream()
        told.extend(mine.rivals())
    assert told == [*TABLES, "chains of mode iptables"]
