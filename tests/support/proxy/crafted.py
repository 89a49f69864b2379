"""Crafted IP packets: sent as frames or by the node itself, and counted where they arrive.

No stack answers them, so a packet that comes is counted and one that was dropped costs no time. The
last packet of a sender is a mark: what was sent before it, by one processor, has come before it.
"""

import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address

from tests.support.proxy import sctp

Address = IPv4Address | IPv6Address
NUMBERS = {"TCP": 6, "UDP": 17, "SCTP": 132}
_OUTGOING = 4  # PACKET_OUTGOING
_RCVBUFFORCE = 33
_ROOM = 64 << 20  # bytes: a burst waits here until it is counted
_PATIENCE = 2.0  # seconds without any packet, and then the mark was lost


def packet(source: Address, destination: Address, protocol: str, port: int, ident: int) -> bytes:
    """Return a first packet; ``ident`` is its source port. Without a protocol it is a ping."""
    number = NUMBERS.get(protocol, 1 if source.version == 4 else 58)
    payload = _payload(protocol, number, port, ident, _pseudo(source, destination, number))
    if source.version == 4:
        zero = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), ident, 0, 64, number, 0)
        ends = source.packed + destination.packed
        head = zero[:10] + struct.pack("!H", checksum(zero + ends)) + ends
    else:
        head = struct.pack("!IHBB", 6 << 28, len(payload), number, 64)
        head += source.packed + destination.packed
    return head + payload


def _pseudo(source: Address, destination: Address, number: int) -> bytes:
    """Return the pseudo header without its length, for checksums; IPv4's ping has none."""
    if number == 1:
        return b""
    return source.packed + destination.packed + struct.pack("!I", number)


def _payload(protocol: str, number: int, port: int, ident: int, pseudo: bytes) -> bytes:
    def summed(data: bytes, at: int) -> bytes:
        whole = pseudo + (struct.pack("!I", len(data)) if pseudo else b"") + data
        return data[:at] + struct.pack("!H", checksum(whole)) + data[at + 2 :]

    match protocol:
        case "SCTP":
            return sctp.init(ident, port)
        case "TCP":
            return summed(struct.pack("!HHIIBBHHH", ident, port, 1, 0, 0x50, 2, 1000, 0, 0), 16)
        case "UDP":
            return summed(struct.pack("!HHHH", ident, port, 8, 0), 6)
    return summed(struct.pack("!BBHHH", 8 if number == 1 else 128, 0, 0, ident, port), 2)


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def key(data: bytes) -> bytes:
    """Return what no router changes of a packet: its ends, and the first bytes behind them."""
    if data[0] >> 4 == 4:
        return data[9:10] + data[12:28]
    return data[6:7] + data[8:48]


_frames: dict[str, socket.socket] = {}


def listen(ifname: str) -> bytes:
    """Begin to count the frames that an interface receives; return its address."""
    sock = _frames[ifname] = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _ROOM)
    sock.bind((ifname, 3))  # ETH_P_ALL
    sock.settimeout(_PATIENCE)
    return sock.getsockname()[4]


def address_of(ifname: str) -> bytes:
    """Return the hardware address of an interface of this namespace."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((ifname, 0))
        return sock.getsockname()[4]


def send(ifname: str, to: bytes, packets: list[bytes]) -> None:
    """Send packets in frames to a hardware address, in their order."""
    sock = _frames[ifname]
    mine = sock.getsockname()[4]
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for one in packets:
        kind = b"\x08\x00" if one[0] >> 4 == 4 else b"\x86\xdd"
        sock.send(to + mine + kind + one)


def send_as_node(packets: list[bytes]) -> None:
    """Send packets of IPv4 from this namespace's own stack, in their order."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for one in packets:
            raw.sendto(one, (socket.inet_ntoa(one[16:20]), 0))


def collect(ifname: str, marks: set[bytes]) -> set[bytes] | None:
    """Return the keys of the packets that came until all marks did; None if a mark was lost."""
    sock, found = _frames[ifname], set()
    while not marks <= found:
        try:
            data, where = sock.recvfrom(2000)
        except TimeoutError:
            return None
        if where[2] != _OUTGOING and data[12:14] in (b"\x08\x00", b"\x86\xdd"):
            found.add(key(data[14:]))
    return found


_own: list[socket.socket] = []


def listen_as_node() -> None:
    """Begin to count the TCP packets of IPv4 that pass this namespace's own rules."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, _ROOM)
    sock.settimeout(_PATIENCE)
    _own.append(sock)


def collect_as_node(marks: set[bytes]) -> set[bytes] | None:
    """See ``collect``."""
    found: set[bytes] = set()
    while not marks <= found:
        try:
            found.add(key(_own[0].recv(2000)))
        except TimeoutError:
            return None
    return found
