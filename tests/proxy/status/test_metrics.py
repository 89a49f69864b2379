"""The metrics: kube-proxy's names, labels and buckets, and what they say of changes."""

import re
import time
from datetime import UTC, datetime
from ipaddress import ip_address

import aiohttp
import pytest
import yaml

from proxy.cli import main
from proxy.config_file import document, read
from proxy.desired.tracker import Tracker
from proxy.model.values import Endpoint, Family, Port, Protocol, Service, Slice, Target
from proxy.status.changes import PendingChanges
from proxy.status.health import ProxyHealth
from proxy.status.local_gaps import LocalGaps
from proxy.status.metrics import METRICS, ProxyMetrics
from proxy.status.process import process_text
from proxy.status.web import health_routes, listening, metrics_routes
from tests.support.proxy.strategies import NODE

KEY = ("ns", "web")
# kube-proxy 1.36: metrics of every mode, with the labels that they have.
UPSTREAM = {
    "conntrack_reconciler_deleted_entries_total": "ip_family",
    "conntrack_reconciler_sync_duration_seconds": "ip_family",
    "network_programming_duration_seconds": "ip_family",
    "proxy_healthz_total": "code",
    "proxy_livez_total": "code",
    "sync_full_proxy_rules_duration_seconds": "ip_family",
    "sync_partial_proxy_rules_duration_seconds": "ip_family",
    "sync_proxy_rules_duration_seconds": "ip_family",
    "sync_proxy_rules_endpoint_changes_pending": "",
    "sync_proxy_rules_endpoint_changes_total": "",
    "sync_proxy_rules_last_queued_timestamp_seconds": "ip_family",
    "sync_proxy_rules_last_timestamp_seconds": "ip_family",
    "sync_proxy_rules_no_local_endpoints_total": "ip_family,traffic_policy",
    "sync_proxy_rules_service_changes_pending": "",
    "sync_proxy_rules_service_changes_total": "",
}


def samples(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name.removeprefix("kubeproxy_"): float(value) for name, _, value in lines}


def labels_of(text: str, name: str) -> str:
    """Return the labels of a metric's first sample, without ``le``."""
    match = re.search(rf"^kubeproxy_{name}(?:_count)?(?:{{(.*?)}})? ", text, re.MULTILINE)
    assert match, name
    return ",".join(re.findall(r'(\w+)="', match[1] or ""))


def test_names_and_labels_are_upstreams() -> None:
    metrics = ProxyMetrics("iptables")
    health = health_routes(ProxyHealth(time.time), metrics)
    health["/healthz"](None)
    health["/livez"](None)
    LocalGaps(metrics).update(Tracker(NODE, tuple(Family)).desired())
    text = metrics.text()
    assert {name: labels_of(text, name) for name in UPSTREAM} == UPSTREAM
    assert 'kubeproxy_proxy_healthz_total{code="503"} 1\n' in text


# Those of one mode, as upstream registers them.
OF_MODE = {
    "iptables": {
        "iptables_ct_state_invalid_dropped_packets_total": "",
        "iptables_localhost_nodeports_accepted_packets_total": "",
        "sync_proxy_rules_iptables_last": "ip_family,table",
        "sync_proxy_rules_iptables_partial_restore_failures_total": "ip_family",
        "sync_proxy_rules_iptables_restore_failures_total": "ip_family",
        "sync_proxy_rules_iptables_total": "ip_family,table",
    },
    "nftables": {
        "sync_proxy_rules_nftables_cleanup_failures_total": "ip_family",
        "sync_proxy_rules_nftables_sync_failures_total": "ip_family",
    },
}
OWN = {
    "other_proxies_total",
    "rules_disturbed_total",
    "stale_conntrack_entries_deleted_total",
    "sync_failures_total",
}


@pytest.mark.parametrize("mode", ["iptables", "nftables", "ebpf"])
def test_every_mode_has_all_of_upstreams_names_and_no_other(mode: str) -> None:
    metrics = ProxyMetrics(mode)
    text = metrics.text()
    found = set(re.findall(r"^# TYPE kubeproxy_(\w+) ", text, re.MULTILINE))
    mine = OF_MODE["iptables" if mode == "iptables" else "nftables"]
    assert found == UPSTREAM.keys() | mine.keys() | OWN
    for name, labels in mine.items():
        assert METRICS[name].labels == tuple(filter(None, labels.split(","))), name
    assert len(UPSTREAM) + sum(map(len, OF_MODE.values())) == 23


@pytest.mark.parametrize(
    ("mode", "has", "has_not"),
    [
        ("iptables", "iptables_restore_failures", "nftables_sync_failures"),
        ("nftables", "nftables_sync_failures", "iptables_restore_failures"),
        ("ebpf", "nftables_sync_failures", "iptables_restore_failures"),
    ],
)
def test_a_mode_has_its_own_metrics_only(mode: str, has: str, has_not: str) -> None:
    found = samples(ProxyMetrics(mode, (Family.V4,)).text())
    assert found[f'sync_proxy_rules_{has}_total{{ip_family="IPv4"}}'] == 0
    assert not [name for name in found if has_not in name or "IPv6" in name]


