"""Questions to other resolvers, and what they say. Pure; the bytes may be hostile.

A reply is taken if its ID and question are those that were sent (RFC 5452, section 9.1); that it
comes from the address and port that were asked is the socket's matter.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dns.exception
import dns.flags
import dns.message
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from control.dns.message import (
    AD,
    FORMERR,
    HEADER,
    IN,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    QR,
    RA,
    REFUSED,
    RR,
    SERVFAIL,
    TC,
    opt,
)
from control.dns.names import Name
from control.dns.records import CNAME, SOA

_OPCODE = 0x7800
_ANY = 255
_BRIEF = (FORMERR, SERVFAIL, NOTIMP, REFUSED)  # errors that may come without the question
LEAST_SECONDS = 5  # as in CoreDNS


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a resolver, and what of a reply depends on. The name is in lower case."""

    name: Name
    kind: int
    flags: int  # RD and CD of the client
    edns: bool
    dnssec: bool

    def wire(self, number: int) -> bytes:
        """Return the query with an ID. AD asks whether the answer is authenticated (RFC 6840)."""
        head = HEADER.pack(number, self.flags | AD, 1, 0, 0, int(self.edns))
        return head + self._section() + (opt(NOERROR, dnssec=self.dnssec) if self.edns else b"")

    def _section(self) -> bytes:
        return self.name + struct.pack("!HH", self.kind, IN)

    def accepts(self, number: int, packet: bytes) -> bool:
        """Return True if a packet is the reply to this question under an ID."""
        if len(packet) < HEADER.size:
            return False
        got, flags, questions, *_ = HEADER.unpack_from(packet)
        if got != number or not flags & QR or flags & _OPCODE:
            return False
        if not questions:
            return flags & 15 in _BRIEF
        section = self._section()
        return packet[HEADER.size : HEADER.size + len(section)].lower() == section.lower()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a resolver said. ``seconds`` says how long it may be kept: 0 for not at all.

    Records whose owner is the question's name have the owner None.
    """

    rcode: int
    flags: int = 0  # AD and RA
    answers: tuple[RR, ...] = ()
    authority: tuple[RR, ...] = ()
    additional: tuple[RR, ...] = ()
    seconds: int = 0
    negative: bool = False
    cut: bool = False  # the resolver left records out

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return 200 + sum(150 + len(each.rdata) for each in self.every())

    def every(self) -> Sequence[RR]:
        """Return the records of all sections."""
        return (*self.answers, *self.authority, *self.additional)


def is_cut(packet: bytes) -> bool:
    """Return True if a reply has the TC bit: more can be had by TCP."""
    return bool(HEADER.unpack_from(packet)[1] & TC)


def read_reply(question: Question, packet: bytes, most_seconds: int) -> Reply | None:
    """Read an accepted packet; None for one that cannot be read."""
    try:
        whole = dns.message.from_wire(packet, one_rr_per_rrset=True, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, struct.error):
        return None
    answers, authority, additional = (
        tuple(_records(section, question.name))
        for section in (whole.answer, whole.authority, whole.additional)
    )
    flags, cut = int(whole.flags) & (AD | RA), bool(whole.flags & dns.flags.TC)
    rcode = int(whole.rcode())
    found = Reply(rcode, flags, answers, authority, additional, cut=cut)
    negative, seconds = _lifetime(question, found, most_seconds)
    return Reply(rcode, flags, answers, authority, additional, seconds, negative, cut)


def _records(section: Iterable[dns.rrset.RRset], asked: Name) -> Iterable[RR]:
    for rrset in section:
        if rrset.rdclass != dns.rdataclass.IN:
            continue
        owner = rrset.name.to_wire() or b""
        for rdata in rrset:
            wire = rdata.to_wire() or b""
            yield RR(None if owner.lower() == asked else owner, int(rrset.rdtype), rrset.ttl, wire)


def _lifetime(question: Question, reply: Reply, most: int) -> tuple[bool, int]:
    """Return whether a reply denies, and for how many seconds it may be kept.

    As in CoreDNS: the least TTL of all records, at least 5 seconds. What denies without an SOA
    record is not kept (RFC 2308, section 5).
    """
    if reply.cut or not most:
        return False, 0
    if reply.rcode == SERVFAIL:
        return True, min(LEAST_SECONDS, most)
    answered = reply.rcode == NOERROR and _answers(question.kind, reply.answers)
    soas = [each for each in reply.authority if each.kind == SOA]
    if reply.rcode not in (NOERROR, NXDOMAIN) or (not answered and not soas):
        return not answered, 0
    ttls = [each.ttl for each in reply.every()]
    minimums = [] if answered else [int.from_bytes(each.rdata[-4:]) for each in soas]
    return not answered, min(max(LEAST_SECONDS, min(ttls + minimums)), most)


def _answers(kind: int, answers: Sequence[RR]) -> bool:
    if kind in (_ANY, CNAME):
        return bool(answers)
    return any(each.kind == kind for each in answers)
