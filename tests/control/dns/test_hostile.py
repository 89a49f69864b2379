"""Packets that no resolver sends: each is answered with an error or not at all, within bounds."""

import struct

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from control.dns.message import MOST_UDP, PLAIN_UDP
from tests.support.control.names import Names, namespace, part, service

MANY = [(f"10.244.{number // 200}.{number % 200 + 1}", "", True) for number in range(400)]
NAMES = Names(
    namespace("default"),
    service("web", "10.96.0.7", ports=[("http", 80, "TCP")]),
    service("many"),
    part("many", *MANY, ports=[("http", 80, "TCP")]),
)
NAME = "web.default.svc.cluster.local."
HEAD = struct.Struct("!HHHHHH")
PLAIN = dns.message.make_query(NAME, "A").to_wire()
QUESTION = PLAIN[12:]
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


def answer(packet: bytes, *, tcp: bool = False) -> bytes | None:
    found = NAMES.answerer.answer(packet, tcp=tcp)
    return None if found is None else packet[:2] + found.variants[0]


def packet(flags=0x0100, counts=(1, 0, 0, 0), rest=QUESTION) -> bytes:
    return HEAD.pack(7, flags, *counts) + rest


@pytest.mark.parametrize(
    ("sent", "rcode"),
    [
        (b"", None),
        (PLAIN[:11], None),
        (packet(flags=0x8100), None),  # a response
        (packet(flags=0x2800), "NOTIMP"),  # UPDATE
        (packet(flags=0x7800), "NOTIMP"),
        (packet(counts=(0, 0, 0, 0), rest=b""), "FORMERR"),
        (packet(counts=(2, 0, 0, 0), rest=QUESTION * 2), "FORMERR"),
        (packet(counts=(1, 1, 0, 0)), "FORMERR"),
        (packet(counts=(65535, 65535, 65535, 65535)), "FORMERR"),
        (packet(rest=QUESTION[:-1]), "FORMERR"),
        (packet(rest=b"\xc0\x0c\0\1\0\1"), "FORMERR"),  # a name that points to itself
        (packet(rest=b"\x01a\xc0\x0c\0\1\0\1"), "FORMERR"),
        (packet(rest=b"\x40" + b"a" * 64 + b"\0\0\1\0\1"), "FORMERR"),
        (packet(rest=b"\x3f" + b"a" * 63), "FORMERR"),
        (packet(rest=(b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1"), "FORMERR"),  # over 255 bytes
        (packet(rest=QUESTION + b"more"), "FORMERR"),
        (packet(counts=(1, 0, 0, 1)), "FORMERR"),
        (packet(counts=(1, 0, 0, 2), rest=QUESTION + OPT * 2), "FORMERR"),
        (packet(counts=(1, 0, 0, 1), rest=QUESTION + OPT[:-2] + b"\0\x09"), "FORMERR"),
        (packet(counts=(1, 0, 0, 1), rest=QUESTION + OPT[:6] + b"\x01\0\0\0\0"), "BADVERS"),
        (packet(rest=QUESTION[:-2] + b"\0\3"), "REFUSED"),  # class CHAOS
        (packet(rest=QUESTION[:-2] + b"\0\xff"), "REFUSED"),
        (packet(rest=QUESTION[:-4] + b"\0\xfc\0\1"), "REFUSED"),  # AXFR
        (packet(rest=b"\0\0\1\0\1"), "NXDOMAIN"),
        (packet(rest=b"\x02\0.\0\0\1\0\1"), "NXDOMAIN"),
        (packet(), "NOERROR"),
    ],
)
def test_an_odd_packet_gets_its_error(sent, rcode):
    got = answer(sent)
    if rcode is None:
        assert got is None
        return
    response = dns.message.from_wire(got)
    assert (response.id, dns.rcode.to_text(response.rcode())) == (7, rcode)
    assert response.flags & dns.flags.QR


@given(st.binary(max_size=600), st.booleans())
@example(PLAIN, False)
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_answered_within_bounds(noise, tcp):
    check(noise, tcp)


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=6), st.booleans())
@settings(max_examples=600, deadline=None)
def test_a_query_with_wrong_bytes_is_answered_within_bounds(changes, tcp):
    sent = bytearray(packet(counts=(1, 0, 0, 1), rest=QUESTION + OPT))
    for place, value in changes:
        sent[place % len(sent)] = value
    check(bytes(sent), tcp)


def check(sent: bytes, tcp: bool) -> None:
    got = answer(sent, tcp=tcp)
    if got is None:
        return
    response = dns.message.from_wire(got)
    assert got[:2] == sent[:2]
    assert response.flags & dns.flags.QR
    assert tcp or len(got) <= MOST_UDP


@pytest.mark.parametrize(
    ("edns", "most"),
    [(None, PLAIN_UDP), (0, PLAIN_UDP), (600, 600), (1232, 1232), (65535, MOST_UDP)],
)
@pytest.mark.parametrize(("name", "kind"), [("many", "A"), ("_http._tcp.many", "SRV")])
def test_a_long_answer_is_cut_to_the_clients_size(edns, most, name, kind):
    how = {} if edns is None else {"use_edns": True, "payload": edns}
    query = dns.message.make_query(f"{name}.default.svc.cluster.local.", kind, **how)
    got = answer(query.to_wire())
    response = dns.message.from_wire(got)
    assert response.flags & dns.flags.TC
    assert most - 100 < len(got) <= most
    assert response.answer  # musl before 1.2.4 takes what is there
    whole = dns.message.from_wire(answer(query.to_wire(), tcp=True))
    assert not whole.flags & dns.flags.TC
    assert len(whole.answer[0]) == len(MANY)


def test_the_clients_letter_case_stays_in_the_question():
    query = dns.message.make_query("wEb.DEFAULT.svc.Cluster.local.", "A").to_wire()
    got = answer(query)
    assert got[12 : len(query)] == query[12:]
    assert NAMES.answerer.answer(query, tcp=False).stable is False  # such a name comes once
