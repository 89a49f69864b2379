"""Matches and targets of iptables, in their binary form, as both of its back ends keep them.

Source: include/uapi/linux/netfilter/xt_*.h. Numbers are this machine's, but for
addresses and the ports of ranges.
"""

import struct
from collections.abc import Callable
from fractions import Fraction
from functools import partial

from msgspec.structs import replace

from debug.ruleset import nat
from debug.ruleset.frames import ACCEPT, BREAK, DROP, RETURN, Frame, Next, World
from debug.ruleset.lists import ip_set, recent
from debug.ruleset.packet import DNAT, SNAT, TCP, UDP, Device, Flow
from debug.ruleset.registers import UnknownError, from_host
from debug.ruleset.steps import Verdict, XtMatch, XtTarget

_WITHOUT_QUOTA = (b"ct_state_invalid_dropped_pkts", b"localhost_nps_accepted_pkts")
_VERDICTS = {-1: DROP, -2: ACCEPT, -5: RETURN}


def match(step: XtMatch, frame: Frame, world: World) -> Next:
    """Go on if a match holds; raises UnknownError."""
    check = _MATCHES.get((step.name, step.revision))
    if check is None:
        raise UnknownError(f"match {step.name} (revision {step.revision})")
    held = check(step.data, frame, world)
    if isinstance(held, bool):
        return None if held else BREAK
    return held


def target(step: XtTarget, frame: Frame, world: World) -> Next:
    """Carry out a target; raises UnknownError."""
    act = _TARGETS.get((step.name, step.revision))
    if act is None:
        raise UnknownError(f"target {step.name} (revision {step.revision})")
    return act(step.data, frame, world)


def _statistic(data: bytes, frame: Frame, _: World) -> bool | Next:
    mode, flags, number, packet = struct.unpack_from("=HHII", data)
    chance = Fraction(number, 1 << 31) if mode == 0 else Fraction(1, number + 1)
    del packet  # of every nth packet, the first: any connection may meet any of them
    if flags & 1:
        chance = 1 - chance
    return (
        frame.parted(weight=frame.weight * chance),
        frame.parted(weight=frame.weight * (1 - chance), end=BREAK),
    )


def _address_type(data: bytes, frame: Frame, world: World) -> bool:
    source, destination, flags = struct.unpack_from("=HHI", data)
    packet, state = frame.state.packet, frame.state
    device = state.iif if flags & 4 else state.oif if flags & 8 else None
    index = device.index if device else None
    held = True
    for types, address, inverted in (
        (source, packet.source, flags & 1),
        (destination, packet.destination, flags & 2),
    ):
        if types:
            kind = 1 << world.fib.kind(address, index)
            held &= bool(types & kind) != bool(inverted)
    return held


_CT_STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
_XT_SNAT, _XT_DNAT = 64 << 0, 128
_CT_STATE, _CT_STATUS, _CT_DIRECTION = 1, 64, 4096
_CT_KNOWN = _CT_STATE | _CT_STATUS | _CT_DIRECTION


def _conntrack(data: bytes, frame: Frame, _: World) -> bool:
    """xt_conntrack_mtinfo2 and 3: what comes after four addresses of 32 bytes and the rest."""
    flags, inverted, states, statuses = struct.unpack_from("=HHHH", data, 128 + 8 + 2 + 8)
    if flags & ~_CT_KNOWN:
        raise UnknownError(f"match conntrack with flags {flags:#x}")
    flow, held = frame.state.flow, True
    if flags & _CT_STATE:
        held &= bool(states & _bits(frame)) != bool(inverted & _CT_STATE)
    if flow is None or flow.state in ("invalid", "untracked"):
        return held and not flags & ~_CT_STATE
    if flags & _CT_DIRECTION:
        held &= flow.is_reply == bool(inverted & _CT_DIRECTION)
    if flags & _CT_STATUS:
        held &= bool(statuses & flow.status) != bool(inverted & _CT_STATUS)
    return held


def _bits(frame: Frame) -> int:
    """Return the states that a packet has for iptables: SNAT and DNAT are states there."""
    flow = frame.state.flow
    bits = _CT_STATES[flow.state if flow else "invalid"]
    if flow and flow.status & SNAT:
        bits |= _XT_SNAT
    if flow and flow.status & DNAT:
        bits |= _XT_DNAT
    return bits


def _ports(frame: Frame) -> tuple[int, int]:
    if frame.state.open_port:
        raise UnknownError(f"the {frame.state.open_port} port, which the kernel chose")
    return frame.state.packet.ports


def _between(first: int, port: int, last: int, inverted: int) -> bool:
    return (first <= port <= last) != bool(inverted)


def _tcp(data: bytes, frame: Frame, _: World) -> bool:
    ports, (option, mask, compared, inverted) = data[:8], data[8:12]
    s_first, s_last, d_first, d_last = struct.unpack("=HHHH", ports)
    if frame.state.packet.protocol != TCP:
        return False
    if option:
        raise UnknownError("match tcp with an option")
    if not _port_pair((s_first, s_last), (d_first, d_last), inverted, frame):
        return False
    flags = frame.state.packet.transport[13]
    return ((flags & mask) == compared) != bool(inverted & 4)


