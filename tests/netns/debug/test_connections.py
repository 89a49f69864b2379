"""What is predicted of packets whose connection is tracked already, held to the kernel.

Connections begin under one random ruleset, and go on for a while: answered, closed, reset. Then
the rules are others, and packets come that belong to them, or want their addresses.
PODWIRE_RULESETS=400 makes it a long run.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from debug.explain.connections import KernelConnections, entry_of
from debug.kernel.conntrack import Tracked, table
from debug.places import entered
from debug.ruleset.packet import (
    ACK,
    ICMP,
    ICMP6,
    RST,
    SYN,
    TCP,
    UDP,
    Connections,
    Entry,
    Packet,
    Tuple,
    make,
)
from debug.ruleset.read.fib import KernelFib
from debug.ruleset.read.kernel import KernelRules
from tests.support.debug.differential import Coverage, Walk, compare, predicted
from tests.support.debug.generator import PORTS, SOURCES, TARGETS, Generator
from tests.support.debug.router import Router, Seen, payload
from tests.support.debug.router import router as made_router
from tests.support.space import Space

RULESETS = int(os.environ.get("PODWIRE_RULESETS", "24"))
START = int(os.environ.get("PODWIRE_SEED", "1"))
BEGUN = 18  # connections of a ruleset
FIN = 0x01
SEEN, ASSURED = 0x2, 0x4  # IPS_...
LEFT, RIGHT = 0, 1
# What the ends of a connection send after its first packet: the side, and TCP's flags.
HISTORIES = (
    (),
    ((RIGHT, SYN | ACK),),
    ((RIGHT, SYN | ACK), (LEFT, ACK)),
    ((RIGHT, SYN | ACK), (LEFT, ACK), (LEFT, FIN | ACK)),
    ((RIGHT, SYN | ACK), (LEFT, ACK), (LEFT, FIN | ACK), (RIGHT, ACK)),
    ((RIGHT, SYN | ACK), (LEFT, ACK), (LEFT, FIN | ACK), (RIGHT, FIN | ACK)),
    ((RIGHT, SYN | ACK), (LEFT, ACK), (LEFT, FIN | ACK), (RIGHT, FIN | ACK), (LEFT, ACK)),
    ((RIGHT, SYN | ACK), (LEFT, RST)),
    ((RIGHT, RST | ACK),),
)
LATER = ((LEFT, SYN), (LEFT, SYN), (LEFT, ACK), (RIGHT, SYN | ACK), (RIGHT, SYN), (RIGHT, ACK))
EXPECTED = {"new", "established", "invalid", "begun", "again", "clash"}
_numbers = iter(range(1, 1 << 30))


@pytest.fixture(scope="module")
def router(spaces: Callable[[str], Space]) -> Iterator[Router]:
    with made_router(spaces) as made:
        yield made


class Aged:
    """The table, with UDP's flows two seconds old: the next packet makes those assured."""

    def __init__(self, table: Connections) -> None:
        self._table = table

    def find(self, packet: Packet, wanted: Tuple, *, answer: bool = False) -> Entry | None:
        found = self._table.find(packet, wanted, answer=answer)
        if found is None or packet.protocol != UDP or not found.status & SEEN:
            return found
        return replace(found, status=found.status | ASSURED)


def first_packet(draw: random.Random, version: int, number: int) -> Packet:
    protocol = draw.choice([TCP, TCP, TCP, UDP, ICMP if version == 4 else UDP])
    ends = draw.choice(SOURCES[version]), draw.choice(TARGETS[version])
    return made(protocol, *ends, 10_000 + number % 50_000, draw.choice(PORTS))


def made(protocol: int, source: str, to: str, port: int, to_port: int, flags: int = SYN) -> Packet:
    return make(source, to, protocol, port, to_port, flags=flags, payload=payload())


def of(flow: Tracked, ends: Tuple, flags: int, *, is_reply: bool) -> Packet:
    """A packet with a connection's addresses."""
    addresses = str(ip_address(ends.source)), str(ip_address(ends.destination))
    packet = made(flow.number, *addresses, ends.source_port, ends.destination_port, flags)
    if is_reply and flow.number in (ICMP, ICMP6):
        kind = 0 if flow.number == ICMP else 129
        return replace(packet, transport=bytes([kind]) + packet.transport[1:])
    return packet


