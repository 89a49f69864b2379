"""Reads the tables of iptables-legacy, as libiptc does (linux/netfilter_ipv4/ip_tables.h).

Only tables that are there are asked for: the kernel makes a table at the first question. Matches
and targets have the same form as in iptables-nft's rules, so the same code evaluates them.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from debug.ruleset import steps
from debug.ruleset.read.decode import comment_of
from debug.ruleset.steps import AnyStep, Verdict
from debug.ruleset.values import Base, Chain, Hook, Rule, Table

_GET_INFO, _GET_ENTRIES = 64, 65
_NAME = 32  # bytes of a table's name
_INFO = struct.Struct("=32xI5I5III")  # valid hooks, entry and policy of each hook, count, size
_HEAD = 40  # of the answer with entries: name, size, padding
_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
_VERDICTS = {-1: "drop", -2: "accept", -4: "queue", -5: "return"}
_GOTO = 0x2
_IN, _OUT, _SOURCE, _DESTINATION, _PROTOCOL = 0x1, 0x2, 0x8, 0x10, 0x40
_FRAGMENT, _NOT_FRAGMENT = 0x1, 0x20
_IFNAME, _OFNAME, _L4 = 6, 7, 16  # NFT_META_*
_EQUAL, _NOT_EQUAL = 0, 1
_MOST = 64 << 20  # bytes of a table


@dataclass(frozen=True, slots=True)
class Layout:
    """Where an entry has its parts; ``network`` is the offset of addresses in the IP header."""

    family: str
    names: str
    level: int
    domain: int
    length: int  # of an address
    header: int  # of the part that matches the IP header
    size: int
    network: int

    @property
    def flags(self) -> int:
        """The offset of the protocol, after addresses and four names of devices."""
        return 4 * self.length + 64


LAYOUTS = (
    Layout("ip", "ip_tables_names", 0, socket.AF_INET, 4, 84, 112, 12),
    Layout("ip6", "ip6_tables_names", 41, socket.AF_INET6, 16, 136, 168, 8),
)


@dataclass(frozen=True, slots=True)
class LegacyTable:
    """One table: its chains in hooks, and the rules of every chain."""

    chains: tuple[Chain, ...]
    rules: dict[tuple[Table, str], tuple[Rule, ...]]


def read() -> Iterator[LegacyTable]:
    """Yield the tables of this thread's network namespace. Raises OSError."""
    for layout in LAYOUTS:
        path = Path("/proc/thread-self/net") / layout.names
        names = path.read_text().split() if path.exists() else []
        for name in names:
            with socket.socket(layout.domain, socket.SOCK_RAW, socket.IPPROTO_RAW) as asked:
                yield _table(asked, layout, name)


def _table(asked: socket.socket, layout: Layout, name: str) -> LegacyTable:
    info = _ask(asked, layout.level, _GET_INFO, name, _INFO.size)
    valid, *numbers = _INFO.unpack(info)
    size = numbers[11]
    if size > _MOST:
        raise OSError(f"table {name} of iptables-legacy is larger than {_MOST} bytes")
    request = name.encode().ljust(_NAME, b"\0") + struct.pack("=I", size)
    data = _ask(asked, layout.level, _GET_ENTRIES, name, _HEAD + size, request)[_HEAD:]
    hooks = [hook for hook in range(5) if valid & 1 << hook]
    starts = {numbers[hook]: (hook, numbers[5 + hook]) for hook in hooks}
    return decode(layout, name, data, starts)


def _ask(
    asked: socket.socket, level: int, option: int, name: str, size: int, request: bytes = b""
) -> bytes:
    """Call getsockopt(2) with a request in its buffer, which Python's own cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(size)
    start = request or name.encode()
    ctypes.memmove(buffer, start, len(start))
    length = ctypes.c_uint32(size)
    if libc.getsockopt(asked.fileno(), level, option, buffer, ctypes.byref(length)):
        number = ctypes.get_errno()
        raise OSError(number, f"table {name} of iptables-legacy: {os.strerror(number)}")
    return buffer.raw


def decode(
    layout: Layout, name: str, data: bytes, starts: dict[int, tuple[int, int]]
) -> LegacyTable:
    """Decode a table's entries; ``starts`` are offset -> hook and the offset of its policy."""
    table = Table(layout.family, f"{name} (legacy)")
    entries = list(_entries(layout, data))
    names = {at: _user_chain(layout, one) for at, one in entries}
    targets = {at + len(one): names[at] for at, one in entries if names[at]}
    rules: dict[tuple[Table, str], list[Rule]] = {}
    chains, chain, last = [], "", -1
    for at, one in entries:
        if at in starts:
            hook, last = starts[at]
            chain = list(Hook)[hook].name
            chains.append(Chain(table, chain, base=_base(name, list(Hook)[hook])))
        if names[at]:
            chain = names[at]
        elif chain:
            rules.setdefault((table, chain), []).append(_rule(layout, one, targets))
        if at == last:
            chain = ""
    return LegacyTable(tuple(chains), {key: tuple(found) for key, found in rules.items()})


