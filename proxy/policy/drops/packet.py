"""The first bytes of an IP packet: its ends, protocol and port. Pure; any bytes may come."""

from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from proxy.model.values import PROTOCOL_NUMBERS, Address

_PORTS = {number: str(protocol) for protocol, number in PROTOCOL_NUMBERS.items()}
_OTHERS = {1: "ICMP", 2: "IGMP", 4: "IPIP", 47: "GRE", 50: "ESP", 51: "AH", 58: "ICMPv6"}
# Extension headers with a length in units of 8 bytes (RFC 8200): hop by hop, routing, destination.
_OPTIONS = frozenset({0, 43, 60})
_FRAGMENT = 44
_MOST_HEADERS = 8


class Flow(Struct, frozen=True):
    """What a packet belongs to. ``port`` is the destination's; None if it has none, or is not known
    because the packet is a later fragment.
    """

    source: Address
    destination: Address
    protocol: str
    port: int | None


def read_flow(data: bytes) -> Flow | None:
    """Read a packet from its IP header on; None if that is no whole header."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        return _read_v4(data)
    if len(data) >= 40 and data[0] >> 4 == 6:
        return _read_v6(data)
    return None


def _read_v4(data: bytes) -> Flow:
    is_first = not int.from_bytes(data[6:8], "big") & 0x1FFF
    port = _port(data, (data[0] & 15) * 4, data[9]) if is_first else None
    return Flow(IPv4Address(data[12:16]), IPv4Address(data[16:20]), _name(data[9]), port)


def _read_v6(data: bytes) -> Flow:
    source, destination = IPv6Address(data[8:24]), IPv6Address(data[24:40])
    number, at, is_first = data[6], 40, True
    for _ in range(_MOST_HEADERS):
        if at + 8 > len(data) or not (number in _OPTIONS or number == _FRAGMENT):
            break
        if number == _FRAGMENT:
            is_first = not int.from_bytes(data[at + 2 : at + 4], "big") & 0xFFF8
        length = 8 if number == _FRAGMENT else 8 + 8 * data[at + 1]
        number, at = data[at], at + length
        if not is_first:
            break
    port = _port(data, at, number) if is_first else None
    return Flow(source, destination, _name(number), port)


def _port(data: bytes, at: int, number: int) -> int | None:
    found = data[at + 2 : at + 4]
    return int.from_bytes(found, "big") if number in _PORTS and len(found) == 2 else None


def _name(number: int) -> str:
    return _PORTS.get(number) or _OTHERS.get(number) or f"protocol {number}"