def _port_pair(
    source: tuple[int, int], destination: tuple[int, int], inverted: int, frame: Frame
) -> bool:
    every = (0, 65535)
    if (source, destination) == (every, every):
        return True
    if source == every and frame.state.open_port != "destination":
        own = frame.state.packet.ports
    else:
        own = _ports(frame)
    first = _between(source[0], own[0], source[1], inverted & 1)
    return first and _between(destination[0], own[1], destination[1], inverted & 2)


def _udp(data: bytes, frame: Frame, _: World) -> bool:
    s_first, s_last, d_first, d_last, inverted = struct.unpack_from("=HHHHB", data)
    if frame.state.packet.protocol != UDP:
        return False
    return _port_pair((s_first, s_last), (d_first, d_last), inverted, frame)


def _multiport(data: bytes, frame: Frame, _: World) -> bool:
    flags, count = data[0], data[1]
    ports = struct.unpack_from("=15H", data, 2)
    ranges, inverted = data[32:47], data[47]
    if not frame.state.packet.has_ports:
        return False
    own = frame.state.packet.ports
    if frame.state.open_port:
        own = _ports(frame)
    asked = {0: own[:1], 1: own[1:], 2: own}[flags]
    held, at = False, 0
    while at < count:
        first = last = ports[at]
        if ranges[at]:
            at, last = at + 1, ports[at + 1]
        held |= any(first <= port <= last for port in asked)
        at += 1
    return held != bool(inverted)


def _mark(data: bytes, frame: Frame, _: World) -> bool:
    mark, mask, inverted = struct.unpack_from("=IIB", data)
    return bool(((frame.state.mark & mask) == mark) != bool(inverted))


def _connmark(data: bytes, frame: Frame, _: World) -> bool:
    mark, mask, inverted = struct.unpack_from("=IIB", data)
    flow = frame.state.flow
    return flow is not None and ((flow.mark & mask) == mark) != bool(inverted)


def _limit(_: bytes, frame: Frame, __: World) -> Next:
    above = (*frame.conditions, "above the limit of a rule")
    return frame.parted(), frame.parted(weight=Fraction(0), conditions=above, end=BREAK)


def _icmp(data: bytes, frame: Frame, _: World) -> bool:
    kind, first, last, inverted = data[:4]
    own, code = frame.state.packet.transport[:2]
    held = kind == 0xFF or (own == kind and first <= code <= last)
    return held != bool(inverted)


_PORT_IN, _PORT_OUT, _BRIDGED, _IS_IN, _IS_OUT = 1, 2, 4, 8, 16  # XT_PHYSDEV_OP_...


def _physdev(data: bytes, frame: Frame, _: World) -> bool:
    """The port of a bridge: xt_physdev_info. Of what no bridge shows, only "not" holds."""
    asked, inverted = data[65], data[64]
    state = frame.state
    if not state.bridged:
        return not asked & ~inverted
    is_in, is_out = state.port_in is not None, state.port_out is not None
    for flag, held in ((_BRIDGED, is_out), (_IS_IN, is_in), (_IS_OUT, is_out)):
        if asked & flag and held == bool(inverted & flag):
            return False
    if asked & _PORT_IN and is_in and not _fits(state.port_in, data, inverted & _PORT_IN):
        return False
    return not asked & _PORT_OUT or _fits(state.port_out, data[32:], inverted & _PORT_OUT)


def _fits(device: Device | None, wanted: bytes, inverted: int) -> bool:
    """Return True if a device has a name, as far as its mask says (ifname_compare_aligned)."""
    if device is None:
        return False
    name = device.name.encode().ljust(16, b"\0")
    parts = zip(name, wanted[:16], wanted[16:32], strict=True)
    same = not any((a ^ b) & mask for a, b, mask in parts)
    return same != bool(inverted)


def _counted(data: bytes, _: Frame, __: World) -> bool:
    """A named counter of packets: it matches, unless it has a quota, as kube-proxy's have not."""
    name = data[:32].split(b"\0")[0]
    if name not in _WITHOUT_QUOTA:
        raise UnknownError(f"match nfacct {name.decode(errors='replace')}, which may have a quota")
    return True


def _always(*_: object) -> bool:
    return True


_MATCHES: dict[tuple[str, int], Callable[[bytes, Frame, World], bool | Next]] = {
    ("comment", 0): _always,
    ("statistic", 0): _statistic,
    ("addrtype", 1): _address_type,
    ("conntrack", 2): _conntrack,
    ("conntrack", 3): _conntrack,
    ("state", 0): lambda data, frame, _: bool(from_host(data[:4]) & _bits(frame)),
    ("tcp", 0): _tcp,
    ("udp", 0): _udp,
    ("multiport", 1): _multiport,
    ("mark", 1): _mark,
    ("connmark", 1): _connmark,
    ("limit", 0): _limit,
    ("icmp", 0): _icmp,
    ("icmp6", 0): _icmp,
    ("physdev", 0): _physdev,
    ("nfacct", 0): _counted,
    ("nfacct", 1): _counted,
    ("recent", 0): recent,
    ("recent", 1): recent,
    **{("set", number): partial(ip_set, revision=number) for number in (1, 2, 3, 4)},
}


