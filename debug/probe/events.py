"""What the programs tell, unpacked: ``bpf/event.h``, and the table of ``bpf/drops.bpf.c``."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from ipaddress import IPv6Address, ip_address

_EVENT = struct.Struct("=QQIIiHHHBB16s16s16s4x")
_END = struct.Struct("=QQIIII")
_DROP = struct.Struct("=QIIHHB3x16s")
_DROPPED = struct.Struct("=QQ")
_INET = 2  # AF_INET


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe's program: its file, and the functions of it by tracepoint."""

    name: str
    functions: tuple[tuple[str, str], ...]


CONNECTS = Probe("connects", (("inet_sock_set_state", "on_state"),))
SOCKETS = Probe("sockets", (("inet_sock_set_state", "on_state"),))
RETRANSMITS = Probe(
    "retransmits",
    (("tcp_retransmit_skb", "on_segment"), ("tcp_retransmit_synack", "on_answer")),
)
DROPS = Probe("drops", (("kfree_skb", "on_drop"),))


@dataclass(frozen=True, slots=True)
class SocketEvent:
    """A connect or a retransmit of a TCP socket; addresses as text, IPv4 also where mapped."""

    time: int  # nanoseconds since boot
    took: int  # nanoseconds
    netns: int  # the inode of its namespace
    pid: int
    error: int
    source: str
    source_port: int
    destination: str
    port: int
    state: int  # of the socket: include/net/tcp_states.h
    is_answer: bool  # a SYN-ACK
    command: str


@dataclass(frozen=True, slots=True)
class SocketEnd(SocketEvent):
    """The end of a TCP connection: ``took`` is how long it was open, 0 if that is unknown."""

    sent: int  # bytes
    received: int
    trip: int  # the smoothed round trip, in eighths of a microsecond
    least: int  # microseconds
    again: int  # segments that were sent again
    role: int  # enum role


@dataclass(frozen=True, slots=True)
class DropEntry:
    """How many packets of one sort were dropped."""

    netns: int
    function: int  # the address in the kernel
    reason: int
    protocol: int
    destination: str
    port: int  # 0 where there is none
    packets: int
    bytes: int


def event(data: bytes) -> SocketEvent:
    """Unpack an event."""
    time, took, netns, pid, error, source_port, port, family, state, is_answer, *ends, command = (
        _EVENT.unpack_from(data)
    )
    source, destination = (_address(family, one) for one in ends)
    text = command.split(b"\0")[0].decode(errors="replace")
    return SocketEvent(
        *(time, took, netns, pid, error, source, source_port, destination, port),
        *(state, bool(is_answer), text),
    )


def socket_end(data: bytes) -> SocketEnd:
    """Unpack the end of a connection."""
    return SocketEnd(*astuple(event(data)), *_END.unpack_from(data, _EVENT.size))


def drops(entries: Iterable[tuple[bytes, bytes]]) -> Iterator[DropEntry]:
    """Unpack the table of drops."""
    for key, value in entries:
        function, reason, netns, family, port, protocol, end = _DROP.unpack(key)
        packets, size = _DROPPED.unpack(value)
        yield DropEntry(
            *(netns, function, reason, protocol, _address(family, end), port, packets, size)
        )


def _address(family: int, packed: bytes) -> str:
    if family == _INET:
        return str(ip_address(packed[:4]))
    whole = IPv6Address(packed)
    return str(whole.ipv4_mapped or whole)
