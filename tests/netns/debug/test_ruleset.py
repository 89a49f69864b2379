"""What is predicted of rules, held to the kernel: random rulesets, packets and connections.

Each packet goes through the rules of a router and through the evaluator; the kernel's outcome (the
hooks that it passed, its mark and its headers after each) must be among those predicted.
PODWIRE_RULESETS=400 makes it a long run.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from msgspec.structs import replace

from debug.places import entered
from debug.ruleset import steps
from debug.ruleset.packet import (
    ACK,
    ICMP,
    ICMP6,
    SYN,
    TCP,
    UDP,
    Device,
    Flow,
    Packet,
    State,
    answered,
    begun,
    make,
)
from debug.ruleset.read.fib import KernelFib
from debug.ruleset.read.kernel import KernelRules
from debug.ruleset.traverse import Way, joined, through_hook
from debug.ruleset.values import Hook
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


Outcome = tuple[tuple[str, int, tuple[object, ...]], ...]


def looks(packet: Packet, open_port: str = "") -> tuple[object, ...]:
    """What is compared of a packet; a port that the kernel chose is any."""
    ports = [*packet.ports]
    if open_port and not packet.has_ports:
        ports = [-1, -1]  # ICMP's identifier
    elif open_port:
        ports[open_port == "destination"] = -1
    ttl = packet.network[8 if packet.version == 4 else 7]
    tos = packet.network[1] if packet.version == 4 else packet.network[0:2]
    return packet.source_bytes, packet.destination_bytes, tuple(ports), ttl, tos


class Walk:
    """Sends a packet through the hooks of the router, as forwarding or delivery leads it."""

    def __init__(self, rules: KernelRules, fib: KernelFib, flow: Flow | None = None) -> None:
        self.rules, self.fib, self.flow = rules, fib, flow

    def _track(self, state: State) -> State:
        return begun(state) if self.flow is None else replace(state, flow=self.flow)

    def ways(self, packet: Packet, device: Device) -> Iterator[tuple[Way, list[Way]]]:
        """Yield each way to its end, with the ways at the end of each hook that it passed."""
        for way in self._hook(Hook.PREROUTING, State(packet, iif=device), self._track):
            if way.verdict.code != "accept":
                yield way, [way]
                continue
            yield from self._routed(way)

    def _hook(self, hook: Hook, state: State, track: object = None) -> list[Way]:
        return through_hook(self.rules, self.fib, hook, state, track)  # type: ignore[arg-type]

    def _routed(self, first: Way) -> Iterator[tuple[Way, list[Way]]]:
        route = self.fib.route(first.state.packet.destination)
        if route.kind == "local":
            for way in self._hook(Hook.INPUT, first.state):
                yield joined(first, way), [first, way]
            return
        oif = self.fib.links[route.device].device
        state = replace(first.state, packet=aged(first.state.packet), oif=oif)
        for way in self._hook(Hook.FORWARD, state):
            if way.verdict.code != "accept":
                yield joined(first, way), [first, way]
                continue
            for last in self._hook(Hook.POSTROUTING, way.state):
                yield joined(joined(first, way), last), [first, way, last]


def aged(packet: Packet) -> Packet:
    at = 8 if packet.version == 4 else 7
    head = packet.network
    return replace(packet, network=head[:at] + bytes([head[at] - 1]) + head[at + 1 :])


def predicted(walk: Walk, packet: Packet, device: Device) -> Iterator[tuple[Outcome, str, Way]]:
    """Yield each outcome; and as a verdict what is unknown."""
    for end, passed in walk.ways(packet, device):
        hooks = ["prerouting"]
        if len(passed) > 1:
            hooks += ["forward", "postrouting"] if passed[1].state.oif else ["input"]
        outcome = tuple(
            (hook, way.state.mark, looks(way.state.packet, way.state.open_port))
            for hook, way in zip(hooks, passed, strict=False)
            if way.verdict.code == "accept"
        )
        yield outcome, end.verdict.code, end


def observed(seen: list[Seen], open_port: str) -> Outcome:
    return tuple(
        (one.hook, one.mark, looks(one.packet, open_port if at_end(one) else "")) for one in seen
    )


def at_end(one: Seen) -> bool:
    return one.hook in ("postrouting", "input")


class Coverage:
    """Counts what was tried."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()
        self.cases: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def count(self, rules: KernelRules) -> None:
        for chain in rules.chains:
            for rule in rules.rules(chain.table, chain.name):
                for step in rule.steps:
                    key = f" {step.key}" if isinstance(step, steps.Meta | steps.Ct) else ""
                    self.steps[f"{type(step).__name__}{key}"] += 1


def compare(
    walk: Walk, packet: Packet, device: Device, seen: list[Seen], count: Coverage
) -> tuple[str, list[Way]]:
    """Return why kernel and prediction part, "" if they agree, and the ways it may have taken.

    Several ways may look alike, and yet leave other marks on the connection.
    """
    found = list(predicted(walk, packet, device))
    assert abs(float(sum(end.weight for *_, end in found)) - 1) < 1e-9
    alike = [
        end
        for outcome, verdict, end in found
        if verdict != "unknown" and observed(seen, end.state.open_port) == outcome
    ]
    if alike:
        count.cases["same"] += 1
        return "", alike
    unknown = [end.verdict.chain for _, verdict, end in found if verdict == "unknown"]
    if unknown:
        count.cases["unknown"] += 1
        count.unknown[unknown[0]] += 1
        return "", []
    return told(packet, seen, [end for *_, end in found]), []


def told(packet: Packet, seen: list[Seen], ways: list[Way]) -> str:
    """Say how the kernel and the prediction part."""
    lines = [f"packet {shown(packet)}"]
    lines += [f"  kernel: {one.hook} mark {one.mark:#x} {shown(one.packet)}" for one in seen]
    for way in ways:
        state = way.state
        lines.append(f"  predicted: {way.verdict} mark {state.mark:#x} {shown(state.packet)}")
        for one in way.trail:
            place = f"{one.table.name} {one.chain} handle {one.handle}"
            lines.append(f"    {place} {one.verdict.code} {one.verdict.chain} {one.notes}")
    return "\n".join(lines)


def shown(packet: Packet) -> str:
    return (
        f"{packet.protocol} {packet.source} {packet.destination} {packet.ports} {looks(packet)[3:]}"
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
            walk = Walk(rules, fib)
            why, alike = compare(walk, packet, left, seen[number], count)
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
            walk = Walk(*read, answered(flow))
            why, _ = compare(walk, packet, device, again[number], count)
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
