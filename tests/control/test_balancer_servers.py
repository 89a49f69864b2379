"""Which API servers a node's balancer knows: given, listed by the cluster, kept in a file."""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from control.api.service import EndpointSlice
from control.balancer.relay import Relay
from control.balancer.servers import MOST, Servers, listed


@contextmanager
def servers(known: Path) -> Iterator[tuple[Servers, Relay]]:
    relay = Relay()
    yield Servers(relay, ssl.create_default_context(), known), relay
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


def addresses(relay: Relay) -> list[str]:
    return [backend.address for backend in relay.backends]


def of(*last: int) -> list[tuple[str, int]]:
    return [(f"127.0.1.{number}", 1) for number in last]


async def test_the_cluster_tells_of_others_and_a_file_keeps_them(tmp_path: Path):
    known = tmp_path / "balancer/servers"
    with servers(known) as (held, relay):
        held.begin(of(1))
        one = relay.backends[0]
        held.take(of(2, 3))
        assert addresses(relay) == ["127.0.1.2", "127.0.1.3", "127.0.1.1"], "none is lost"
        assert relay.backends[2] is one, "its connections go on"
    with servers(known) as (held, relay):  # it has begun anew
        held.begin(of(1))
        assert addresses(relay) == ["127.0.1.2", "127.0.1.3", "127.0.1.1"]


async def test_the_oldest_is_forgotten_when_there_are_many(tmp_path: Path):
    with servers(tmp_path / "servers") as (held, relay):
        for number in range(1, MOST + 3):
            held.take(of(number))
        assert len(relay.backends) == MOST
        assert addresses(relay)[0] == f"127.0.1.{MOST + 2}"


@pytest.mark.parametrize("text", ["", "{", "[[1]]", '{"a": 1}'])
async def test_a_broken_file_is_passed_over(tmp_path: Path, text: str):
    (tmp_path / "servers").write_text(text)
    with servers(tmp_path / "servers") as (held, relay):
        held.begin(of(1))
        assert addresses(relay) == ["127.0.1.1"]


def test_endpoints_that_are_ready_are_listed():
    wire = {
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["192.0.2.2"], "conditions": {"ready": True}},
            {"addresses": ["192.0.2.1"]},
            {"addresses": ["192.0.2.3"], "conditions": {"ready": False}},
        ],
        "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    }
    assert listed([EndpointSlice.parse(wire)]) == [("192.0.2.1", 6443), ("192.0.2.2", 6443)]
