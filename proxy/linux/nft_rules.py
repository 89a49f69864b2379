"""Rules and elements of nftables' tables as values, read over netlink: no text, and no process.

``nft list`` takes seconds where a table has 10,000 Services.
"""

from collections.abc import Iterator
from typing import NamedTuple

from proxy.linux.netlink import (
    NETFILTER,
    Netlink,
    attribute,
    attributes,
    consistent,
    list_values,
    netfilter_header,
    text,
)
from proxy.model.values import Family

# linux/netfilter/nf_tables.h
_GET_RULES, _GET_SETS, _GET_ELEMENTS = 0xA07, 0xA0A, 0xA0D
_TABLE = 1
_CHAIN, _HANDLE, _EXPRESSIONS, _USER_DATA = 2, 3, 4, 7  # NFTA_RULE_…
_NAME, _DATA = 1, 2  # NFTA_EXPR_…
_SET_NAME, _SET_TIMEOUT = 2, 11  # NFTA_SET_…
_LIST_SET, _LIST_ELEMENTS = 2, 3
_KEY, _VALUE, _FLAGS, _COMMENTED, _KEY_END = 1, 2, 3, 6, 10  # NFTA_SET_ELEM_…
_INTERVAL_END = 0x1
_DATA_VALUE, _DATA_VERDICT = 1, 2
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2
_COMMENT = 0  # the sort of user data, as libnftnl writes it: sort, length, value
_VERDICTS = {0: "drop", 1: "accept", -1: "continue", -3: "jump", -4: "goto", -5: "return"}
DNAT = 1  # NFT_NAT_DNAT


class Verdict(NamedTuple):
    """``drop``, ``accept``, ``return``, or ``goto`` and ``jump`` to a chain."""

    word: str
    chain: str = ""


class NftElement(NamedTuple):
    """An element of a set or map; ``value`` is empty in a set.

    ``end`` is the end of a range. In a set whose keys have one part, an element that ``ends`` is
    the first key after a range.
    """

    key: bytes
    value: bytes | Verdict = b""
    comment: str = ""
    end: bytes = b""
    ends: bool = False


class Expression(NamedTuple):
    """An expression of a rule with its attributes, which differ from expression to expression."""

    name: str
    data: dict[int, bytes]

    def number(self, kind: int) -> int:
        """Return an attribute of four bytes; 0 if it is not there."""
        return int.from_bytes(self.data.get(kind, b""), "big")

    def text(self, kind: int) -> str:
        """Return an attribute that is text."""
        return text(self.data.get(kind, b""))


class NftRule(NamedTuple):
    """A rule of a chain."""

    chain: str
    handle: int
    expressions: tuple[Expression, ...]
    comment: str = ""

    def of(self, name: str) -> Iterator[Expression]:
        """Yield the rule's expressions of one name."""
        return (one for one in self.expressions if one.name == name)

    def has(self, name: str) -> bool:
        """Return True if the rule has an expression of this name."""
        return any(one.name == name for one in self.expressions)

    @property
    def verdict(self) -> Verdict | None:
        """What the rule ends with, if its expressions match."""
        for one in self.of("immediate"):
            found = data_of(one.data.get(2, b""))  # NFTA_IMMEDIATE_DATA
            if isinstance(found, Verdict):
                return found
        return None

    @property
    def sets_mark(self) -> bool:
        """True if the rule changes the packet's mark."""
        return any(3 in one.data and one.number(2) == 3 for one in self.of("meta"))  # SREG; MARK

    @property
    def stores(self) -> list[str]:
        """The sets and maps that the rule looks up, in their order."""
        return [one.text(1) for one in self.of("lookup")]

    @property
    def is_dnat(self) -> bool:
        """True if the rule translates the destination."""
        return any(one.number(1) == DNAT for one in self.of("nat"))

    @property
    def loaded(self) -> list[bytes]:
        """The values that the rule puts into registers by itself, in their order."""
        found = (data_of(one.data.get(2, b"")) for one in self.of("immediate"))
        return [one for one in found if isinstance(one, bytes)]

    @property
    def packets(self) -> int | None:
        """The sum of the rule's counters; None if it counts nothing."""
        counted = [int.from_bytes(one.data.get(2, b""), "big") for one in self.of("counter")]
        return sum(counted) if counted else None

    @property
    def remark(self) -> str:
        """The comment that iptables-nft has as a match of its own."""
        found = (one for one in self.of("match") if one.text(1) == "comment")
        return next(
            (one.data.get(3, b"").split(b"\0")[0].decode(errors="replace") for one in found), ""
        )

    @property
    def modulus(self) -> int:
        """How many numbers the rule draws from; 0 if it draws none."""
        return next((one.number(2) for one in self.of("numgen")), 0)


