"""Names what a packet met: its addresses, the rules, the elements of sets."""

from collections.abc import Iterable
from ipaddress import ip_address

from debug.cluster import Names
from debug.explain.result import RuleLine
from debug.output import with_port
from debug.ruleset.frames import Found
from debug.ruleset.packet import NAMES, SCTP, TCP, UDP, Entry, Flow, Packet, State, Tuple
from debug.ruleset.registers import from_host
from debug.ruleset.stores import spans
from debug.ruleset.traverse import Passed

# nft's numbers for types of keys (libnftables, datatype.h)
_INTEGER, _IP4, _IP6, _PROTOCOL, _SERVICE, _MARK, _IFNAME = 4, 7, 8, 12, 13, 19, 41
_SIZES = {_IP4: 4, _IP6: 16, _PROTOCOL: 1, _SERVICE: 2, _MARK: 4, _IFNAME: 16}
_PORTED = (TCP, UDP, SCTP)
_BITS = 6  # of a concatenation's type, for each of its parts


def packet_text(state: State, names: Names) -> str:
    """Return a packet in words, with the names of its addresses."""
    packet = state.packet
    source, destination = packet.ports
    name = NAMES.get(packet.protocol, str(packet.protocol))
    first, last = names.shown(str(packet.source)), names.shown(str(packet.destination))
    if packet.has_ports:
        shown: dict[str, int | str] = {"source": source, "destination": destination}
        shown[state.open_port] = "any"
        first = _with_port(str(packet.source), shown["source"], names)
        last = _with_port(str(packet.destination), shown["destination"], names)
    mark = f" mark {state.mark:#x}" if state.mark else ""
    return f"{name} {first} > {last}{mark}"


def _with_port(address: str, port: int | str, names: Names) -> str:
    name = names.of(address)
    shown = with_port(address, port)
    return f"{shown} ({name})" if name else shown


def entry_text(flow: Flow, packet: Packet, names: Names) -> str:
    """Say what an entry of conntrack does with a packet."""
    entry = flow.entry
    if entry is None or flow.original is None or flow.reply is None:
        return ""
    first = _ends_text(packet, entry.original, names)
    last = _ends_text(packet, entry.reply.turned(), names)
    went = f", which it translates to {last}" if flow.translated else ""
    words = (entry.state, flow.state, "its answer" if flow.is_reply else "")
    shown = ", ".join(word for word in words if word)
    return f"an entry of conntrack decides ({shown}): {first}{went}"


def closed_text(entry: Entry) -> str:
    """Say what becomes of the entry of a connection that has ended."""
    return f"an entry of conntrack that was closed ({entry.state}) makes room for a new connection"


def _ends_text(packet: Packet, ends: Tuple, names: Names) -> str:
    first, last = str(ip_address(ends.source)), str(ip_address(ends.destination))
    if not packet.has_ports:
        return f"{names.shown(first)} > {names.shown(last)}"
    to = _with_port(last, ends.destination_port, names)
    return f"{_with_port(first, ends.source_port, names)} > {to}"


def rule_lines(trail: Iterable[Passed], names: Names) -> tuple[RuleLine, ...]:
    """Return the rules that did something."""
    return tuple(_rule_line(one, names) for one in trail)


def _rule_line(one: Passed, names: Names) -> RuleLine:
    verdict = one.verdict
    shown = f"{verdict.code} {verdict.chain}".strip()
    return RuleLine(
        f"{one.table.family} {one.table.name}",
        one.chain,
        "" if verdict.code == "continue" else shown,
        one.handle,
        one.comment,
        tuple(_found(found, names) for found in one.found),
        one.notes,
    )


def _found(found: Found, names: Names) -> str:
    key = key_text(found, names)
    if found.element is None:
        return f"{key} not in {_store(found)}"
    comment = f" ({found.element.comment})" if found.element.comment else ""
    return f"{key} in {_store(found)}{comment}"


def _store(found: Found) -> str:
    name = found.store.name
    return "a list of the rule" if name.startswith("__") else f"@{name}"


def key_text(found: Found, names: Names) -> str:
    """Return a key as nft shows it, with the names of addresses."""
    kinds = _kinds(found.store.types)
    if kinds == [_INTEGER]:
        return f"number {from_host(found.key)}"
    sizes = [_SIZES.get(kind, 0) for kind in kinds]
    if not kinds or 0 in sizes or _padded(sizes) != found.store.length:
        return _plain_key(found.key, names)
    parts = zip(kinds, spans(tuple(sizes)), strict=True)
    return " . ".join(_part(kind, found.key[a:b], names) for kind, (a, b) in parts)


def _padded(sizes: list[int]) -> int:
    return sizes[0] if len(sizes) == 1 else sum(-(-size // 4) * 4 for size in sizes)


def _kinds(types: int) -> list[int]:
    found: list[int] = []
    while types:
        found.insert(0, types & ((1 << _BITS) - 1))
        types >>= _BITS
    return found


def _part(kind: int, value: bytes, names: Names) -> str:
    if kind in (_IP4, _IP6):
        return names.shown(str(ip_address(value)))
    if kind == _PROTOCOL:
        return NAMES.get(value[0], str(value[0]))
    if kind == _SERVICE:
        return str(int.from_bytes(value, "big"))
    if kind == _IFNAME:
        return value.rstrip(b"\0").decode(errors="replace")
    return f"{from_host(value):#x}"


def _plain_key(key: bytes, names: Names) -> str:
    """Return a key whose type nft did not keep (typeof): an address, a protocol, a port, a number.

    Each begins at a word; which it is follows from what came before.
    """
    shown: list[str] = []
    awaited = ["protocol", "port"]
    for at in range(0, len(key), 4):
        word = key[at : at + 4]
        if awaited[:1] == ["protocol"] and word[0] in _PORTED and not any(word[1:]):
            shown.append(NAMES[word[0]])
            awaited.pop(0)
        elif awaited == ["port"]:
            shown.append(str(int.from_bytes(word[:2], "big")))
            awaited.pop(0)
        elif not awaited or len(word) < 4:
            shown.append(f"number {from_host(word)}")
        else:
            shown.append(names.shown(str(ip_address(word))))
    return " . ".join(shown)
