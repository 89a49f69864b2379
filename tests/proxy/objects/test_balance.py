"""Least connections: how a Service asks for it, and the warning in modes without it."""

from types import SimpleNamespace

import pytest
from msgspec.structs import replace

from proxy.backends.ebpf.layout import ForwardEntry
from proxy.desired.tracker import Tracker
from proxy.model.values import Balance, Family, NodeView, Service
from proxy.objects.feed import Feed, KeptObject, ObjectReader
from proxy.objects.parse import BALANCE, parse_service
from proxy.status.changes import PendingChanges
from proxy.status.events import EventReporter
from proxy.status.metrics import ProxyMetrics
from tests.support.proxy.objects import service_with as wire
from tests.support.proxy.told import Told


@pytest.mark.parametrize(
    ("text", "found", "complaints"),
    [
        ("random", Balance.RANDOM, 0),
        ("least-connections", Balance.LEAST_CONNECTIONS, 0),
        ("Least-Connections", Balance.RANDOM, 1),
        ("", Balance.RANDOM, 1),
        ("x" * 10_000, Balance.RANDOM, 1),
    ],
)
def test_an_annotation(text: str, found: Balance, complaints: int) -> None:
    api, said = wire(annotations={BALANCE: text})
    parsed = parse_service(api, said)
    assert parsed is not None
    assert parsed.balance is found
    assert len(said.lines) == complaints
    assert all(len(line) < 300 and BALANCE in line for line in said.lines)


def kept(text: str) -> KeptObject[Service]:
    api, _ = wire(annotations={BALANCE: text})
    return replace(ObjectReader("n1", "").service(api), uid="u")


def feed(mode: str, told: Told) -> Feed:
    tracker = Tracker(NodeView("n1"), (Family.V4,))
    return Feed(tracker, PendingChanges(ProxyMetrics()), lambda: None, mode, told)


def test_a_mode_without_it_warns_once(caplog) -> None:
    report = Told()
    told, service_with = feed("nftables", report), kept("least-connections")
    told.service(None, service_with)
    told.service(service_with, kept("least-connections"))
    assert caplog.text.count("mode nftables cannot balance by least-connections") == 1
    assert "Service ns/web" in caplog.text
    ((key, uid, reason, message),) = report.services
    assert (key, uid, reason) == (("ns", "web"), "u", "ProxyBalanceUnsupported")
    assert "mode nftables cannot balance by least-connections" in message
    told.service(service_with, kept("random"))
    told.service(None, service_with)
    assert caplog.text.count("cannot balance") == len(report.services) == 2


def test_a_mode_with_it_does_not_warn(caplog) -> None:
    report = Told()
    told = feed("ebpf", report)
    told.service(None, kept("least-connections"))
    told.service(kept("least-connections"), None)
    assert not caplog.text
    assert not report.services


def test_events_are_about_the_service_and_name_the_node() -> None:
    recorded: list[tuple] = []
    recorder = SimpleNamespace(record=lambda *args: recorded.append(args))
    EventReporter(lambda: recorder, "n1").about_service(("ns", "web"), "u", "Reason", "why")
    EventReporter(lambda: recorder, "n1").about_node("Reason", "why")
    (service_with, *said), (node, *of_node) = recorded
    assert (service_with.kind, service_with.namespace, service_with.name, service_with.uid) == (
        "Service",
        "ns",
        "web",
        "u",
    )
    assert said == ["Warning", "Reason", "node n1: why"]
    assert (node.kind, node.namespace, node.name) == ("Node", None, "n1")
    assert of_node == ["Warning", "Reason", "why"]


def test_the_maps_have_the_balance() -> None:
    plain, fewest = ForwardEntry().pack(), ForwardEntry(least_connections=True).pack()
    assert len(plain) == len(fewest) == 40
    differ = [at for at in range(40) if plain[at] != fewest[at]]
    assert differ == [37]  # where `struct forward` has least_connections
