"""Writes a line for each answer, in CoreDNS' format of plugin log, with the answers behind it."""

import logging

import dns.exception
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

logger = logging.getLogger("podwire.dns.answers")


def log_answer(peer: object, packet: bytes, response: bytes) -> None:
    """Log a query and its response."""
    logger.info("%s", describe(peer, packet, response))


def describe(peer: object, packet: bytes, response: bytes) -> str:
    """Return the line: who asked, what, and what the answer was."""
    host, port = peer[:2] if isinstance(peer, tuple) else (peer, "")
    try:
        asked, answered = (
            dns.message.from_wire(response, question_only=True),
            dns.message.from_wire(response, ignore_trailing=True),
        )
    except dns.exception.DNSException as err:
        return f"{host}:{port} - a response that cannot be read: {err}"
    question = asked.question[0] if asked.question else None
    about = "-" if question is None else f"{_kind(question.rdtype)} IN {question.name}"
    found = " ".join(
        f"{_kind(rrset.rdtype)} {rdata}" for rrset in answered.answer for rdata in rrset
    )
    rcode = dns.rcode.to_text(answered.rcode())
    return f'{host}:{port} - {answered.id} "{about} {len(packet)}" {rcode} {len(response)} {found}'


def _kind(kind: dns.rdatatype.RdataType) -> str:
    return dns.rdatatype.to_text(kind)