class NftReader:
    """Reads one family's tables through one socket, in the current network namespace."""

    def __init__(self, family: Family | str) -> None:
        self._family = family
        self._netlink = Netlink(NETFILTER)

    def __enter__(self) -> "NftReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def rules(self, table: str = "", chain: str = "") -> Iterator[NftRule]:
        """Yield the rules of a chain, of a table, or of all tables. Raises OSError."""
        asked = {_TABLE: table, _CHAIN: chain}
        for _, message in self._dump(_GET_RULES, asked):
            yield _rule(message)

    def tables_of_rules(self) -> Iterator[tuple[str, NftRule]]:
        """Yield each rule of the family with its table. Raises OSError."""
        for table, message in self._dump(_GET_RULES, {}):
            yield table, _rule(message)

    def timeouts(self, table: str) -> dict[str, int]:
        """Return the sets of a table that have a timeout, in seconds. Raises OSError."""
        found = (message for at, message in self._dump(_GET_SETS, {_TABLE: table}) if at == table)
        return {
            text(one[_SET_NAME]): int.from_bytes(one[_SET_TIMEOUT], "big") // 1000
            for one in found
            if _SET_TIMEOUT in one
        }

    def elements(self, table: str, store: str) -> Iterator[NftElement]:
        """Yield the elements of a set or map. Raises OSError."""
        for _, message in self._dump(_GET_ELEMENTS, {_TABLE: table, _LIST_SET: store}):
            for element in list_values(message.get(_LIST_ELEMENTS, b"")):
                yield _element(attributes(element))

    def _dump(self, kind: int, asked: dict[int, str]) -> Iterator[tuple[str, dict[int, bytes]]]:
        names = (attribute(number, f"{name}\0".encode()) for number, name in asked.items() if name)
        body = netfilter_header(self._family) + b"".join(names)
        for message in consistent(lambda: list(self._netlink.dump(kind, body))):
            parts = attributes(message[4:])
            yield text(parts.get(_TABLE, b"")), parts


def _rule(parts: dict[int, bytes]) -> NftRule:
    return NftRule(
        text(parts[_CHAIN]),
        int.from_bytes(parts.get(_HANDLE, b""), "big"),
        tuple([_expression(one) for one in list_values(parts.get(_EXPRESSIONS, b""))]),
        _comment(parts.get(_USER_DATA, b"")),
    )


def _expression(data: bytes) -> Expression:
    parts = attributes(data)
    return Expression(text(parts[_NAME]), attributes(parts.get(_DATA, b"")))


def _element(parts: dict[int, bytes]) -> NftElement:
    return NftElement(
        attributes(parts[_KEY])[_DATA_VALUE] if _KEY in parts else b"",
        data_of(parts[_VALUE]) if _VALUE in parts else b"",
        _comment(parts[_COMMENTED]) if _COMMENTED in parts else "",
        attributes(parts[_KEY_END])[_DATA_VALUE] if _KEY_END in parts else b"",
        bool(int.from_bytes(parts.get(_FLAGS, b""), "big") & _INTERVAL_END),
    )


def data_of(data: bytes) -> bytes | Verdict:
    """Return what ``NFTA_DATA_…`` holds: a value, or a verdict."""
    parts = attributes(data)
    if _DATA_VERDICT not in parts:
        return parts.get(_DATA_VALUE, b"")
    verdict = attributes(parts[_DATA_VERDICT])
    code = int.from_bytes(verdict[_VERDICT_CODE], "big", signed=True)
    return Verdict(_VERDICTS.get(code, str(code)), text(verdict.get(_VERDICT_CHAIN, b"")))


def _comment(data: bytes) -> str:
    """Return the comment in user data; tools write it first."""
    return text(data[2 : 2 + data[1]]) if len(data) > 1 and data[0] == _COMMENT else ""