def _base(name: str, hook: Hook) -> Base:
    if name == "nat":
        early = hook in (Hook.PREROUTING, Hook.OUTPUT)
        return Base(hook, -100 if early else 100, "nat")
    is_route = name == "mangle" and hook is Hook.OUTPUT
    return Base(hook, _PRIORITIES.get(name, 0), "route" if is_route else "filter")


def _entries(layout: Layout, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + layout.size <= len(data):
        _, length = _offsets(layout, data[at : at + layout.size])
        if length < layout.size:
            raise OSError("an entry of iptables-legacy is shorter than its header")
        yield at, data[at : at + length]
        at += length


def _offsets(layout: Layout, entry: bytes) -> tuple[int, int]:
    """The offset of an entry's target, and its length."""
    first, second = struct.unpack_from("=HH", entry, layout.header + 4)
    return int(first), int(second)


def _text(value: bytes) -> str:
    return value.split(b"\0")[0].decode(errors="replace")


def _user_chain(layout: Layout, entry: bytes) -> str:
    """The name of the chain that begins with an entry, which is no rule; "" for a rule."""
    target = entry[_offsets(layout, entry)[0] :]
    name = _text(target[2:31])
    return _text(target[32:62]) if name == "ERROR" else ""


def _rule(layout: Layout, entry: bytes, targets: dict[int, str]) -> Rule:
    start, _ = _offsets(layout, entry)
    found = (*_header(layout, entry), *_matches(entry[layout.size : start]))
    rule = (*found, *_target(layout, entry, entry[start:], targets))
    return Rule(rule, comment=comment_of(rule))


def _matches(data: bytes) -> Iterator[AnyStep]:
    at = 0
    while at + 32 <= len(data):
        (length,) = struct.unpack_from("=H", data, at)
        if length < 32:
            raise OSError("a match of iptables-legacy is shorter than its header")
        name, revision = _text(data[at + 2 : at + 31]), data[at + 31]
        yield steps.XtMatch(name, revision, data[at + 32 : at + length])
        at += length


def _target(
    layout: Layout, entry: bytes, target: bytes, targets: dict[int, str]
) -> Iterator[AnyStep]:
    name, revision = _text(target[2:31]), target[31]
    if name:
        yield steps.XtTarget(name, revision, target[32:])
        return
    (number,) = struct.unpack_from("=i", target, 32)
    if number < 0:
        code = _VERDICTS.get(number)
        yield steps.Immediate(Verdict(code)) if code else steps.Strange(f"verdict {number}")
    elif number in targets:
        goes = entry[layout.flags + (2 if layout.family == "ip" else 3)] & _GOTO
        yield steps.Immediate(Verdict("goto" if goes else "jump", targets[number]))


def _header(layout: Layout, entry: bytes) -> Iterator[AnyStep]:
    """Yield the steps that match the IP header and the devices."""
    size, at = layout.length, layout.flags
    inverted = entry[at + (3 if layout.family == "ip" else 4)]
    for part, flag in enumerate((_SOURCE, _DESTINATION)):
        value, mask = entry[part * size :][:size], entry[(part + 2) * size :][:size]
        load = steps.Payload(1, layout.network + part * size, size, 0)
        yield from _masked(load, value, mask, inverted & flag)
    for part, (flag, key) in enumerate(((_IN, _IFNAME), (_OUT, _OFNAME))):
        value = entry[4 * size + part * 16 :][:16]
        mask = entry[4 * size + 32 + part * 16 :][:16]
        yield from _masked(steps.Meta(key, 0), value, mask, inverted & flag)
    (protocol,) = struct.unpack_from("=H", entry, at)
    if protocol:
        operator = _NOT_EQUAL if inverted & _PROTOCOL else _EQUAL
        yield from (steps.Meta(_L4, 0), steps.Compare(0, operator, bytes([protocol & 0xFF])))
    if layout.family == "ip" and entry[at + 2] & _FRAGMENT:
        load = steps.Payload(1, 6, 2, 0)
        yield from _masked(load, b"\0\0", b"\x1f\xff", not inverted & _NOT_FRAGMENT)


def _masked(load: AnyStep, value: bytes, mask: bytes, inverted: int | bool) -> Iterator[AnyStep]:
    if not any(mask):
        return
    operator = _NOT_EQUAL if inverted else _EQUAL
    yield from (
        load,
        steps.Bitwise(0, 0, len(mask), 0, mask, bytes(len(mask))),
        steps.Compare(0, operator, value),
    )
