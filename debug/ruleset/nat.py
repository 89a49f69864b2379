"""Address translation: what a rule asks for, and what becomes of each packet of the connection.

Source: net/netfilter/nf_nat_core.c, nf_nat_redirect.c, nf_nat_masquerade.c.
"""

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as replaced
from fractions import Fraction
from ipaddress import ip_address

from msgspec.structs import replace

from debug.ruleset import steps
from debug.ruleset.frames import ACCEPT, Frame, Next, World
from debug.ruleset.packet import CONFIRMED, DNAT, DST_DONE, SNAT, SRC_DONE, Flow, State, Tuple
from debug.ruleset.registers import UnknownError
from debug.ruleset.values import Hook

_RANDOM = 0x4 | 0x10  # NF_NAT_RANGE_PROTO_RANDOM, NF_NAT_RANGE_PROTO_RANDOM_FULLY
_NETMAP = 0x40
_LOOPBACK = {4: bytes([127, 0, 0, 1]), 6: bytes(15) + b"\1"}
_MOST_ADDRESSES = 64


@dataclass(frozen=True, slots=True)
class Wish:
    """What a rule asks for: None leaves as it is; ``last`` ends a range."""

    address: bytes | None = None
    address_last: bytes | None = None
    port: int | None = None
    port_last: int | None = None
    random: bool = False


def is_done(flow: Flow, destination: bool) -> bool:
    """Return True if the rules for this side of the connection have been asked."""
    return bool(flow.status & (DST_DONE if destination else SRC_DONE))


def finished(state: State, destination: bool) -> State:
    """Return the state after the rules for a side were asked, whatever they said."""
    if state.flow is None or state.flow.status & CONFIRMED:
        return state
    done = DST_DONE if destination else SRC_DONE
    return replace(state, flow=replace(state.flow, status=state.flow.status | done))


def at_hook(hook: Hook) -> bool:
    """Return True if a hook translates destinations of the original direction."""
    return hook in (Hook.PREROUTING, Hook.OUTPUT)


def applied(state: State, destination: bool) -> State:
    """Return the state after its connection's translation was done on the packet."""
    flow = state.flow
    if flow is None or flow.original is None or flow.reply is None:
        return state
    bit = DNAT if destination else SNAT
    if flow.is_reply:
        bit ^= DNAT | SNAT
    if not flow.status & bit:
        return state
    wanted = (flow.original if flow.is_reply else flow.reply).turned()
    side = "destination" if destination else "source"
    known = flow.is_reply and state.open_port == side  # what it was before is no choice
    return replace(
        state,
        packet=state.packet.rewritten(_side(state, wanted, destination)),
        open_port="" if known else state.open_port,
    )


def made_unique(state: State, taken: Callable[[State], bool]) -> State:
    """Return a connection's first packet with any port, if another one has its answers' addresses.

    Source: get_unique_tuple() in nf_nat_core.c, which also connections without a rule meet.
    """
    flow = state.flow
    if flow is None or flow.reply is None or flow.status & CONFIRMED or state.open_port:
        return state
    if flow.state not in ("new", "related") or not state.packet.has_numbers or not taken(state):
        return state
    made = replace(flow, status=flow.status | SNAT)
    return replace(state, flow=made, open_port="source")


def _side(state: State, wanted: Tuple, destination: bool) -> Tuple:
    """Return the packet's addresses with one side of what is wanted."""
    now = state.packet.flow_tuple
    if destination:
        return replace(
            now, destination=wanted.destination, destination_port=wanted.destination_port
        )
    return replace(now, source=wanted.source, source_port=wanted.source_port)


def translate(step: steps.Nat, frame: Frame, _: World) -> Next:
    """Carry out ``dnat`` and ``snat``."""
    if (step.version, frame.state.packet.version) in ((4, 6), (6, 4)):
        return ACCEPT
    if step.flags & _NETMAP:
        raise UnknownError("nat of a whole network (netmap)")
    length = 4 if frame.state.packet.version == 4 else 16

    def address(word: int | None) -> bytes | None:
        return None if word is None else frame.registers.read(word, length)

    wish = Wish(
        address(step.address),
        address(step.address_last),
        read_port(frame, step.port),
        read_port(frame, step.port_last),
        bool(step.flags & _RANDOM),
    )
    return wished(frame, wish, step.destination)


def masquerade(step: steps.Masquerade, frame: Frame, world: World) -> Next:
    """Carry out ``masquerade``."""
    ports = read_port(frame, step.port), read_port(frame, step.port_last)
    return masqueraded(frame, Wish(None, None, *ports, bool(step.flags & _RANDOM)), world)


