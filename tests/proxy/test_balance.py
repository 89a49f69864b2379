"""Least connections: how a Service asks for it, and what is said where it cannot be had."""

import pytest

from proxy.ebpf.layout import Entry
from proxy.feed import Feed, Kept, Reader
from proxy.metrics import Metrics
from proxy.model import Balance, Family, NodeView, Service
from proxy.parse import BALANCE, parse_service
from proxy.tracker import Tracker
from tests.proxy.test_parse import service as wire


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


def kept(text: str) -> Kept[Service]:
    api, _ = wire(annotations={BALANCE: text})
    return Reader("n1", "").service(api)


def feed(mode: str) -> Feed:
    tracker = Tracker(NodeView("n1"), (Family.V4,))
    return Feed(tracker, Metrics(), lambda: None, mode)


def test_a_mode_that_cannot_says_so_once(caplog) -> None:
    told, service = feed("nftables"), kept("least-connections")
    told.service(None, service)
    told.service(service, kept("least-connections"))
    assert caplog.text.count("mode nftables cannot balance by least-connections") == 1
    assert "Service ns/web" in caplog.text
    told.service(service, kept("random"))
    told.service(None, service)
    assert caplog.text.count("cannot balance") == 2


def test_a_mode_that_can_says_nothing(caplog) -> None:
    told = feed("ebpf")
    told.service(None, kept("least-connections"))
    told.service(kept("least-connections"), None)
    assert not caplog.text


def test_the_maps_are_told() -> None:
    plain, fewest = Entry().pack(), Entry(to_fewest=True).pack()
    assert len(plain) == len(fewest) == 40
    differ = [at for at in range(40) if plain[at] != fewest[at]]
    assert differ == [37]  # where `struct forward` has to_fewest
