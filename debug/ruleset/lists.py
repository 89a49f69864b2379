"""Lists of addresses that iptables' matches ask: ``recent`` and ``set`` (ipset).

Sources: net/netfilter/xt_recent.c, xt_set.c, ipset/ip_set_core.c; include/uapi/linux/netfilter.
"""

import struct
from ipaddress import ip_address

from msgspec.structs import replace

from debug.ruleset.frames import Frame, World
from debug.ruleset.packet import ICMP, ICMP6, TCP, UDP, State
from debug.ruleset.registers import UnknownError, from_host
from debug.ruleset.values import SetProbe

_SCTP, _UDPLITE = 132, 136
_PORTED = (TCP, UDP, _SCTP, _UDPLITE)
_SET, _UPDATE, _REMOVE, _TTL = 2, 4, 8, 16  # XT_RECENT_...; 1 is CHECK, 32 REAP
_NAME = 200
_INVERTED, _NOMATCH = 1, 1 << 7  # IPSET_INV_MATCH, IPSET_FLAG_RETURN_NOMATCH
_COUNTERS = {3: (8, 24), 4: (16, 32)}  # of each revision, where a comparison's operator is


def recent(data: bytes, frame: Frame, world: World) -> bool:
    """Match as recent does: an address that was seen within some seconds, some times."""
    seconds, hits, flags, inverted = struct.unpack_from("=IIBB", data)
    name = data[10 : 10 + _NAME].split(b"\0")[0].decode(errors="replace")
    if flags & (_TTL | _REMOVE):
        raise UnknownError(f"match recent {name} with --rttl or --remove")
    address = _masked(data, frame.state)
    ages = _ages(name, address, frame.state, world)
    if flags & _SET:
        noted = (*frame.state.recent, (name, address))
        frame.state = replace(frame.state, recent=noted)
        return not inverted
    held = [age for age in ages if not seconds or age <= seconds]
    found = bool(ages) and len(held) >= max(hits, 1)
    if found != bool(inverted):
        _note(frame, name, address, held, seconds)
    return found != bool(inverted)


def _masked(data: bytes, state: State) -> bytes:
    """Return the address that is looked up: the source's or the destination's, by its mask."""
    side = data[10 + _NAME]
    packet = state.packet
    address = packet.destination if side else packet.source
    mask = data[212 : 212 + len(address.packed)]
    if len(mask) < len(address.packed):  # revision 0 has none
        return address.packed
    return bytes(one & other for one, other in zip(address.packed, mask, strict=True))


def _ages(name: str, address: bytes, state: State, world: World) -> tuple[float, ...]:
    own = (0.0,) if (name, address) in state.recent else ()
    return (*own, *world.rules.lists.recent(name).get(str(ip_address(address)), ()))


def _note(frame: Frame, name: str, address: bytes, held: list[float], seconds: int) -> None:
    shown = ip_address(address)
    if held and seconds:
        left = round(seconds - min(held))
        frame.note(f"{shown} was seen {min(held):.0f} s ago (recent {name}), counts {left} s more")
    else:
        frame.note(f"{shown} {'is' if held else 'is not'} in recent {name}")


def ip_set(data: bytes, frame: Frame, world: World, revision: int) -> bool:
    """Match as set does: asked of the kernel, element by element."""
    number, dimensions, flags = from_host(data[:2]), data[2], data[3]
    operators = [data[at] for at in _COUNTERS.get(revision, ())]
    if any(operators) or (revision >= 3 and from_host(data[40:44]) & _NOMATCH):
        raise UnknownError("match set with counters or --return-nomatch")
    held = world.rules.lists.in_set(number, _probe(frame.state, dimensions, flags))
    inverted = bool(flags & _INVERTED)
    if held.found != inverted:
        frame.note(f"{'' if held.found else 'not '}in ipset {held.name}")
    return held.found != inverted


def _probe(state: State, dimensions: int, flags: int) -> SetProbe:
    """What a packet shows to a set: each dimension of its source or of its destination."""
    packet = state.packet
    sides = tuple(bool(flags & 2 << at) for at in range(dimensions))
    port: tuple[int, int] | None = None
    if packet.protocol in _PORTED and packet.has_ports:
        port = packet.ports
    elif packet.protocol in (ICMP, ICMP6):
        port = (int.from_bytes(packet.transport[:2], "big"),) * 2
    devices = tuple(one.name if one else "" for one in (state.iif, state.oif))
    ends = packet.source.packed, packet.destination.packed
    return SetProbe(
        packet.version, sides, ends, port, packet.protocol, state.mark, devices, state.open_port
    )
