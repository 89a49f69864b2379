"""What is read of events and packets: bytes that Linux 6.18 sent, and any others."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from debug.kernel import conntrack
from debug.trace.packet import Flow, parse, parse_parts
from debug.trace.watch import nftrace
from debug.trace.watch.nftrace import NftTrace

# A rule "jump svc" of chain pre, the first of its base chain; then the rule of svc that translates.
JUMP = bytes.fromhex(
    "d0000000110a000000000000000000000200000008000f000000000208000400000000030800060027bafde6"
    "0800020070726500" + "0d0001007365727669636573000000000c0003000000000000000007"
    "1400050008000100fffffffd0800020073766300"
    "08000a000000000406000b0000010000180008004500002cc1d64000400663920a0101020a600001"
    "180009009c4000504b1c1d60000000006002faf082c50000"
    "120007004af66c3f1034d2cdc46c8636080000000800150000000008050013000000000008001200aa345772"
)
TRANSLATES = bytes.fromhex(
    "5c000000110a000000000000000000000200000008000f000000000208000400000000030800060027bafde6"
    "08000200737663000d0001007365727669636573000000000c00030000000000000000060c0005000800010000000001"
)
TO_SERVICE = Flow("tcp", "10.1.1.2", "10.96.0.1", 40000, 80)


def test_a_rules_event_tells_rule_verdict_links_and_headers() -> None:
    (event,) = nftrace.decode(JUMP)
    assert (event.family, event.table, event.chain, event.handle) == ("ip", "services", "pre", 7)
    assert (event.kind, event.verdict, event.target) == ("rule", "jump", "svc")
    assert (event.link_in, event.link_out, event.state) == (4, 0, "new")
    packet = parse_parts(event.network, event.transport)
    assert packet and (packet.flow, packet.kind) == (TO_SERVICE, "SYN")
    assert packet.sequence == 0x4B1C1D60


def test_a_later_event_of_the_chain_has_no_headers() -> None:
    first, second = nftrace.decode(JUMP + TRANSLATES)
    assert second.packet == first.packet
    assert (second.chain, second.handle, second.verdict) == ("svc", 6, "accept")
    assert parse_parts(second.network, second.transport) is None


@given(st.binary(max_size=200), st.integers(0, len(JUMP)), st.binary(max_size=8))
def test_no_bytes_confuse_the_decoders(data: bytes, at: int, change: bytes) -> None:
    parse(data)
    parse(b"\x45" + data)
    parse(b"\x60" + data)
    for bent in (data, JUMP[:at] + change + JUMP[at + len(change) :]):
        with contextlib.suppress(OSError):  # what they may raise
            assert all(isinstance(one, NftTrace) for one in nftrace.decode(bent))
        with contextlib.suppress(OSError):
            list(conntrack.happenings(bent))


ETHERNET = bytes(12) + b"\x08\x00"
UDP_53 = bytes.fromhex("00350035000c0000") + b"mark"


def ipv4(protocol: int, above: bytes) -> bytes:
    length = (20 + len(above)).to_bytes(2, "big")
    head = b"\x45\0" + length + bytes.fromhex("0001000040") + bytes([protocol, 0, 0])
    return head + bytes([10, 0, 0, 1, 10, 0, 0, 2]) + above


def test_a_tunnel_shows_what_it_carries() -> None:
    inside = ipv4(17, UDP_53)
    outer = bytes.fromhex("3039 12b5 0000 0000") + bytes(8) + ETHERNET + inside
    packet = parse(ipv4(17, outer))
    assert packet and packet.kind == "VXLAN" and packet.inner
    assert packet.inner.flow == Flow("udp", "10.0.0.1", "10.0.0.2", 53, 53)


@pytest.mark.parametrize(
    ("sort", "code", "kind"),
    [(3, 3, "port unreachable"), (3, 4, "fragmentation needed"), (11, 0, "time to live exceeded")],
)
def test_an_error_quotes_the_packet_that_it_is_about(sort: int, code: int, kind: str) -> None:
    packet = parse(ipv4(1, bytes([sort, code, 0, 0, 0, 0, 0, 0]) + ipv4(17, UDP_53)))
    assert packet and packet.kind == kind
    assert packet.quoted and packet.quoted.flow.destination_port == 53
    assert packet.quoted.payload == b"mark"
