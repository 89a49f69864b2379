"""Answers queries from the zone. Pure: no sockets, clocks or threads.

    packet ─► read_query ─► Answerer.answer ─► the zone's records ─► respond ─► bytes
                                   └─► Pending, of a resolver's name ─► finish ─► bytes

Source: RFC 1034 section 4.3.2, RFC 2308, RFC 8020, the Kubernetes DNS specification 1.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from control.dns import message
from control.dns.message import AA, AD, CD, RA, RD, RR, Faulty, Query, respond, room_of
from control.dns.names import ROOT, Name, suffixes
from control.dns.records import AAAA, CNAME, NS, SOA, SRV, A, Rdata, Records, soa
from control.dns.upstream.reply import Question, Reply
from control.dns.upstream.routes import Route
from control.dns.zone import REVERSE, Zone

DROPPED: Name = b""  # the zone of what is refused before it is looked up
_TRANSFERS = (251, 252)  # IXFR, AXFR
_LONGEST_CHAIN = 10  # CNAMEs that are followed, as in CoreDNS
_MOST_TURNS = 8  # variants of a response: a headless Service may have thousands of addresses
_SRV_HEAD = 6  # bytes before the target


@dataclass(frozen=True, slots=True)
class Answer:
    """A response without its ID, in ``variants`` that take turns, each with another first address.

    ``zone`` is the name of the zone that gave it, or DROPPED. ``stable`` is true if a query of the
    same bytes may get the same response until the zone changes.
    """

    variants: tuple[bytes, ...]
    zone: Name
    rcode: int
    stable: bool = False
    plugin: str = "kubernetes"  # CoreDNS' name of what answered


@dataclass(frozen=True, slots=True)
class Pending:
    """A query that a resolver has to answer, after the CNAMEs of the zone that lead there."""

    query: Query
    chain: tuple[RR, ...]
    route: Route
    question: Question
    first: int
    tcp: bool


class Outside(Protocol):
    """What the answerer knows of names outside the cluster."""

    def find(self, name: Name) -> Route | None:
        """Return whom to ask; None for nobody."""

    def get(self, question: Question) -> tuple[Reply, int] | None:
        """Return a reply that is kept, and the seconds for which it is still good."""


class Nobody:
    """No resolvers: names outside do not exist."""

    def find(self, name: Name) -> Route | None:  # noqa: ARG002  # a protocol's
        """Return None."""
        return None

    def get(self, question: Question) -> tuple[Reply, int] | None:  # noqa: ARG002
        """Return None."""
        return None


@dataclass(slots=True)
class _Found:
    """The records of an answer, as they are gathered; ``pending`` is a name, and whom to ask."""

    zone: Name
    rcode: int
    answers: list[RR]
    pending: tuple[Name, Route] | None = None


class Answerer:
    """Answers from one zone; names below its domain are never asked of somebody else."""

    def __init__(self, zone: Zone, outside: Outside | None = None) -> None:
        self._zone, self._outside = zone, outside or Nobody()

    def answer(self, packet: bytes, *, tcp: bool) -> Answer | Pending | None:
        """Return the response to a packet, or what to ask; None for a packet that gets none."""
        query = message.read_query(packet)
        if query is None:
            return None
        if isinstance(query, Faulty):
            refusal = respond(query, query.rcode, most=message.PLAIN_UDP)
            return Answer((refusal,), DROPPED, query.rcode, plugin="")
        rcode = _refusal(query)
        if rcode:
            return self.refuse(query, rcode, tcp=tcp)
        return self._resolve(query, int.from_bytes(packet[:2]), tcp=tcp)

    def refuse(self, query: Query, rcode: int, *, tcp: bool) -> Answer:
        """Return an error for a response."""
        refusal = respond(query, rcode, most=room_of(query, tcp=tcp))
        return Answer((refusal,), DROPPED, rcode, plugin="")

    def _resolve(self, query: Query, first: int, *, tcp: bool) -> Answer | Pending:
        """Answer from the zone; ``first``, the query's ID, says which address comes first."""
        found = self._find(query)
        if found.pending:
            name, route = found.pending
            pending = Pending(
                query, tuple(found.answers), route, _question(query, name), first, tcp
            )
            kept = self._outside.get(pending.question)
            return self.finish(pending, *kept, plugin="cache") if kept else pending
        authority: Sequence[RR] = ()
        if found.rcode or not _has_end(found.answers, query.kind):
            authority = (self._denial(found),)
        extra = self._additional(found.answers)
        room = room_of(query, tcp=tcp)
        # Random letter case and cookies make a query that does not come again.
        stable = query.raw == query.raw.lower() and (query.edns is None or query.edns.bare)
        variants = [
            respond(query, found.rcode, turn, authority, extra, most=room, flags=AA)
            for turn in _turns(found.answers, first, _MOST_TURNS if stable and not tcp else 1)
        ]
        return Answer(tuple(dict.fromkeys(variants)), found.zone, found.rcode, stable)

    def finish(
        self, pending: Pending, reply: Reply, ttl: int | None = None, plugin: str = "forward"
    ) -> Answer:
        """Return the response that a resolver's reply makes; ``ttl`` is that of all its records.

        A reply that may not be kept has the TTLs that it came with.
        """
        query, owner = pending.query, pending.chain[-1].rdata if pending.chain else None
        seconds = ttl or reply.seconds
        answers, authority, additional = (
            [
                RR(each.owner or owner, each.kind, seconds or each.ttl, each.rdata)
                for each in section
            ]
            for section in (reply.answers, reply.authority, reply.additional)
        )
        chosen = _turns([*pending.chain, *answers], pending.first, 1)[0]
        wants_ad = query.flags & AD or (query.edns is not None and query.edns.dnssec)
        flags = reply.flags & (RA | AD if wants_ad else RA)
        flags |= (AA if pending.chain else 0) | (message.TC if reply.cut else 0)
        most = room_of(query, tcp=pending.tcp)
        response = respond(
            query, reply.rcode, chosen, authority, additional, most=most, flags=flags
        )
        return Answer((response,), pending.route.domain, reply.rcode, plugin=plugin)

    def _find(self, query: Query) -> _Found:
        """Follow CNAMEs from the question's name as long as they stay in the zone."""
        found = _Found(self._apex(query.name), message.NOERROR, [])
        name, owner = query.name, None
        for _ in range(_LONGEST_CHAIN):
            records = self._zone.find(name)
            if records is None:
                found.rcode = message.NXDOMAIN
                if self._apex(name) != self._zone.domain and (route := self._outside.find(name)):
                    found.pending = name, route
                return found
            alias = records.get(CNAME)
            if alias is None or query.kind == CNAME:
                found.answers += self._rrs(owner, query.kind, records)
                return found
            found.answers.append(RR(owner, CNAME, self._zone.ttl, alias[0]))
            name = owner = alias[0]
        found.answers.clear()  # CNAMEs in a circle lead nowhere, as in CoreDNS
        return found

    def _apex(self, name: Name) -> Name:
        """Return the zone of a name: the cluster domain, the two of addresses, or the root."""
        known = (self._zone.domain, *REVERSE)
        return next((suffix for suffix in suffixes(name) if suffix in known), ROOT)

    def _rrs(self, owner: Name | None, kind: int, records: Records) -> list[RR]:
        return [RR(owner, kind, self._ttl(kind), rdata) for rdata in records.get(kind, ())]

    def _ttl(self, kind: int) -> int:
        return 28800 if kind == 16 else self._zone.ttl  # the schema's version does not change

    def _denial(self, found: _Found) -> RR:
        """Return the SOA record by which a resolver knows how long to keep a negative answer."""
        apex = found.zone
        if found.answers:  # RFC 2308, 2.1: the zone in which the last name of a chain is not
            apex = self._apex(found.answers[-1].rdata)
        own = apex == self._zone.domain
        rdata: Rdata = self._zone.soa if own else soa(apex, self._zone.serial, self._zone.ttl)
        return RR(apex, SOA, self._zone.ttl, rdata)

    def _additional(self, answers: Sequence[RR]) -> list[RR]:
        """Return the addresses of the targets of SRV and NS records."""
        heads = {SRV: _SRV_HEAD, NS: 0}
        targets = dict.fromkeys(a.rdata[heads[a.kind] :] for a in answers if a.kind in heads)
        return [
            each
            for target in targets
            if (records := self._zone.find(target))
            for kind in (A, AAAA)
            for each in self._rrs(target, kind, records)
        ]


def _question(query: Query, name: Name) -> Question:
    edns = query.edns
    dnssec = edns is not None and edns.dnssec
    return Question(name, query.kind, query.flags & (RD | CD), edns is not None, dnssec)


def _refusal(query: Query) -> int:
    if query.edns is not None and query.edns.version:
        return message.BADVERS
    if query.cls != message.IN or query.kind in _TRANSFERS:
        return message.REFUSED
    return message.NOERROR


def _has_end(answers: Sequence[RR], kind: int) -> bool:
    return bool(answers) and answers[-1].kind == kind


def _turns(answers: list[RR], first: int, most: int) -> list[list[RR]]:
    """Return the answers in at most ``most`` orders, each with another address first.

    CNAMEs stay in front.
    """
    chain = [each for each in answers if each.kind == CNAME]
    rest = answers[len(chain) :]
    if len(rest) < 2 or rest[0].kind not in (A, AAAA):
        return [answers]
    number = min(len(rest), most)
    starts = [(first + turn * len(rest) // number) % len(rest) for turn in range(number)]
    return [[*chain, *rest[at:], *rest[:at]] for at in starts]