def masqueraded(frame: Frame, wish: Wish, world: World) -> Next:
    """Translate the source to the address that the outgoing device's packets get."""
    state = frame.state
    if state.oif is None:
        raise UnknownError("masquerade without an outgoing device")
    own = world.fib.own_address(state.oif, state.packet.destination).packed
    return wished(frame, replaced(wish, address=own, address_last=None), False)


def redirect(step: steps.Redirect, frame: Frame, world: World) -> Next:
    """Carry out ``redirect``."""
    ports = read_port(frame, step.port), read_port(frame, step.port_last)
    return redirected(frame, Wish(None, None, *ports), world)


def redirected(frame: Frame, wish: Wish, world: World) -> Next:
    """Translate the destination to the address of the device where the packet came in."""
    state = frame.state
    if world.hook is Hook.OUTPUT:
        own = _LOOPBACK[state.packet.version]
    elif state.iif is not None:
        own = world.fib.own_address(state.iif, state.packet.source).packed
    else:
        raise UnknownError("redirect without a device")
    return wished(frame, replaced(wish, address=own, address_last=None), True)


def read_port(frame: Frame, word: int | None) -> int | None:
    """Return the port in a register, if there is one."""
    return None if word is None else int.from_bytes(frame.registers.read(word, 2), "big")


def wished(frame: Frame, wish: Wish, destination: bool) -> Next:
    """Give the connection what a rule asks for; the packet is translated when the hook ends.

    One that is in the table stays as it is (nf_nat_setup_info).
    """
    flow = frame.state.flow
    if flow is None or flow.reply is None or flow.status & CONFIRMED:
        return ACCEPT
    addresses = list(_addresses(wish))
    if len(addresses) == 1:
        frame.state = _bound(frame.state, flow, addresses[0], wish, destination)
        _note(frame, destination)
        return ACCEPT
    made = []
    for one in addresses:
        way = frame.parted(weight=frame.weight * Fraction(1, len(addresses)), end=ACCEPT)
        way.state = _bound(frame.state, flow, one, wish, destination)
        _note(way, destination)
        made.append(way)
    return tuple(made)


def _addresses(wish: Wish) -> list[bytes | None]:
    """Return the addresses of which the kernel takes one."""
    if wish.address is None or wish.address_last in (None, wish.address):
        return [wish.address]
    first, last = int(ip_address(wish.address)), int(ip_address(wish.address_last or b""))
    if not 0 <= last - first < _MOST_ADDRESSES:
        raise UnknownError("nat to one of many addresses, which the kernel chooses")
    length = len(wish.address)
    return [number.to_bytes(length, "big") for number in range(first, last + 1)]


def _bound(state: State, flow: Flow, address: bytes | None, wish: Wish, destination: bool) -> State:
    """Return the state whose connection has a translation."""
    assert flow.reply is not None  # noqa: S101  # the caller looked
    now = flow.reply.turned()
    old_port = now.destination_port if destination else now.source_port
    port, is_open = _port(old_port, wish, state.packet.has_numbers)
    if destination:
        new = replace(now, destination=address or now.destination, destination_port=port)
    else:
        new = replace(now, source=address or now.source, source_port=port)
    changed = new != now or is_open
    status = flow.status | ((DNAT if destination else SNAT) if changed else 0)
    made = replace(flow, reply=new.turned(), status=status, bound=flow.bound + 1)
    opened = "" if not is_open else "destination" if destination else "source"
    return replace(state, flow=made, open_port=opened or state.open_port)


def _port(old: int, wish: Wish, has_numbers: bool) -> tuple[int, bool]:
    """Return the new port, and True if the kernel may take another one."""
    if not has_numbers:
        return old, False
    if wish.port is None:
        return old, wish.random
    last = wish.port if wish.port_last is None else wish.port_last
    if wish.port == last:
        return wish.port, False
    if wish.port <= old <= last and not wish.random:
        return old, False
    return wish.port, True


def _note(frame: Frame, destination: bool) -> None:
    flow = frame.state.flow
    if flow is None or flow.reply is None:
        return
    address, port = flow.reply.source, flow.reply.source_port
    if not destination:
        address, port = flow.reply.destination, flow.reply.destination_port
    side = "destination" if destination else "source"
    open_port = frame.state.open_port == side
    shown = (
        "" if not frame.state.packet.has_ports else " port any" if open_port else f" port {port}"
    )
    frame.note(f"{side} becomes {ip_address(address)}{shown}")
