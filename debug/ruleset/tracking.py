"""What conntrack makes of a packet: the connection that it begins, or the entry that it belongs to.

Source: net/netfilter/nf_conntrack_core.c (resolve_normal_ct), nf_conntrack_proto_tcp.c (the table
tcp_conntracks), nf_conntrack_proto_icmp.c of Linux 6.18.
"""

from msgspec.structs import replace

from debug.ruleset.packet import (
    ACK,
    CONFIRMED,
    DST_DONE,
    ICMP,
    ICMP6,
    RST,
    SRC_DONE,
    SYN,
    TCP,
    Entry,
    Flow,
    State,
)
from debug.ruleset.registers import UnknownError

_EXPECTED, _SEEN, _ASSURED = 0x1, 0x2, 0x4  # IPS_...
_FIN = 0x01
_REQUESTS = {ICMP: (8, 13, 15, 17), ICMP6: (128, 139)}  # what may come first
_INVALID = Flow("invalid")
_STATES = (
    *("SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"),
    *("TIME_WAIT", "CLOSE", "SYN_SENT2"),
)
# By flags, and whether it is a reply; a letter for each state. b: the packet belongs to the
# connection, x: it is invalid, a: it begins another one in the place of one that was closed.
_TCP = {
    (SYN, False): "bbbbbbaab",
    (SYN | ACK, False): "xbxxxxxxb",
    (_FIN, False): "xbbbbbbbx",
    (ACK, False): "xbbbbbbbx",
    (SYN, True): "bxxxxxaxb",
    (SYN | ACK, True): "bbbbbbbbb",
    (_FIN, True): "xbbbbbbbx",
    (ACK, True): "bbbbbbbbb",
}


def begun(state: State) -> State:
    """Return the state with the connection that conntrack begins for the packet, if it does."""
    original = state.packet.flow_tuple
    if not _begins(state):
        return replace(state, flow=_INVALID)
    return replace(state, flow=Flow("new", 0, 0, False, original, original.turned()))


def _begins(state: State) -> bool:
    packet = state.packet
    if packet.protocol == TCP:
        flags = packet.transport[13] & (_FIN | SYN | RST | ACK)
        return flags in (SYN, ACK)  # an ACK by nf_conntrack_tcp_loose, which is on
    kinds = _REQUESTS.get(packet.protocol)
    return kinds is None or packet.transport[0] in kinds


def met(state: State, entry: Entry | None) -> State:
    """Return the state of a packet whose addresses the table has, or has not.

    Raises UnknownError where what came before decides, and the table does not tell it.
    """
    if entry is None:
        return begun(state)
    step = _step(state, entry)
    if step == "x":
        return replace(state, flow=_INVALID)
    if step == "a":
        return _again(state, entry)
    assured = _ASSURED if _is_assured(state, entry) else 0
    return belonging(state, _flow(entry, assured))


def _step(state: State, entry: Entry) -> str:
    """Return what the state of a connection makes of a packet, as in ``_TCP``."""
    packet = state.packet
    if packet.protocol != TCP or entry.state not in _STATES or packet.transport[13] & RST:
        return "b"
    key = _kind(packet.transport[13]), packet.flow_tuple != entry.original
    return _TCP.get(key, "x" * len(_STATES))[_STATES.index(entry.state)]


def _kind(flags: int) -> int:
    """Return the flags that count, as get_conntrack_index() has it."""
    return flags & (SYN | ACK) if flags & SYN else flags & _FIN or flags & ACK


def _is_assured(state: State, entry: Entry) -> bool:
    """Return True if a packet is the last of a handshake, or comes after it."""
    packet = state.packet
    if packet.protocol != TCP or packet.transport[13] & RST or _kind(packet.transport[13]) != ACK:
        return False
    is_first = entry.state == "SYN_RECV" and packet.flow_tuple == entry.original
    return is_first or entry.state == "ESTABLISHED"


def _again(state: State, entry: Entry) -> State:
    """Return what becomes of a SYN with the ports of a connection that has ended."""
    if not entry.closing:
        raise UnknownError(
            "conntrack: a connection of these ports was reset; which end reset it decides whether "
            "its entry still counts"
        )
    fresh = begun(state)
    return fresh if fresh.flow is None else replace(fresh, flow=replace(fresh.flow, closed=entry))


def _flow(entry: Entry, more: int) -> Flow:
    given = entry.original, entry.reply
    return Flow("new", entry.status | CONFIRMED | more, entry.mark, False, *given, entry=entry)


def belonging(state: State, flow: Flow) -> State:
    """Return the state of a packet that belongs to a connection, in one of its directions."""
    status = flow.status
    if state.packet.flow_tuple == flow.original:
        word = "established" if status & _SEEN else "related" if status & _EXPECTED else "new"
        return replace(state, flow=replace(flow, state=word, is_reply=False))
    made = replace(flow, state="established", status=status | _SEEN, is_reply=True)
    return replace(state, flow=made)


def confirmed(flow: Flow) -> Flow:
    """Return the connection once its first packet has left."""
    if flow.status & CONFIRMED:
        return flow
    return replace(flow, status=flow.status | CONFIRMED | SRC_DONE | DST_DONE)


def answered(flow: Flow) -> Flow:
    """Return the connection as its first reply meets it."""
    status = confirmed(flow).status | _SEEN
    return replace(flow, state="established", status=status, is_reply=True)
