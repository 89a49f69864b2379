"""Frames that tell the neighbours who has an address now; pure.

The kernel sends such frames too when a link comes up (arp_notify, ndisc_notify), which is before
the bridge lets them through.
Source: RFC 5227 section 3 (gratuitous ARP), RFC 826; RFC 4861 sections 4.4 and 7.2.6
(unsolicited neighbour advertisement), RFC 4443 section 2.3 (checksum).
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

from cni_plugin.result import Address

_BROADCAST, _ALL_NODES_MAC = b"\xff" * 6, bytes.fromhex("333300000001")
_ALL_NODES = IPv6Address("ff02::1").packed
_ETHERTYPE_ARP, _ETHERTYPE_IPV6 = b"\x08\x06", b"\x86\xdd"
_ARP_REQUEST = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
_ICMPV6, _HOP_LIMIT, _ADVERTISEMENT, _OVERRIDE, _TARGET_MAC = 58, 255, 136, 1 << 29, b"\x02\x01"


def announcement(address: Address, mac: bytes) -> bytes:
    """An Ethernet frame to everybody: ``address`` is at ``mac``."""
    if isinstance(address, IPv4Address):
        own = mac + address.packed
        return _BROADCAST + mac + _ETHERTYPE_ARP + _ARP_REQUEST + own + bytes(6) + address.packed
    body = struct.pack("!I", _OVERRIDE) + address.packed + _TARGET_MAC + mac
    pseudo = address.packed + _ALL_NODES + struct.pack("!II", 4 + len(body), _ICMPV6)
    checksum = _checksum(pseudo + bytes([_ADVERTISEMENT, 0, 0, 0]) + body)
    icmp = struct.pack("!BBH", _ADVERTISEMENT, 0, checksum) + body
    header = struct.pack("!IHBB", 6 << 28, len(icmp), _ICMPV6, _HOP_LIMIT)
    return _ALL_NODES_MAC + mac + _ETHERTYPE_IPV6 + header + address.packed + _ALL_NODES + icmp


def _checksum(data: bytes) -> int:
    """The ones' complement of the ones' complement sum (RFC 1071); the length is even."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
