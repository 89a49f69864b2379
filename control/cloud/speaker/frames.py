"""Ethernet frames of ARP (RFC 826, 5227), neighbor discovery (RFC 4861) and heartbeats. Pure.

Frames from the network are parsed here, once. What is not for a speaker is None.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from control.cloud.speaker.views import Address

MAC = bytes
BROADCAST: MAC = b"\xff" * 6
# A multicast group and an EtherType for local use (IEEE 802: the 2nd bit of the address; 0x88B5).
GROUP: MAC = b"\x03podwi"
ETHERTYPE_ARP, ETHERTYPE_IPV6, ETHERTYPE_BEAT = 0x0806, 0x86DD, 0x88B5
_BEAT = b"podwire1"
_MOST_NAME = 253  # bytes of a node's name
_ICMPV6, _SOLICIT, _ADVERTISE = 58, 135, 136
_OVERRIDE, _SOLICITED = 0x20, 0x40
_SOURCE_LINK, _TARGET_LINK = 1, 2
_ALL_NODES = IPv6Address("ff02::1")


@dataclass(frozen=True, slots=True)
class Question:
    """Somebody asks for an address; ``sender`` is None if it checks for a duplicate (IPv6)."""

    target: Address
    mac: MAC
    sender: Address | None


@dataclass(frozen=True, slots=True)
class Announced:
    """Somebody says that it has an address."""

    address: Address
    mac: MAC


@dataclass(frozen=True, slots=True)
class Beat:
    """A node announces addresses, and lives."""

    node: str


Heard = Question | Announced | Beat


def parse(frame: bytes) -> Heard | None:
    """Read a frame; None if it says nothing of addresses, or is malformed."""
    if len(frame) < 14:
        return None
    kind, rest, source = int.from_bytes(frame[12:14], "big"), frame[14:], frame[6:12]
    if kind == ETHERTYPE_ARP:
        return _parse_arp(rest)
    if kind == ETHERTYPE_IPV6:
        return _parse_ndp(rest, source)
    return _parse_beat(rest) if kind == ETHERTYPE_BEAT else None


def _parse_arp(packet: bytes) -> Heard | None:
    if len(packet) < 28 or packet[:6] != b"\x00\x01\x08\x00\x06\x04":
        return None
    mac, sender = packet[8:14], IPv4Address(packet[14:18])
    target, operation = IPv4Address(packet[24:28]), packet[7]
    if operation == 2 or sender == target:
        return Announced(sender, mac)
    return Question(target, mac, sender) if operation == 1 else None


def _parse_ndp(packet: bytes, source: MAC) -> Heard | None:
    """Read a neighbor solicitation or advertisement; RFC 4861, 7.1 says which are valid."""
    if len(packet) < 64 or packet[6] != _ICMPV6 or packet[7] != 255 or packet[41]:
        return None
    if checksum(packet[8:24], packet[24:40], packet[40:]) != 0:
        return None
    target = IPv6Address(packet[48:64])
    link = _link_option(packet[64:])
    if packet[40] == _ADVERTISE:
        return Announced(target, link.get(_TARGET_LINK, source))
    if packet[40] != _SOLICIT:
        return None
    sender = IPv6Address(packet[8:24])
    return Question(
        target, link.get(_SOURCE_LINK, source), None if sender.is_unspecified else sender
    )


def _link_option(options: bytes) -> dict[int, MAC]:
    """Return the link-layer addresses of NDP options, by type."""
    found: dict[int, MAC] = {}
    while len(options) >= 8 and options[1]:
        if options[1] == 1:
            found[options[0]] = options[2:8]
        options = options[8 * options[1] :]
    return found


def _parse_beat(payload: bytes) -> Heard | None:
    if not payload.startswith(_BEAT) or len(payload) < len(_BEAT) + 1:
        return None
    length = payload[len(_BEAT)]
    name = payload[len(_BEAT) + 1 :][:length]
    if not 0 < length <= _MOST_NAME or len(name) < length or not name.isascii():
        return None
    return Beat(name.decode())


def beat(mac: MAC, node: str) -> bytes:
    """Return a heartbeat of a node."""
    name = node.encode()
    payload = _BEAT + bytes((len(name),)) + name
    return _ethernet(GROUP, mac, ETHERTYPE_BEAT, payload.ljust(46, b"\0"))


def answer(question: Question, mac: MAC) -> bytes:
    """Return the answer to a question: the address is at ``mac``."""
    target, sender = question.target, question.sender
    if isinstance(target, IPv4Address):
        asker = sender.packed if isinstance(sender, IPv4Address) else bytes(4)
        return _arp(question.mac, mac, 2, target.packed, question.mac, asker)
    if isinstance(sender, IPv6Address):
        return _advertisement(question.mac, mac, target, sender, _SOLICITED | _OVERRIDE)
    return gratuitous(target, mac)[0]


def gratuitous(address: Address, mac: MAC) -> list[bytes]:
    """Return what tells everybody that an address is at ``mac`` from now on."""
    if isinstance(address, IPv6Address):
        group = b"\x33\x33" + _ALL_NODES.packed[-4:]
        return [_advertisement(group, mac, address, _ALL_NODES, _OVERRIDE)]
    packed = address.packed
    # Some systems listen only to requests, some only to replies.
    return [
        _arp(BROADCAST, mac, 1, packed, bytes(6), packed),
        _arp(BROADCAST, mac, 2, packed, mac, packed),
    ]


def solicited_group(address: IPv6Address) -> MAC:
    """Return the multicast address to which questions for an address go (RFC 4291, 2.7.1)."""
    return b"\x33\x33\xff" + address.packed[-3:]


def _ethernet(to: MAC, source: MAC, kind: int, payload: bytes) -> bytes:
    return to + source + kind.to_bytes(2, "big") + payload


def _arp(to: MAC, mac: MAC, operation: int, sender: bytes, target_mac: MAC, target: bytes) -> bytes:
    head = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
    return _ethernet(to, mac, ETHERTYPE_ARP, head + mac + sender + target_mac + target)


def _advertisement(
    to: MAC, mac: MAC, address: IPv6Address, receiver: IPv6Address, flags: int
) -> bytes:
    body = bytes((flags, 0, 0, 0)) + address.packed + bytes((_TARGET_LINK, 1)) + mac
    source = address.packed
    without = bytes((_ADVERTISE, 0, 0, 0)) + body
    total = checksum(source, receiver.packed, without)
    message = without[:2] + total.to_bytes(2, "big") + body
    head = struct.pack("!IHBB", 6 << 28, len(message), _ICMPV6, 255)
    return _ethernet(to, mac, ETHERTYPE_IPV6, head + source + receiver.packed + message)


def checksum(source: bytes, receiver: bytes, message: bytes) -> int:
    """Return the ICMPv6 checksum (RFC 4443, 2.3); 0 for a message whose own one is right."""
    pseudo = source + receiver + struct.pack("!II", len(message), _ICMPV6)
    data = pseudo + message + b"\0" * (len(message) % 2)
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
