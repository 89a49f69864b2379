"""Puts what is predicted of a router's rules beside what its kernel did."""

from collections import Counter
from collections.abc import Iterator

from msgspec.structs import replace

from debug.ruleset import steps
from debug.ruleset.packet import Connections, Device, Flow, Packet, State
from debug.ruleset.read.fib import KernelFib
from debug.ruleset.read.kernel import KernelRules
from debug.ruleset.tracking import begun, met
from debug.ruleset.traverse import Way, joined, through_hook
from debug.ruleset.values import Hook
from tests.support.debug.router import Seen

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
    """Sends a packet through the hooks of the router, as forwarding or delivery leads it.

    Its connection is ``flow``, or what ``table`` has, or a new one.
    """

    def __init__(
        self,
        rules: KernelRules,
        fib: KernelFib,
        flow: Flow | None = None,
        table: Connections | None = None,
    ) -> None:
        self.rules, self.fib, self.flow, self.table = rules, fib, flow, table

    def _track(self, state: State) -> State:
        if self.table is not None:
            return met(state, self.table.find(state.packet, state.packet.flow_tuple))
        return begun(state) if self.flow is None else replace(state, flow=self.flow)

    def _is_taken(self, state: State) -> bool:
        if self.table is None:
            return False
        flow = state.flow
        found = self.table.find(state.packet, flow.reply, answer=True)
        return found is not None and found != flow.closed

    def ways(self, packet: Packet, device: Device) -> Iterator[tuple[Way, list[Way]]]:
        """Yield each way to its end, with the ways at the end of each hook that it passed."""
        for way in self._hook(Hook.PREROUTING, State(packet, iif=device), self._track):
            if way.verdict.code != "accept":
                yield way, [way]
                continue
            yield from self._routed(way)

    def _hook(self, hook: Hook, state: State, track: object = None) -> list[Way]:
        asked = self.rules, self.fib, hook, state
        return through_hook(*asked, track, self._is_taken)  # type: ignore[arg-type]

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


def predicted(walk: Walk, packet: Packet, device: Device) -> list[tuple[Outcome, str, Way]]:
    """Return each outcome; and as a verdict what is unknown."""
    return list(_predicted(walk, packet, device))


def _predicted(walk: Walk, packet: Packet, device: Device) -> Iterator[tuple[Outcome, str, Way]]:
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
    found: list[tuple[Outcome, str, Way]], packet: Packet, seen: list[Seen], count: Coverage
) -> tuple[str, list[Way]]:
    """Return why kernel and prediction part, "" if they agree, and the ways it may have taken.

    Several ways may look alike, and yet leave other marks on the connection.
    """
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
