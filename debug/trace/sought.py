"""Which packets the taps on links tell of, in two forms: pure.

eBPF programs have constants (``struct sought`` of bpf/taps.bpf.c), packet sockets a program of the
classic BPF. Both may let through too much; what a packet is, Python decides.
"""

import struct
from dataclasses import dataclass
from ipaddress import ip_address

from debug.trace.filters import tap_filter
from debug.trace.live import Match, live_filter
from debug.trace.packet import ICMP, ICMP6, TCP, UDP
from debug.trace.probe import Probe

_MOST = 32  # addresses of each family, and ports
_SOUGHT = struct.Struct("=8I128s512s128s")
_NUMBERS = {"tcp": TCP, "udp": UDP, "icmp": ICMP, "icmpv6": ICMP6}


@dataclass(frozen=True, slots=True)
class Sought:
    """Which packets are told of. ``constants`` lack their first word, which is the kernel's."""

    classic: bytes
    constants: bytes

    def packed(self, *, casts: bool) -> bytes:
        """Return the constants for a kernel that has ``bpf_rdonly_cast``, or has not."""
        return struct.pack("=I", casts) + self.constants


def of_probe(probe: Probe) -> Sought:
    """Return what tells of a probe and of its answers, also in a tunnel."""
    flow = probe.flow
    ports = {flow.source_port, flow.destination_port, *probe.answer_ports} - {None}
    number, inner = _NUMBERS[flow.protocol], 40 if probe.version == 6 else 20
    head = number, inner, probe.mark, probe.end
    return Sought(tap_filter(probe), _pack(head, ports=sorted(one for one in ports if one)))


def of_match(match: Match) -> Sought:
    """Return what tells of packets with one of the addresses, also in a tunnel."""
    hosts = [ip_address(host).packed for host in match.hosts]
    packed = _pack(
        (0, 0, 0, 0),
        [one for one in hosts if len(one) == 4],
        [one for one in hosts if len(one) == 16],
    )
    return Sought(live_filter(match), packed)


def _pack(
    head: tuple[int, int, int, int],
    hosts4: list[bytes] | None = None,
    hosts6: list[bytes] | None = None,
    ports: list[int] | None = None,
) -> bytes:
    first, last, own = (hosts4 or [])[:_MOST], (hosts6 or [])[:_MOST], (ports or [])[:_MOST]
    words = struct.pack(f"={len(own)}I", *own)
    counts = len(first), len(last), len(own)
    return _SOUGHT.pack(0, *head, *counts, b"".join(first), b"".join(last), words)[4:]