def _set_mark(data: bytes, frame: Frame, _: World) -> Next:
    mark, mask = struct.unpack_from("=II", data)
    frame.state = replace(frame.state, mark=(frame.state.mark & ~mask & 0xFFFFFFFF) ^ mark)
    frame.note(f"mark {frame.state.mark:#x}")
    return None


def _set_connmark(data: bytes, frame: Frame, _: World) -> Next:
    ctmark, ctmask, nfmask, mode = struct.unpack_from("=IIIB", data)
    flow = frame.state.flow
    if flow is None:
        return None
    if mode == 2:  # restore
        new = (frame.state.mark & ~nfmask) ^ (flow.mark & ctmask)
        frame.state = replace(frame.state, mark=new & 0xFFFFFFFF)
        return None
    given = ctmark if mode == 0 else frame.state.mark & nfmask
    made = ((flow.mark & ~ctmask) ^ given) & 0xFFFFFFFF
    frame.state = replace(frame.state, flow=replace(flow, mark=made))
    return None


_MAP_IPS, _SPECIFIED = 1, 2
_RANDOM = 4 | 16


def _range2(data: bytes, version: int) -> nat.Wish:
    """struct nf_nat_range2, and nf_nat_range, which is shorter."""
    flags = from_host(data[:4])
    length = 4 if version == 4 else 16
    first, last = data[4 : 4 + length], data[20 : 20 + length]
    ports = struct.unpack_from("!HH", data, 36)
    return _wish(flags, first, last, ports)


def _compat(data: bytes) -> nat.Wish:
    """struct nf_nat_ipv4_multi_range_compat: a count, and one range."""
    flags = from_host(data[4:8])
    return _wish(flags, data[8:12], data[12:16], struct.unpack_from("!HH", data, 16))


def _wish(flags: int, first: bytes, last: bytes, ports: tuple[int, ...]) -> nat.Wish:
    if flags & 0x40:
        raise UnknownError("translation of a whole network")
    mapped, given = bool(flags & _MAP_IPS), bool(flags & _SPECIFIED)
    return nat.Wish(
        first if mapped else None,
        last if mapped else None,
        ports[0] if given else None,
        ports[1] if given else None,
        bool(flags & _RANDOM),
    )


def _dnat(data: bytes, frame: Frame, _: World) -> Next:
    return nat.wished(frame, _range2(data, frame.state.packet.version), True)


def _snat(data: bytes, frame: Frame, _: World) -> Next:
    return nat.wished(frame, _range2(data, frame.state.packet.version), False)


def _masquerade(data: bytes, frame: Frame, world: World) -> Next:
    version = frame.state.packet.version
    wish = _compat(data) if version == 4 else _range2(data, 6)
    return nat.masqueraded(frame, wish, world)


def _redirect(data: bytes, frame: Frame, world: World) -> Next:
    version = frame.state.packet.version
    wish = _compat(data) if version == 4 else _range2(data, 6)
    return nat.redirected(frame, wish, world)


def _reject(_: bytes, frame: Frame, __: World) -> Next:
    frame.note("rejected: the sender gets an answer")
    return DROP


def _ct_target(data: bytes, frame: Frame, _: World) -> Next:
    flags = struct.unpack_from("=H", data)[0]
    if flags & 1 and frame.state.flow is None:
        frame.state = replace(frame.state, flow=Flow("untracked"))
        frame.note("not tracked")
    elif flags & ~1:
        raise UnknownError("target CT with a zone or a helper")
    return None


def _quiet(*_: object) -> Next:
    return None


_TARGETS: dict[tuple[str, int], Callable[[bytes, Frame, World], Next]] = {
    ("MARK", 2): _set_mark,
    ("CONNMARK", 1): _set_connmark,
    ("CONNMARK", 2): _set_connmark,
    ("DNAT", 2): _dnat,
    ("SNAT", 2): _snat,
    ("MASQUERADE", 0): _masquerade,
    ("REDIRECT", 0): _redirect,
    ("REJECT", 0): _reject,
    ("CT", 0): _ct_target,
    ("CT", 1): _ct_target,
    ("CT", 2): _ct_target,
    ("LOG", 0): _quiet,
    ("NFLOG", 0): _quiet,
    ("TRACE", 0): _quiet,
    ("TCPMSS", 0): _quiet,
    ("CHECKSUM", 0): _quiet,
}


def standard(number: int) -> Verdict:
    """Return the verdict of iptables' standard target, if it is no jump."""
    return _VERDICTS.get(number, Verdict("unknown", f"standard target {number}"))
