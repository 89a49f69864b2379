"""Asks the kernel for its rules, chain by chain, and for single elements of its sets.

Each of the objects here belongs to the network namespace that its thread was in when it was made.
"""

import errno
from collections.abc import Iterator, Sequence
from functools import cached_property

from debug.ruleset.read.decode import comment_of, data, number, steps_of
from debug.ruleset.steps import Verdict
from debug.ruleset.values import Base, Chain, Element, Hook, Rule, Store, Table
from proxy.linux.netlink import (
    NETFILTER,
    Netlink,
    attribute,
    attributes,
    consistent,
    list_values,
    nested,
    text,
)

# NFT_MSG_GET..., subsystem 10
_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_SET, _GET_ELEMENT = 0xA01, 0xA04, 0xA07, 0xA0A, 0xA0D
_ANY = 0  # NFPROTO_UNSPEC
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_NUMBERS = {name: number for number, name in _FAMILIES.items()}
_HOOKS = dict(enumerate(Hook))
_INTERVAL, _MAP = 0x4, 0x8
_LAST, _REST = 0x1, 0x2  # NFT_SET_ELEM_INTERVAL_END, NFT_SET_ELEM_CATCHALL
_DORMANT = 0x1
_IP = ("ip", "ip6", "inet")


class KernelRules:
    """The rules of one network namespace, read as they are needed, each once.

    Raises OSError. Implements values.Rules.
    """

    def __init__(self) -> None:
        self._netlink = Netlink(NETFILTER)
        self._rules: dict[tuple[Table, str], tuple[Rule, ...]] = {}
        self._elements: dict[tuple[Store, bytes], Element | None] = {}

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    @cached_property
    def tables(self) -> dict[tuple[str, str], Table]:
        """The tables by family and name."""
        found = {}
        for family, parts in self._dump(_GET_TABLE):
            dormant = bool(number(parts.get(2, b"")) & _DORMANT)
            table = Table(family, text(parts[1]), number(parts[4]), dormant)
            found[family, table.name] = table
        return found

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """All chains."""
        found = self._dump(_GET_CHAIN)
        return tuple(_chain(self.tables[family, text(parts[1])], parts) for family, parts in found)

    @cached_property
    def _stores(self) -> dict[tuple[Table, str], Store]:
        found = {}
        for family, parts in self._dump(_GET_SET):
            table = self.tables[family, text(parts[1])]
            found[table, text(parts[2])] = _store(table, parts)
        return found

    @cached_property
    def _bases(self) -> tuple[Chain, ...]:
        """Chains in the order of calls: of one priority, the newest is first."""
        hanging = [(one, one.base) for one in self.chains if one.base]
        hanging.sort(key=lambda pair: (pair[1].priority, -pair[0].table.handle, -pair[0].handle))
        return tuple(one for one, _ in hanging)

    def bases(self) -> Sequence[Chain]:
        """The chains that hang in a hook."""
        return self._bases

    def rules(self, table: Table, chain: str) -> Sequence[Rule]:
        """The rules of a chain."""
        key = (table, chain)
        if key not in self._rules:
            asked = _string(1, table.name) + _string(2, chain)
            found = self._dump(_GET_RULE, table.family, asked)
            self._rules[key] = tuple(_rule(parts) for _, parts in found)
        return self._rules[key]

    def store(self, table: Table, name: str) -> Store:
        """A set or map."""
        return self._stores[table, name]

    @property
    def stores(self) -> tuple[Store, ...]:
        """All sets and maps."""
        return tuple(self._stores.values())

    def element(self, store: Store, key: bytes) -> Element | None:
        """The element that holds a key."""
        asked = (store, key)
        if asked not in self._elements:
            found = self._element(store, key)
            self._elements[asked] = found or self._rest(store)
        return self._elements[asked]

    def elements(self, store: Store) -> list[Element]:
        """All elements; of a range of one field the end is the next element's key."""
        asked = _string(1, store.table.name) + _string(2, store.name)
        messages = self._dump(_GET_ELEMENT, store.table.family, asked)
        every = [one for _, parts in messages for one in list_values(parts.get(3, b""))]
        return list(whole(store, [attributes(one) for one in every]))

    def _rest(self, store: Store) -> Element | None:
        """Ask for the element of all keys that have none of their own."""
        flags = attribute(3, _REST.to_bytes(4, "big"))
        found = self._asked(store, nested(1, [flags]))
        return _element(found) if found else None

    def _element(self, store: Store, key: bytes) -> Element | None:
        parts = [nested(1, [attribute(1, key)])]
        if store.ranged and store.fields:
            parts.append(nested(11, [attribute(1, key)]))
        found = self._asked(store, nested(1, parts))
        return _element(found) if found else None

    def _asked(self, store: Store, wanted: bytes) -> dict[int, bytes] | None:
        names = _string(1, store.table.name) + _string(2, store.name)
        body = _header(store.table.family) + names + nested(3, [wanted])
        try:
            answer = self._netlink.get(_GET_ELEMENT, body)
        except OSError as err:
            if err.errno in (errno.ENOENT, errno.EOPNOTSUPP):
                return None
            raise
        found = list_values(attributes(answer[4:]).get(3, b""))
        return next(map(attributes, found), None)

    def _dump(
        self, kind: int, family: str = "", asked: bytes = b""
    ) -> list[tuple[str, dict[int, bytes]]]:
        body = (_header(family) if family else bytes([_ANY, 0, 0, 0])) + asked
        found = consistent(lambda: list(self._netlink.dump(kind, body)))
        return [(_FAMILIES.get(one[0], "?"), attributes(one[4:])) for one in found]


