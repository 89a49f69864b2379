"""Makes a trace's packets of what was met: names, rules' texts, rewrites, how it ended. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec.structs import replace

from debug.places import Place
from debug.trace.model import Ends, Hop, PacketTrace, Step
from debug.trace.packet import TUNNEL_PORTS, Flow, Packet
from debug.trace.probe import Direction, Identity
from debug.trace.walk import Passage, Stay, Visit
from debug.trace.watch.connections import Connection
from debug.trace.watch.nftrace import NftTrace
from debug.trace.watch.routes import Leads
from debug.trace.watch.rulebook import ChainKey, ChainRules, RuleText

Rules = Mapping[Place, Mapping[ChainKey, ChainRules]]
Namer = Callable[[str], str]  # "Pod default/web" of an address; "" for a stranger

_UNNAMED, _TIME_WAIT = "NOT_SPECIFIED", ("tcp_v4_rcv", "tcp_v6_rcv")
_RECEIVED = ("TCP_RESET", _UNNAMED)  # reasons of a reset that did what it was for
_HINTS = {  # what a kernel means that says little
    "NETFILTER_DROP": "by a rule that no event shows",
    "ip_error": "no route, or one that refuses",
    "ip6_pkt_drop": "no route, or one that refuses",
    "arp_error_report": "the next hop does not answer ARP",
    "ndisc_error_report": "the next hop does not answer",
}
_REWRITING = ("prerouting", "input", "output", "postrouting")


class Programs(Protocol):
    """What podwire's eBPF programs have in their maps."""

    def serves(self, place: Place, flow: Flow) -> str | None:
        """Return the name of the Service that a program serves to a flow; None if none does."""
        ...

    def sent_on(self, place: Place, flow: Flow) -> str | None:
        """Return the endpoint on another node to which a program sends a flow as it is."""
        ...


class NoPrograms:
    """No node has programs."""

    def serves(self, place: Place, flow: Flow) -> str | None:
        """See ``Programs``."""

    def sent_on(self, place: Place, flow: Flow) -> str | None:
        """See ``Programs``."""


@dataclass(frozen=True, slots=True)
class Teller:
    """Says what a trace means, with the rules that were read and the names of addresses."""

    rules: Rules
    name: Namer
    started: int  # nanoseconds since 1970
    connections: Mapping[Place, Sequence[Connection]] = field(default_factory=dict)
    source: Place | None = None  # of the probe
    element: Callable[[Place, ChainKey, Flow], str] = lambda *_: ""  # a map's comment for a flow
    function: Callable[[int], str] = lambda _: ""  # of the kernel, at an address
    leads: Callable[[Place, str], Leads] = lambda *_: Leads("")  # a place's route to an address
    programs: Programs = field(default_factory=NoPrograms)

    def packet(self, probe: int, identity: Identity, stays: Sequence[Stay]) -> PacketTrace:
        """Return the way of one packet."""
        hops = _Hops(self, identity.direction is Direction.REPLY)
        for stay in stays:
            hops.add(stay)
        outcome, why = _ended(hops.done)
        if outcome == "unknown" and stays:
            outcome, why = self._routed(stays[-1], why)
        return PacketTrace(
            probe=probe,
            direction=identity.direction.value,
            name=identity.name,
            outcome=outcome,
            where=hops.done[-1].place if hops.done else "",
            why=why,
            hops=tuple(hops.done),
        )

    def _routed(self, stay: Stay, why: str) -> tuple[str, str]:
        """Return how a packet ended that no event shows any more: where does its route lead?"""
        last = [one for one in stay.met if not isinstance(one, Connection)][-1:]
        if not last or (isinstance(last[0], Passage) and last[0].out):
            return "unknown", why
        packet = last[0].packet.inner or last[0].packet
        route = self.leads(stay.place, packet.flow.destination)
        if route.kind == "local":
            return "arrived", ""
        if route.kind != "unicast":
            return "unknown", f"{why}; its route: {route.kind or 'none'}"
        to = f" to {route.gateway}" if route.gateway else ""
        return "unknown", f"its route leads{to} by {route.link}, but it was not seen there"

    def ends(self, flow: Flow) -> Ends:
        """Return a flow with names."""
        return ends_of(flow, self.name)

    def after(self, time: int) -> float:
        """Return the milliseconds since the start."""
        return round((time - self.started) / 1e6, 3)


