"""What rules say: the comment of a rule, or what it does; and the hook of a base chain.

Only chains that a packet passed are read, because a whole ruleset may take seconds.
Source: linux/netfilter/nf_tables.h and nf_tables_compat.h.
"""

import errno
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

from debug.places import Place, inside_if_there
from debug.trace.watch.nftrace import FAMILIES
from proxy.linux.netlink import (
    NETFILTER,
    Netlink,
    attribute,
    attributes,
    list_values,
    nested,
    text,
)

_GET_CHAIN, _GET_RULE, _GET_ELEMENT = 0xA04, 0xA07, 0xA0D
_NUMBERS = {name: number for number, name in FAMILIES.items()}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT
_NAT = ("snat", "dnat")
_PLAIN = {"masq": "masquerade", "redir": "redirect", "queue": "queue", "notrack": "notrack"}
_LOOKUP_SET, _LOOKUP_REGISTER = 1, 3

ChainKey = tuple[str, str, str]  # family, table, chain


@dataclass(frozen=True, slots=True)
class ChainRules:
    """A chain: its hook, "" for one that is only jumped to, and its rules' texts by handle.

    ``kind`` is filter, nat or route, of a chain with a hook.
    """

    hook: str
    rules: dict[int, "RuleText"]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class RuleText:
    """What a rule says: its comment, or in short what it does, and the map that it looks into."""

    text: str = ""
    is_comment: bool = False
    map: str = ""


def read_chains(place: Place, wanted: list[ChainKey]) -> dict[ChainKey, ChainRules]:
    """Read chains of a place; those that are gone meanwhile are missing. Raises OSError."""

    def read() -> dict[ChainKey, ChainRules]:
        with closing(Netlink(NETFILTER)) as netlink:
            found = {key: _read(netlink, key) for key in wanted}
        return {key: value for key, value in found.items() if value is not None}

    return inside_if_there(place, read, {})


def _read(netlink: Netlink, key: ChainKey) -> ChainRules | None:
    family, table, chain = key
    header = struct.pack("=BBH", _NUMBERS[family], 0, 0)
    names = [f"{name}\0".encode() for name in (table, chain)]
    try:
        body = header + attribute(1, names[0]) + attribute(3, names[1])
        found = attributes(netlink.get(_GET_CHAIN, body)[4:])
        body = header + attribute(1, names[0]) + attribute(2, names[1])
        rules = [attributes(one[4:]) for one in netlink.dump(_GET_RULE, body)]
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.EAGAIN):
            return None  # gone, or being replaced
        raise
    texts = {int.from_bytes(one[3], "big"): describe(one) for one in rules}
    return ChainRules(_hook(found), texts, text(found.get(7, b"")))  # NFTA_CHAIN_TYPE


def _hook(chain: dict[int, bytes]) -> str:
    if 4 not in chain:  # NFTA_CHAIN_HOOK
        return ""
    number = int.from_bytes(attributes(chain[4]).get(1, b""), "big")
    return _HOOKS[number] if number < len(_HOOKS) else str(number)


def describe(rule: dict[int, bytes]) -> RuleText:
    """Return what a rule says, of its message's attributes."""
    expressions = [attributes(one) for one in list_values(rule.get(4, b""))]
    named = [(text(one.get(1, b"")), attributes(one.get(2, b""))) for one in expressions]
    comments = [*_own_comment(rule.get(7, b"")), *_xt_comments(named)]
    maps = [
        text(parts.get(_LOOKUP_SET, b""))
        for name, parts in named
        if name == "lookup" and _LOOKUP_REGISTER in parts
    ]
    words = " ".join(comments) or " ".join(word for one in named for word in _word(*one))
    return RuleText(words, bool(comments), maps[-1] if maps else "")


def read_element(place: Place, key: ChainKey, value: bytes) -> str:
    """Return the comment of a map's element; "" if there is none.

    ``key`` is family, table and map, ``value`` what the element is found by.
    """

    def read() -> str:
        header = struct.pack("=BBH", _NUMBERS[key[0]], 0, 0)
        names = [attribute(at, f"{name}\0".encode()) for at, name in enumerate(key[1:], 1)]
        wanted = nested(3, [nested(1, [nested(1, [attribute(1, value)])])])
        try:
            with closing(Netlink(NETFILTER)) as netlink:
                found = netlink.get(_GET_ELEMENT, b"".join((header, *names, wanted)))
        except OSError:
            return ""  # no such element, or keys of another shape
        elements = [attributes(one) for one in list_values(attributes(found[4:]).get(3, b""))]
        return " ".join(word for one in elements for word in _own_comment(one.get(6, b"")))

    return inside_if_there(place, read, "")


def _own_comment(data: bytes) -> Iterator[str]:
    """Yield the comment in a rule's user data: entries of a type, a length and a value."""
    at = 0
    while at + 2 <= len(data):
        kind, length = data[at], data[at + 1]
        if kind == _COMMENT:
            yield text(data[at + 2 : at + 2 + length])
        at += 2 + length


def _xt_comments(named: list[tuple[str, dict[int, bytes]]]) -> Iterator[str]:
    for name, parts in named:
        if name == "match" and text(parts.get(1, b"")) == "comment":
            yield parts.get(3, b"").split(b"\0")[0].decode(errors="replace")


def _word(name: str, parts: dict[int, bytes]) -> Iterator[str]:
    """Yield what an expression does in a word, if it says much."""
    if name in ("match", "target"):
        yield text(parts.get(1, b""))
    elif name == "lookup":
        kind = "map " if _LOOKUP_REGISTER in parts else ""
        yield f"{kind}@{text(parts.get(_LOOKUP_SET, b''))}"
    elif name == "nat":
        number = int.from_bytes(parts.get(1, b""), "big")
        yield _NAT[number] if number < len(_NAT) else name
    elif name == "reject":
        yield name
    elif name in _PLAIN:
        yield _PLAIN[name]
