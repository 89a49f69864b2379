"""DNS messages: reads queries, which may be hostile, and writes responses. Pure.

Source: RFC 1035 section 4, RFC 6891 (EDNS), RFC 2308 (negative answers).
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dns.exception
import dns.message

from control.dns.names import MOST_BYTES, Name
from control.dns.records import Rdata

HEADER = struct.Struct("!HHHHHH")
_QUESTION = struct.Struct("!HH")
_RR = struct.Struct("!HHIH")
_OPT = struct.Struct("!BHHBBHH")  # name, type, size, extended rcode, version, flags, length
QR, AA, TC, RD, RA, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
_OPCODE = 0x7800
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, BADVERS = 0, 1, 2, 3, 4, 5, 16
IN, OPT = 1, 41
PLAIN_UDP = 512  # bytes of a response without EDNS
MOST_UDP = 1232  # bytes that pass everywhere in one packet (DNS flag day 2020)
MOST_TCP = 65535
_OWNER = b"\xc0\x0c"  # a pointer to the question's name
_POINTER, _MOST_OFFSET = 0xC000, 0x4000
_CNAME = 5


@dataclass(frozen=True, slots=True)
class Edns:
    """The OPT record of a query."""

    size: int
    version: int
    dnssec: bool
    bare: bool  # without options


@dataclass(frozen=True, slots=True)
class Query:
    """A question. ``raw`` is the question section as it came, in the client's letter case."""

    flags: int
    raw: bytes
    name: Name
    kind: int
    cls: int
    edns: Edns | None


@dataclass(frozen=True, slots=True)
class Faulty:
    """A message that gets an error for a response; its question may be unreadable."""

    flags: int
    rcode: int


@dataclass(frozen=True, slots=True)
class RR:
    """A resource record of class IN; owner None is the name in the question."""

    owner: Name | None
    kind: int
    ttl: int
    rdata: Rdata

    def wire(self, at: int, names: dict[Name, int]) -> bytes:
        """Return the record in wire format, for a place in a message.

        ``names`` says where names stand; the owner, and the target of a CNAME, are added to it.
        """
        owner = _OWNER
        if self.owner is not None:
            known = names.get(self.owner)
            owner = self.owner if known is None else (_POINTER | known).to_bytes(2)
            if known is None and at < _MOST_OFFSET:
                names[self.owner] = at
        target = at + len(owner) + _RR.size
        if self.kind == _CNAME and target < _MOST_OFFSET:
            names.setdefault(self.rdata, target)
        return owner + _RR.pack(self.kind, IN, self.ttl, len(self.rdata)) + self.rdata


def read_query(packet: bytes) -> Query | Faulty | None:
    """Read a message; None for one that must not be answered, such as a response."""
    if len(packet) < HEADER.size:
        return None
    _, flags, questions, answers, authorities, additional = HEADER.unpack_from(packet)
    if flags & QR:
        return None
    if flags & _OPCODE:
        return Faulty(flags, NOTIMP)
    end = _name_end(packet, HEADER.size)
    if questions != 1 or answers or authorities or not end or len(packet) < end + 4:
        return Faulty(flags, FORMERR)
    kind, cls = _QUESTION.unpack_from(packet, end)
    raw = packet[HEADER.size : end + 4]
    edns: Edns | None = None
    if additional or len(packet) != end + 4:
        try:
            edns = _read_edns(packet, end + 4, additional)
        except ValueError:
            return Faulty(flags, FORMERR)
    return Query(flags, raw, raw[:-4].lower(), kind, cls, edns)


def _name_end(packet: bytes, start: int) -> int:
    """Return where an uncompressed name ends; 0 for another one: a first name has no pointer."""
    at, size = start, len(packet)
    while at < size:
        length = packet[at]
        if length == 0:
            return at + 1 if at + 1 - start <= MOST_BYTES else 0
        if length > 63:
            return 0
        at += length + 1
    return 0


def _read_edns(packet: bytes, start: int, records: int) -> Edns | None:
    """Read the additional section; raises ValueError."""
    if records == 1 and len(packet) == start + _OPT.size:
        root, kind, size, _, version, flags, length = _OPT.unpack_from(packet, start)
        if root == 0 and kind == OPT and length == 0:
            return Edns(size, version, bool(flags & 0x8000), bare=True)
    return _read_unusual(packet)


def _read_unusual(packet: bytes) -> Edns | None:
    """Read a query with options or further records by dnspython, which bounds what it reads."""
    try:
        whole = dns.message.from_wire(packet)
    except (dns.exception.DNSException, ValueError, struct.error) as err:
        raise ValueError(str(err)) from err
    if whole.edns < 0:
        return None
    return Edns(whole.payload, whole.edns, bool(whole.ednsflags & 0x8000), bare=False)


def respond(
    query: Query | Faulty,
    rcode: int,
    answers: Sequence[RR] = (),
    authority: Sequence[RR] = (),
    additional: Sequence[RR] = (),
    *,
    most: int,
    flags: int = 0,
) -> bytes:
    """Return a response without its first two bytes, the ID, of at most ``most`` bytes.

    Answers that have no room are left out, and TC says so; additional records go silently.
    """
    raw = query.raw if isinstance(query, Query) else b""
    edns = query.edns if isinstance(query, Query) else None
    end = opt(rcode, dnssec=edns.dnssec) if edns else b""
    writer = _Writer(HEADER.size + len(raw), most - len(end))
    counts = [writer.write(answers)]
    cut = counts[0] < len(answers)
    counts += [0 if cut else writer.write(section) for section in (authority, additional)]
    counts[2] += bool(end)
    head = QR | (query.flags & (_OPCODE | RD | CD)) | flags | (TC if cut else 0) | (rcode & 15)
    return HEADER.pack(0, head, bool(raw), *counts)[2:] + raw + b"".join(writer.written) + end


class _Writer:
    """Writes records from a place in a message on, up to another one."""

    def __init__(self, at: int, most: int) -> None:
        self._at, self._most = at, most
        self._names: dict[Name, int] = {}
        self.written: list[bytes] = []

    def write(self, records: Iterable[RR]) -> int:
        """Write the records that have room; return how many."""
        began = len(self.written)
        for record in records:
            wire = record.wire(self._at, self._names)
            if self._at + len(wire) > self._most:
                break
            self.written.append(wire)
            self._at += len(wire)
        return len(self.written) - began


def opt(rcode: int, *, dnssec: bool) -> bytes:
    """Return an OPT record with podwire's size, the upper bits of a code, and the DO bit."""
    return _OPT.pack(0, OPT, MOST_UDP, rcode >> 4, 0, 0x8000 if dnssec else 0, 0)


def room_of(query: Query | Faulty, *, tcp: bool) -> int:
    """Return the most bytes that a response to a query may have."""
    if tcp:
        return MOST_TCP
    edns = query.edns if isinstance(query, Query) else None
    return min(max(PLAIN_UDP, edns.size), MOST_UDP) if edns else PLAIN_UDP