@dataclass(slots=True)
class _Hops:
    """Tells stays one after the other, and remembers which flow the packet had."""

    teller: Teller
    is_answer: bool
    done: list[Hop] = field(default_factory=list)
    _flow: Flow | None = None
    _stay: Stay | None = None
    _steps: list[Step] = field(default_factory=list)
    _asked: bool = False  # rules were asked for a translation: no program had entered one

    def add(self, stay: Stay) -> None:
        """Tell one stay."""
        self._steps, self._stay, self._asked = [], stay, False
        chains = self.teller.rules.get(stay.place, {})
        for one in stay.met:
            if isinstance(one, Passage):
                self._pass(one)
            elif isinstance(one, Visit):
                self._visit(one, chains)
            else:
                self._steps.append(self._tracked(one))
        self._sent_on(stay)
        pod = "/".join(stay.place.pod) if stay.place.pod else ""
        self.done.append(Hop(stay.place.node, stay.place.name, pod, tuple(self._steps)))

    def _pass(self, one: Passage) -> None:
        if one.dropped:
            self._drop(one)
            return
        inner = one.packet.inner
        self._notice(inner or one.packet)
        self._steps.append(
            Step(
                kind="out" if one.out else "in",
                time=self.teller.after(one.time),
                link=one.link,
                tunnel=_shown(one.packet.flow) if inner else "",
                ends=self.teller.ends((inner or one.packet).flow),
            )
        )

    def _drop(self, one: Passage) -> None:
        """Tell a drop; that the probe's source has no socket for an answer is so by design."""
        at_source = self._stay is not None and self._stay.place == self.teller.source
        function = self.teller.function(one.function)
        if _is_received(one, function) or (at_source and self.is_answer):
            return
        self._steps.append(
            Step(
                kind="dropped",
                time=self.teller.after(one.time),
                link=one.link,
                reason=one.dropped,
                function=function,
            )
        )

    def _visit(self, one: Visit, chains: Mapping[ChainKey, ChainRules]) -> None:
        if one.packet.flow.destination_port not in TUNNEL_PORTS:
            self._notice(one.packet)
        first = one.events[0]
        base = chains.get((first.family, first.table, first.chain))
        self._asked |= base is not None and base.kind == "nat"
        for event in filter(_says_something, one.events):
            known = chains.get((event.family, event.table, event.chain))
            said = known.rules.get(event.handle, RuleText()) if known else RuleText()
            if said.map and event.target:
                said = self._element(event, said, one.packet.flow)
            self._steps.append(_ruled(event, base.hook if base else "", said))

    def _element(self, event: NftTrace, said: RuleText, flow: Flow) -> RuleText:
        """Return a rule's text, which a verdict map's element may tell better."""
        key = (event.family, event.table, said.map)
        comment = self.teller.element(self._stay.place, key, flow) if self._stay else ""
        return RuleText(comment, True, said.map) if comment else said

    def _tracked(self, one: Connection) -> Step:
        back = one.reply.reverse
        return Step(
            kind="connection",
            before=self.teller.ends(one.original) if one.translated else None,
            ends=self.teller.ends(back),
        )

    def _notice(self, packet: Packet) -> None:
        """Write a changed flow down where it changed: at the last rule that accepted before."""
        before, self._flow = self._flow, packet.flow
        if before is None or before == packet.flow:
            return
        was, now = self.teller.ends(before), self.teller.ends(packet.flow)
        if (service := self._by_program(before)) is not None:
            came = (at for at, step in enumerate(self._steps, 1) if step.kind == "in")
            step = Step(kind="program", rule=service, before=was, ends=now)
            self._steps.insert(next(came, 0), step)  # before all rules
            return
        for at in range(len(self._steps) - 1, -1, -1):
            step = self._steps[at]
            if step.kind in ("in", "out"):
                break
            if step.verdict == "accept" and step.kind == "rule" and step.hook in _REWRITING:
                self._steps[at] = replace(step, before=was, ends=now)
                return
        place = self._stay.place if self._stay else None
        known = self.teller.connections.get(place, ()) if place else ()
        tracked = any(_belongs(before, packet.flow, one) for one in known)
        by = "connection tracking" if tracked else ""
        self._steps.append(Step(kind="rewrite", rule=by, before=was, ends=now))

    def _by_program(self, flow: Flow) -> str | None:
        """Return the Service for which a program has entered the connection of a flow.

        The kernel asks rules for a translation of each connection that it begins itself. So one
        that is translated, and for which none was asked, a program has entered; its map says why.
        """
        place = self._stay.place if self._stay else None
        if place is None or self._asked or self.is_answer:
            return None
        known = self.teller.connections.get(place, ())
        if not any(one.original == flow and one.translated for one in known):
            return None
        return self.teller.programs.serves(place, flow)

    def _sent_on(self, stay: Stay) -> None:
        """Tell that a program has sent a packet on as it is, before any rule saw it."""
        links = [one for one in stay.met if isinstance(one, Passage)]
        if stay.place.pod or self.is_answer or len(links) < 2 or len(links) < len(stay.met):
            return
        endpoint = self.teller.programs.sent_on(stay.place, links[0].packet.flow)
        if endpoint is not None:
            at = next(at for at, step in enumerate(self._steps) if step.kind == "out")
            self._steps.insert(at, Step(kind="program", rule=endpoint, verdict="sent on"))