def _header(family: str) -> bytes:
    return bytes([_NUMBERS[family], 0, 0, 0])


def _string(kind: int, value: str) -> bytes:
    return attribute(kind, f"{value}\0".encode())


def _chain(table: Table, parts: dict[int, bytes]) -> Chain:
    base = None
    if 4 in parts and table.family in _IP:
        hook = attributes(parts[4])
        priority = int.from_bytes(hook[2], "big", signed=True)
        accepts = number(parts.get(5, b"\1")) == 1
        sort = text(parts.get(7, b"filter"))
        base = Base(_HOOKS[number(hook[1])], priority, sort, accepts)
    return Chain(table, text(parts[3]), number(parts[2]), base)


def _rule(parts: dict[int, bytes]) -> Rule:
    steps = steps_of(parts.get(4, b""))
    comment = comment_in(parts.get(7, b"")) or comment_of(steps)
    return Rule(steps, number(parts[3]), comment)


def _store(table: Table, parts: dict[int, bytes]) -> Store:
    flags = number(parts.get(3, b""))
    description = attributes(parts.get(9, b""))
    fields = tuple(number(attributes(one)[1]) for one in list_values(description.get(2, b"")))
    return Store(
        table,
        text(parts[2]),
        number(parts[5]),
        bool(flags & _INTERVAL),
        bool(flags & _MAP),
        fields,
        number(parts.get(4, b"")),
    )


def comment_in(user_data: bytes) -> str:
    """Return the comment in user data: entries of sort, length, value; 0 is the comment."""
    at = 0
    while at + 2 <= len(user_data):
        sort, length = user_data[at], user_data[at + 1]
        if sort == 0:
            return text(user_data[at + 2 : at + 2 + length])
        at += 2 + length
    return ""


def _element(parts: dict[int, bytes]) -> Element:
    key = parts.get(1)
    value: bytes | Verdict | None = data(parts[2]) if 2 in parts else None
    last = _key(parts[11]) if 11 in parts else None
    return Element(_key(key) if key else None, last, value, comment_in(parts.get(6, b"")))


def _is_end(parts: dict[int, bytes]) -> bool:
    return bool(number(parts.get(3, b"")) & _LAST)


def _key(value: bytes) -> bytes:
    return attributes(value)[1]


def whole(store: Store, listed: list[dict[int, bytes]]) -> Iterator[Element]:
    """Yield elements of a listing; ends of ranges, listed as elements, become part of them."""
    if not store.ranged or store.fields:
        yield from (_element(parts) for parts in listed)
        return
    yield from (_element(parts) for parts in listed if 1 not in parts)
    ends = [(_key(parts[1]), not _is_end(parts), parts) for parts in listed if 1 in parts]
    ends.sort(key=lambda end: end[:2])  # an end stands before what begins at the same key
    following = [int.from_bytes(key, "big") for key, *_ in ends[1:]] + [1 << 8 * store.length]
    for (_, begins, parts), after in zip(ends, following, strict=False):  # none: there is no end
        if not begins:
            continue
        one = _element(parts)
        yield Element(one.key, (after - 1).to_bytes(store.length, "big"), one.value, one.comment)
