"""The filter of a tap, as a program of the classic BPF (linux/filter.h).

The kernel runs it before it copies a packet, so a tap costs other traffic little. It sees a packet
from its IP header on. It lets through too much rather than too little: what a packet is, Python
decides. A load beyond the packet's end ends the program, which then refuses the packet.
"""

import ctypes
import socket
import struct
from collections.abc import Iterator

from debug.trace.packet import ICMP, ICMP6, TCP, TUNNEL_PORTS, UDP, VXLAN_HEADERS
from debug.trace.probe import Probe

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER: asm-generic/socket.h
_WORD, _HALF, _BYTE = 0x00, 0x08, 0x10
_LOAD, _LOAD_AT_X = 0x20, 0x40  # BPF_LD with BPF_ABS and BPF_IND
_LENGTH = 0x80  # BPF_LD | BPF_LEN
_HEADER_TO_X, _TO_X = 0xB1, 0x01  # 4 * (byte & 15), and a constant
_AND, _SHIFT, _EQUAL, _AT_LEAST, _ABOVE, _RETURN = 0x54, 0x74, 0x15, 0x35, 0x25, 0x06
_NUMBERS = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": ICMP6}
WHOLE = 0x40000  # bytes: more than any packet has
_MOST_PORTS = 8  # of endpoints: a jump reaches 255 instructions

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def tap_filter(probe: Probe) -> bytes:
    """Return the program that lets through a probe, its answers, and both in a tunnel."""
    return assemble([*_when(4, _of_v4(probe)), *_when(6, _of_v6(probe)), _refuse()])


def assemble(program: list[Instruction]) -> bytes:
    """Pack a program."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


EVERYTHING = assemble([(_RETURN, 0, 0, WHOLE)])


def attach(made: socket.socket, program: bytes) -> None:
    """Have a socket receive only what a program lets through. Raises OSError."""
    kept = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept))
    made.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, head)


def _refuse() -> Instruction:
    return _RETURN, 0, 0, 0


def _accept() -> Instruction:
    return _RETURN, 0, 0, WHOLE


def _when(version: int, block: list[Instruction]) -> list[Instruction]:
    """Run a block for packets of an IP version. A jump reaches 255 instructions."""
    head = [(_LOAD | _BYTE, 0, 0, 0), (_SHIFT, 0, 0, 4)]
    return [*head, (_EQUAL, 0, len(block), version), *block]


def _of_v4(probe: Probe) -> list[Instruction]:
    return [
        (_HEADER_TO_X, 0, 0, 0),
        *_protocol(9, probe, inner=20),
        _refuse(),
    ]


def _of_v6(probe: Probe) -> list[Instruction]:
    return [(_TO_X, 0, 0, 40), *_protocol(6, probe, inner=40), _refuse()]


def _protocol(at: int, probe: Probe, inner: int) -> Iterator[Instruction]:
    """Yield the checks behind an IP header of which X is the length."""
    name = probe.flow.protocol
    blocks = {
        _NUMBERS[name]: list(_transport(0, probe)),
        **{number: list(_errors(probe, inner)) for number in (ICMP, ICMP6)},
        UDP: list(_tunnel(probe)),
    }
    if name == "udp":
        blocks[UDP] += _transport(0, probe)
    elif name.startswith("icmp"):
        blocks[_NUMBERS[name]] += _transport(0, probe)
    for number, block in blocks.items():
        yield _LOAD | _BYTE, 0, 0, at
        yield _EQUAL, 0, len(block), number
        yield from block


def _transport(at: int, probe: Probe) -> Iterator[Instruction]:
    """Yield the checks of a header at X + ``at``."""
    if probe.flow.protocol == "udp":
        yield from _either_port(at, probe)
    if probe.flow.protocol == "tcp":
        yield from _marked(at + 4, probe)
    yield from _marked(at + 8, probe)


def _either_port(at: int, probe: Probe) -> Iterator[Instruction]:
    """Accept what the probe's port sends and receives, and what may be an answer to another."""
    for place in (at, at + 2):
        yield from _is_port(place, probe.flow.source_port)
    for port in dict.fromkeys((probe.flow.destination_port, *probe.answer_ports[:_MOST_PORTS])):
        yield from _is_port(at, port)


def _is_port(at: int, port: int | None) -> Iterator[Instruction]:
    yield _LOAD_AT_X | _HALF, 0, 0, at
    yield _EQUAL, 0, 1, port or 0
    yield _accept()


def _marked(at: int, probe: Probe) -> Iterator[Instruction]:
    """Accept if the word at X + ``at`` is one of the probe's numbers."""
    yield _LOAD_AT_X | _WORD, 0, 0, at
    yield _AT_LEAST, 0, 2, probe.mark
    yield _ABOVE, 1, 0, probe.end
    yield _accept()


def _errors(probe: Probe, inner: int) -> Iterator[Instruction]:
    """Accept an ICMP error that quotes the probe."""
    quoted = 8 + inner + (4 if probe.flow.protocol == "tcp" else 8)
    checks = list(_marked(quoted, probe))
    yield _LENGTH, 0, 0, 0
    yield _AT_LEAST, 0, len(checks), inner + quoted + 4
    yield from checks


def _tunnel(probe: Probe) -> Iterator[Instruction]:
    """Accept what a VXLAN packet carries."""
    size = 40 if probe.version == 6 else 20
    checks = list(_transport(VXLAN_HEADERS + size, probe))
    for port in TUNNEL_PORTS:
        yield _LOAD_AT_X | _HALF, 0, 0, 2
        yield _EQUAL, 0, len(checks), port
        yield from checks