def ends_of(flow: Flow, name: Callable[[str], str]) -> Ends:
    """Return a flow with the names of its addresses."""
    return Ends(
        protocol=flow.protocol,
        source=flow.source,
        destination=flow.destination,
        source_port=flow.source_port,
        destination_port=flow.destination_port,
        source_name=name(flow.source),
        destination_name=name(flow.destination),
    )


def _belongs(before: Flow, after: Flow, connection: Connection) -> bool:
    """True if a change of a packet is what a connection's translation makes."""
    ends = _ends(connection.original) | _ends(connection.reply)
    return connection.translated and _ends(before) | _ends(after) <= ends


def _ends(flow: Flow) -> set[tuple[str, int | None]]:
    """Return a flow's ends, also without ports: an ICMP error of a connection has none."""
    ends = {(flow.source, flow.source_port), (flow.destination, flow.destination_port)}
    return ends | {(flow.source, None), (flow.destination, None)}


def _says_something(event: NftTrace) -> bool:
    """False for the end of a chain, which the kernel tells as a rule without a number."""
    return event.kind != "rule" or bool(event.handle)


def _ruled(event: NftTrace, hook: str, said: RuleText) -> Step:
    return Step(
        kind="rule" if event.kind == "rule" else "policy",
        family=event.family,
        table=event.table,
        chain=event.chain,
        hook=hook,
        handle=event.handle or None,
        rule=said.text,
        named=said.is_comment,
        verdict="return" if event.kind == "return" else event.verdict,
        target=event.target,
        state=event.state,
    )


def _is_received(one: Passage, function: str) -> bool:
    """Return True for what a kernel calls a drop, and is the end of a packet that has arrived.

    A reset, once it has reset; what waited in the queue of a socket that is closed; what comes
    for a connection in TIME_WAIT (tcp_v4_rcv); an echo reply that a raw socket, as ping's, was
    given already (ping_rcv). Source: net/ipv4/tcp_ipv4.c, ping.c, icmp.c of Linux 6.18.
    """
    kind = one.packet.kind
    if one.dropped == _UNNAMED and function in _TIME_WAIT:
        return "SYN" not in kind
    if one.dropped == "NO_SOCKET" and function == "ping_rcv":
        return kind == "echo reply"
    return one.dropped == "QUEUE_PURGE" or ("RST" in kind and one.dropped in _RECEIVED)


def _shown(flow: Flow) -> str:
    return f"VXLAN {flow.source} → {flow.destination}"


def _ended(hops: Sequence[Hop]) -> tuple[str, str]:
    """Return how a packet ended, and why, as far as that was seen."""
    if not hops:
        return "unknown", "it was seen nowhere"
    ruled = [step for step in hops[-1].steps if step.verdict == "drop"]
    dropped = [step for step in hops[-1].steps if step.kind == "dropped"]
    if ruled:
        return "dropped", _by(ruled[-1])
    if dropped:
        return "dropped", _by_kernel(dropped[-1])
    return "unknown", "it was not seen any more; no event says why"


def _by_kernel(step: Step) -> str:
    where = f" in {step.function}" if step.function else ""
    known = _HINTS.get(step.function) or _HINTS.get(step.reason)
    hint = f" ({known})" if known else ""
    return f"the kernel: {step.reason}{where}{hint}"


def _by(step: Step) -> str:
    what = f"rule {step.rule!r}" if step.rule else f"rule {step.handle}"
    if step.kind == "policy":
        what = "the policy"
    return f"{what} of chain {step.chain} (table {step.family} {step.table})"


def chains_of(seen: Iterator[tuple[Place, NftTrace]]) -> dict[Place, list[ChainKey]]:
    """Return the chains that events name, place by place, each once."""
    found: dict[Place, dict[ChainKey, None]] = {}
    for place, event in seen:
        found.setdefault(place, {})[event.family, event.table, event.chain] = None
    return {place: list(keys) for place, keys in found.items()}
