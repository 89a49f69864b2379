"""Leads a packet to the endpoint that an eBPF program chooses: for a call, or by a link."""

from fractions import Fraction
from functools import partial

import msgspec

from debug.explain.balance import entered
from debug.explain.here import Here, Then, prefixed
from debug.explain.programs import Balanced, Call
from debug.explain.result import DROPPED, UNKNOWN, Branch, RuleLine
from debug.explain.steps import Steps
from proxy.backends.installed import Share


class Choices:
    """What programs choose on a packet's way."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def called(self, here: Here, call: Call) -> Branch:
        """Send what a process calls to the endpoint that a program chooses at its socket."""
        name = f"{call.name} ({call.note})" if call.note else call.name
        hop = self._steps.hop(here, "socket", f"eBPF: a call of {name}", ())
        if call.unknown:
            return prefixed([hop], self._steps.end(here, UNKNOWN, f"eBPF: {call.unknown}"))
        if not call.shares:
            refused = self._steps.end(here, DROPPED, "eBPF: refused, without endpoints")
            return prefixed([hop], refused)
        ways = [
            (Fraction(share.part), partial(self._replaced, here, name, share))
            for share in call.shares
        ]
        return self._steps.parted(here, ways, "endpoints")

    def _replaced(self, here: Here, name: str, share: Share) -> Branch:
        target, packet = share.target, here.state.packet
        to = msgspec.structs.replace(
            packet.flow_tuple,
            destination=target.packed,
            destination_port=target.port,
        )
        sent = here.with_state(packet=packet.rewritten(to)).at(
            called=to, weight=Fraction(share.part).limit_denominator(10_000)
        )
        hop = self._steps.hop(sent, "socket", f"eBPF: a call of {name}", ())
        return prefixed([hop], self._steps.send(sent))

    def balanced(self, here: Here, found: Balanced, then: Then) -> Branch:
        """Go on with a flow that a program enters into conntrack, before any rule."""
        if found.unknown:
            return self._steps.end(here, UNKNOWN, f"eBPF: {found.unknown}")
        ways = sorted(entered(here, found), key=lambda way: -way[0].weight)
        return self._steps.parted(
            here, [(on.weight, partial(self._entered, on, line, then)) for on, line in ways]
        )

    def _entered(self, on: Here, line: RuleLine, then: Then) -> Branch:
        hop = self._steps.hop(on, "program", "", (line,))
        return prefixed([hop], self._steps.known(on, then))