def test_buckets_are_upstreams() -> None:
    metrics = ProxyMetrics()
    metrics.observe("network_programming_duration_seconds", 0.4)
    metrics.observe("sync_proxy_rules_duration_seconds", 0.003)
    text = metrics.text()
    name = "kubeproxy_network_programming_duration_seconds"
    limits = re.findall(rf'{name}_bucket{{ip_family="IPv4",le="(.*?)"}}', text)
    assert limits[:4] == ["0.25", "0.5", "1", "2"]
    assert limits[-8:] == ["120", "150", "180", "210", "240", "270", "300", "+Inf"]
    assert len(limits) == 2 + 59 + 12 + 7 + 1
    assert f'{name}_bucket{{ip_family="IPv6",le="0.5"}} 1\n' in text
    assert 'sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.004"} 1\n' in text


def test_changes_are_pending_until_they_are_written() -> None:
    metrics = ProxyMetrics("nftables", (Family.V4,))
    changes = PendingChanges(metrics)
    began = datetime.fromtimestamp(time.time() + 1, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def shown() -> tuple[float, ...]:
        found = samples(metrics.text())
        kinds = ("service_changes_pending", "endpoint_changes_pending", "service_changes_total")
        programmed = found['network_programming_duration_seconds_count{ip_family="IPv4"}']
        return *(found[f"sync_proxy_rules_{kind}"] for kind in kinds), programmed

    changes.service(KEY)
    changes.service(KEY)
    changes.endpoints(KEY, "2020-01-01T00:00:00Z")  # before this process: upstream omits it
    changes.endpoints(("ns", "other"), began)
    changes.endpoints(("ns", "odd"), "tomorrow")
    assert shown() == (1, 3, 2, 0)
    batch = changes.take()
    assert shown() == (0, 0, 2, 0)
    changes.failed(batch)
    assert shown() == (1, 3, 2, 0)
    changes.written(changes.take())
    assert shown() == (0, 0, 2, 1)


def test_services_without_a_local_endpoint_are_counted() -> None:
    metrics, tracker = ProxyMetrics(), Tracker(NODE, tuple(Family))
    gaps = LocalGaps(metrics)
    ports = (Port("", Protocol.TCP, 80, 30080),)
    policies = {"internal_local": True, "external_local": True}
    tracker.set_service(KEY, Service(KEY, ports, (ip_address("10.96.0.1"),), **policies))

    def counts(*local: bool) -> list[float]:
        ends = tuple(
            Endpoint(Target.of(ip_address("10.244.0.1") + number, 80), local=here)
            for number, here in enumerate(local)
        )
        tracker.set_slice(KEY, Slice(KEY, {("", Protocol.TCP): ends}))
        gaps.update(tracker.desired())
        found = samples(metrics.text())
        name = 'sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="%s"}'
        return [found[name % policy] for policy in ("internal", "external")]

    assert counts(False) == [1, 1]
    assert counts(False, True) == [0, 0]
    assert counts(False) == [1, 1]
    assert counts() == [0, 0]  # no endpoint anywhere is no matter of a policy


def test_the_process_and_its_build_are_shown() -> None:
    found = samples(process_text())
    assert found["process_resident_memory_bytes"] > 1_000_000
    assert found["process_open_fds"] >= 3
    assert abs(found["process_start_time_seconds"] - time.time()) < 86400
    assert [name for name in found if name.startswith("kubernetes_build_info{major=")]


async def test_statusz_and_configz() -> None:
    pages = metrics_routes(ProxyMetrics(), "nftables", lambda: "", {"mode": "nftables"})
    structured = {"Accept": "application/json;v=v1alpha1;g=config.k8s.io;as=Statusz"}
    async with listening(pages, ["127.0.0.1"], 31999), aiohttp.ClientSession() as session:
        async with session.get("http://127.0.0.1:31999/statusz") as answer:
            text = await answer.text()
        async with session.get("http://127.0.0.1:31999/statusz", headers=structured) as answer:
            status = await answer.json()
        async with session.get("http://127.0.0.1:31999/configz") as answer:
            assert await answer.json() == {"kubeproxy.config.k8s.io": {"mode": "nftables"}}
    assert text.startswith("\nkube-proxy statusz\nWarning: This endpoint is not meant to be")
    assert "Paths: /configz /healthz /metrics /proxyMode /statusz" in text
    assert (status["kind"], status["apiVersion"]) == ("Statusz", "config.k8s.io/v1alpha1")


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_the_shown_configuration_means_the_same_when_it_is_read(tmp_path, mode: str) -> None:
    args = ["--kubeconfig", "/k", "--proxy-mode", mode, "--nodeport-addresses", "10.0.0.0/8"]
    flags = main.make_context("proxy", [*args, "--masquerade-all", "--node-name", "n1"]).params
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(dict(document(flags))))
    again = main.make_context("proxy", ["--config", str(path)]).params
    assert document(again) == document(flags)
    assert read(path)["proxy_mode"] == mode
