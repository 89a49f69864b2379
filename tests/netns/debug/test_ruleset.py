"""What is predicted of rules, held to the kernel: random rulesets, packets and connections.

Each packet goes through the rules of a router and through the evaluator; the kernel's outcome (the
hooks that it passed, its mark and its headers after each) must be among those predicted.
PODWIRE_RULESETS=400 makes it a long run.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from msgspec.structs import replace

from debug.places import entered
from debug.ruleset.packet import ACK, ICMP, ICMP6, SYN, TCP, UDP, Device, Packet, make
from debug.ruleset.read.fib import KernelFib
from debug.ruleset.read.kernel import KernelRules
from debug.ruleset.tracking import answered
from debug.ruleset.traverse import Way
from tests.support.debug.differential import Coverage, Walk, compare, predicted
from tests.support.debug.generator import OWN, PORTS, SOURCES, TARGETS, Generator
from tests.support.debug.router import Router, Seen, payload
from tests.support.debug.router import router as made_router
from tests.support.space import Space

RULESETS = int(os.environ.get("PODWIRE_RULESETS", "56"))
PACKETS = 30
START = int(os.environ.get("PODWIRE_SEED", "1"))
EXPECTED = {
    *("Bitwise", "ByteOrder", "Compare", "Ct", "CtSet", "Draw", "Fib", "Hash", "Immediate"),
    *("Limit", "Lookup", "Masquerade", "Meta", "MetaSet", "Nat", "Payload", "PayloadSet", "Quiet"),
    *("Range", "Redirect", "Reject", "TcpOption", "Unloadable", "Untrack", "Update"),
}
_numbers = iter(range(1, 1 << 30))


@pytest.fixture(scope="module")
def router(spaces: Callable[[str], Space]) -> Iterator[Router]:
    with made_router(spaces) as made:
        yield made


def random_packet(draw: random.Random, version: int, number: int) -> Packet:
    # No ICMPv6: its checksum, which translation changes, is where th dport looks.
    protocol = draw.choice([TCP, TCP, UDP, ICMP if version == 4 else UDP])
    target = draw.choice([*TARGETS[version], *TARGETS[version], *OWN[version]])
    return make(
        draw.choice(SOURCES[version]),
        target,
        protocol,
        10_000 + number % 50_000,
        draw.choice(PORTS),
        payload=payload(),
        tos=draw.choice([0, 0, 0x20]),
    )


def test_the_kernel_does_what_is_predicted(router: Router) -> None:
    count = Coverage()
    for seed in range(START, START + RULESETS):
        one_ruleset(router, seed, count)
    total = sum(count.cases.values())
    print("\n".join(router.refused))
    print(f"\n{total} cases, {dict(count.cases)}")
    print(f"unknown: {dict(count.unknown)}")
    print(f"steps: {dict(sorted(count.steps.items()))}")
    assert count.cases["unknown"] < total * 0.02
    assert total > RULESETS * PACKETS, "some connections were answered, too"
    assert RULESETS < 50 or {one.split()[0] for one in count.steps} >= EXPECTED


def one_ruleset(router: Router, seed: int, count: Coverage) -> None:
    version = 6 if seed % 3 == 0 else 4
    ruleset = Generator(seed, version).ruleset()
    router.install(ruleset)
    draw = random.Random(seed)
    with entered(router.place), closing(KernelRules()) as rules, closing(KernelFib()) as fib:
        count.count(rules)
        devices = {one.device.name: one.device for one in fib.links.values()}
        left, right = devices["r0"], devices["r1"]
        numbers = [next(_numbers) for _ in range(PACKETS)]
        packets = {one: random_packet(draw, version, one) for one in numbers}
        seen = router.send(list(packets.items()))
        ways = {}
        for number, packet in packets.items():
            found = predicted(Walk(rules, fib), packet, left)
            why, alike = compare(found, packet, seen[number], count)
            assert not why, f"seed {seed}, first packet: {why}"
            if alike and at_the_end(seen[number]) and alike[0].state.flow:
                ways[number] = alike
        replies(router, (rules, fib), (packets, seen, ways), right, count, f"seed {seed}")


def at_the_end(seen: list[Seen]) -> bool:
    return bool(seen) and seen[-1].hook == "postrouting"


def replies(
    router: Router,
    read: tuple[KernelRules, KernelFib],
    sent: tuple[dict[int, Packet], dict[int, list[Seen]], dict[int, list[Way]]],
    device: Device,
    count: Coverage,
    label: str,
) -> None:
    """Answer what arrived on the right, and compare the answers' ways."""
    packets, seen, ways = sent
    answers = {}
    for number, (way, *_) in ways.items():
        last = seen[number][-1].packet
        if way.state.oif is None or way.state.oif.name != "r1":
            continue
        if way.state.flow.state == "untracked" or way.state.open_port:
            continue
        answers[number] = answer(last)
    again = router.send(list(answers.items()), side=1)
    for number, packet in answers.items():
        why = ""
        for flow in {one.state.flow for one in ways[number]}:
            found = predicted(Walk(*read, answered(flow)), packet, device)
            why, _ = compare(found, packet, again[number], count)
            if not why:
                break
        assert not why, f"{label}, reply to {packets[number]}: {why}"


def answer(packet: Packet) -> Packet:
    """The first reply to a packet, as its receiver sends it."""
    made = make(
        str(packet.destination),
        str(packet.source),
        packet.protocol,
        packet.ports[1],
        packet.ports[0],
        flags=SYN | ACK,
        payload=payload(),
    )
    if packet.protocol in (ICMP, ICMP6):
        kind = 0 if packet.protocol == ICMP else 129
        return replace(made, transport=bytes([kind]) + packet.transport[1:-4] + bytes(4))
    return made
