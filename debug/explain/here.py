"""Where a packet is on its way, and what the nodes remember of its connection."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from fractions import Fraction

import msgspec

from debug.explain.result import Branch, Hop
from debug.explain.space import Space
from debug.ruleset.packet import (
    ACK,
    ICMP,
    ICMP6,
    SYN,
    Flow,
    Packet,
    State,
    Tuple,
    make,
)
from debug.ruleset.read.fib import LinkFact
from debug.ruleset.tracking import begun, belonging, confirmed, met

_NOBODY = Tuple(b"", b"", 0, 0)
Remembered = tuple[tuple[str, Flow], ...]


@dataclass(frozen=True, slots=True)
class Here:
    """A packet in a namespace. ``via`` is the next hop; ``arrive`` is told where it is received.

    ``port`` is the one of a bridge by which it came.
    """

    space: Space
    state: State
    weight: Fraction = Fraction(1)
    flows: Remembered = ()
    called: Tuple = _NOBODY  # what the sender of the first packet called
    via: str = ""
    depth: int = 0
    port: LinkFact | None = None
    awaited: Tuple | None = None  # of a reply: the addresses that its receiver waits for
    arrive: "Callable[[Here], Branch] | None" = field(default=None, compare=False)

    def at(self, **changes: object) -> "Here":
        """Return the packet with another state, or elsewhere."""
        return replace(self, **changes)  # type: ignore[arg-type]

    def with_state(self, **changes: object) -> "Here":
        """Return the packet, changed."""
        return replace(self, state=msgspec.structs.replace(self.state, **changes))

    def remembering(self) -> "Here":
        """Return the packet after its namespace has confirmed the connection."""
        flow = self.state.flow
        if flow is None or flow.original is None or flow.state == "untracked":
            return self
        kept = (*self.flows, (self.space.name, confirmed(flow)))
        return replace(self, flows=kept)

    def remembers(self, flow: Flow) -> bool:
        """Return True if this namespace has met the connection on the packet's way."""
        known = (one.original for name, one in self.flows if name == self.space.name)
        return flow.original in known

    def is_translated(self) -> bool:
        """Return True if this namespace translates the connection of the packet."""
        flow = self.tracked(self.state).flow
        return flow is not None and bool(flow.translated)

    def tracked(self, state: State) -> State:
        """Return what conntrack makes of a packet here. Raises UnknownError."""
        seen = state.packet.flow_tuple
        for name, flow in reversed(self.flows):
            if name == self.space.name and seen in (flow.reply, flow.original):
                return belonging(state, flow)
        if state.open_port:  # its addresses are not known, but are no other connection's
            return begun(state)
        return met(state, self.space.connection(state.packet, seen))

    def is_taken(self, state: State) -> bool:
        """Return True if another connection has the addresses of a packet's answers here."""
        flow = state.flow
        if flow is None or flow.reply is None:
            return False
        found = self.space.connection(state.packet, flow.reply, answer=True)
        return found is not None and found != flow.closed


Then = Callable[[Here], Branch]
"""What leads a packet on."""


def answer(packet: Packet) -> Packet:
    """Return the first reply of who received a packet."""
    flags = SYN | ACK
    source, destination = packet.ports
    ends = str(packet.destination), str(packet.source)
    made = make(*ends, packet.protocol, destination, source, flags=flags)
    if packet.protocol in (ICMP, ICMP6):
        kind = 0 if packet.protocol == ICMP else 129
        return msgspec.structs.replace(made, transport=bytes([kind]) + packet.transport[1:])
    return made


def prefixed(hops: Iterable[Hop], branch: Branch, conditions: tuple[str, ...] = ()) -> Branch:
    """Return a branch with hops before its own."""
    return msgspec.structs.replace(
        branch, hops=(*hops, *branch.hops), conditions=(*conditions, *branch.conditions)
    )
