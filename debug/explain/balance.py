"""A flow that an eBPF program has entered into conntrack, on its way through a namespace: pure."""

from collections.abc import Iterator
from fractions import Fraction
from ipaddress import ip_address

from msgspec.structs import replace

from debug.explain.here import Here
from debug.explain.programs import Balanced
from debug.explain.result import RuleLine
from debug.ruleset.packet import CONFIRMED, DNAT, DST_DONE, SNAT, SRC_DONE, Address, Flow
from debug.ruleset.registers import UnknownError
from proxy.backends.installed import Share

PROGRAM = "eBPF program"  # the table that is shown
_ENTERED = CONFIRMED | DST_DONE | SRC_DONE | DNAT


def begins(here: Here) -> bool:
    """Return True if conntrack has no connection of a packet yet."""
    try:
        flow = here.tracked(here.state).flow
    except UnknownError:
        return False  # rules will say so
    return flow is not None and flow.state == "new" and not flow.status & CONFIRMED


def entered(here: Here, found: Balanced) -> Iterator[tuple[Here, RuleLine]]:
    """Yield the packet for each endpoint that a program may choose, and what the program did."""
    for share, source in found.shares:
        part = Fraction(share.part).limit_denominator(10_000)
        flow = _flow(here, share, source)
        kept = (*here.flows, (here.space.name, flow))
        did = [f"destination becomes {share.target.host} port {share.target.port}"]
        did += [f"source becomes {source}"] if source else []
        line = RuleLine(PROGRAM, "balance", "enter", comment=found.name, did=tuple(did))
        yield here.at(flows=kept, weight=here.weight * part), line


def _flow(here: Here, share: Share, source: Address | None) -> Flow:
    original = here.state.packet.flow_tuple
    to = replace(original, destination=share.target.packed, destination_port=share.target.port)
    if source is not None:
        to = replace(to, source=ip_address(source).packed)
    status = _ENTERED | (SNAT if source else 0)
    return Flow("new", status, 0, False, original, to.turned())