def can_come(packet: Packet) -> bool:
    """False for what has the router's own address as its source: routing refuses it."""
    return not str(packet.source).startswith(("10.255.", "10.9.", "fd00:ff:", "fd00:9:"))


def from_side(flow: Tracked, side: int, flags: int) -> Packet:
    entry = entry_of(flow)
    ends = entry.reply if side == RIGHT else entry.original
    return of(flow, ends, flags, is_reply=side == RIGHT)


def tracked() -> dict[tuple[int, int], Tracked]:
    """The test's connections, by protocol and source port; what the kernel itself sent is none."""
    every = (one for one in table() if one.original.source_port >= 10_000)
    return {(one.number, one.original.source_port): one for one in every}


def send(router: Router, packet: Packet, side: int) -> list[Seen]:
    number = next(_numbers)
    return router.send([(number, packet)], side)[number]


def test_the_kernel_does_with_known_connections_what_is_predicted(router: Router) -> None:
    count, met = Coverage(), Counter[str]()
    for seed in range(START, START + RULESETS):
        one_seed(router, seed, count, met)
    print(f"\n{sum(count.cases.values())} cases, {dict(count.cases)}, {dict(met)}")
    print(f"unknown: {dict(count.unknown)}")
    reset = sum(number for why, number in count.unknown.items() if "was reset" in why)
    assert count.cases["unknown"] - reset < sum(count.cases.values()) * 0.02
    assert RULESETS < 20 or met.keys() >= EXPECTED


def one_seed(router: Router, seed: int, count: Coverage, met: Counter[str]) -> None:
    version, draw = (6 if seed % 3 == 0 else 4), random.Random(seed)
    router.install(Generator(seed + 10_000, version).ruleset())
    with entered(router.place):
        router.space.run("conntrack", "-F")
        begin(router, draw, version)
        router.install(Generator(seed, version).ruleset())
        with (
            closing(KernelRules()) as rules,
            closing(KernelFib()) as fib,
            closing(KernelConnections()) as connections,
        ):
            walk = Walk(rules, fib, table=connections)
            for side, packet in later(draw, list(tracked().values())):
                if not can_come(packet):
                    continue
                one_packet(router, walk, (side, packet), count, met, f"seed {seed}")


def begin(router: Router, draw: random.Random, version: int) -> None:
    """Have connections of every age."""
    packets = [
        (one, first_packet(draw, version, one)) for one in (next(_numbers) for _ in range(BEGUN))
    ]
    router.send(packets)
    for flow in tracked().values():
        for side, flags in draw.choice(HISTORIES):
            packet = from_side(flow, side, flags)
            if can_come(packet):
                send(router, packet, side)


def later(draw: random.Random, flows: list[Tracked]) -> Iterator[tuple[int, Packet]]:
    """Yield packets that belong to a connection, or that would have another one's addresses."""
    for flow in flows:
        ended = flow.state == "TIME_WAIT"
        side, flags = (LEFT, SYN) if ended else draw.choice(LATER)
        yield side, from_side(flow, side, flags)
        if flow.translated and not flow.masqueraded and flow.number in (TCP, UDP):
            entry = entry_of(flow)
            yield LEFT, of(flow, entry.reply.turned(), SYN, is_reply=False)


def one_packet(
    router: Router,
    walk: Walk,
    sent: tuple[int, Packet],
    count: Coverage,
    met: Counter[str],
    label: str,
) -> None:
    side, packet = sent
    devices = {one.device.name: one.device for one in walk.fib.links.values()}
    device = devices[f"r{side}"]
    young = predicted(walk, packet, device)
    aged = Walk(walk.rules, walk.fib, table=Aged(walk.table))
    old = predicted(aged, packet, device) if packet.protocol == UDP else young
    seen = send(router, packet, side)
    why, alike = compare(young, packet, seen, count)
    if why:
        why, alike = compare(old, packet, seen, count)
    assert not why, f"{label}: {why}"
    for way in alike[:1]:
        met[kind(way.state.flow, way.state.open_port)] += 1


def kind(flow: object, open_port: str) -> str:
    """What conntrack made of a packet."""
    state = getattr(flow, "state", "")
    if getattr(flow, "closed", None):
        return "again"
    if state == "new" and not getattr(flow, "entry", None):
        return "clash" if open_port else "begun"
    return str(state)
