"""The counters of nftables' elements and rules, read over netlink: no text, and no process."""

from collections.abc import Iterator
from contextlib import closing

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
_GET_ELEMENTS, _GET_RULES = 0xA0D, 0xA07  # subsystem 10
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_KEY, _USER_DATA, _EXPRESSION = 1, 6, 7
_COMMENT = 0  # the sort of user data, as libnftnl writes it: sort, length, value
_VALUE = 1  # NFTA_DATA_VALUE
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_BYTES, _PACKETS = 1, 2


def of_elements(family: Family | str, table: str, store: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield (key, packets, bytes) of each element of a set with counters. Raises OSError."""
    asked = {_LIST_TABLE: table, _LIST_SET: store}
    for message in _dump(_GET_ELEMENTS, family, asked):
        for element in list_values(attributes(message[4:]).get(_LIST_ELEMENTS, b"")):
            parts = attributes(element)
            data = attributes(parts[_EXPRESSION])[_EXPRESSION_DATA]
            yield attributes(parts[_KEY])[_VALUE], *_counts(data)


def keys(netlink: Netlink, family: Family, table: str, store: str) -> Iterator[tuple[bytes, str]]:
    """Yield the key and the comment of each element of a set. Raises OSError."""
    asked = {_LIST_TABLE: table, _LIST_SET: store}
    for message in _read(netlink, _GET_ELEMENTS, family, asked):
        for element in list_values(attributes(message[4:]).get(_LIST_ELEMENTS, b"")):
            parts = attributes(element)
            yield attributes(parts[_KEY])[_VALUE], _comment(parts.get(_USER_DATA, b""))


def _comment(data: bytes) -> str:
    """Return the comment in an element's user data; tools write it first."""
    return text(data[2 : 2 + data[1]]) if len(data) > 1 and data[0] == _COMMENT else ""


def of_chain(family: Family | str, table: str, chain: str) -> tuple[int, int]:
    """Return (packets, bytes), the sum of the counters in a chain's rules. Raises OSError."""
    packets = size = 0
    for message in _dump(_GET_RULES, family, {_RULE_TABLE: table, _RULE_CHAIN: chain}):
        for part in list_values(attributes(message[4:]).get(_RULE_EXPRESSIONS, b"")):
            expression = attributes(part)
            if text(expression[_EXPRESSION_NAME]) == "counter":
                more = _counts(expression[_EXPRESSION_DATA])
                packets, size = packets + more[0], size + more[1]
    return packets, size


def _dump(kind: int, family: Family | str, asked: dict[int, str]) -> list[bytes]:
    with closing(Netlink(NETFILTER)) as netlink:
        return _read(netlink, kind, family, asked)


def _read(netlink: Netlink, kind: int, family: Family | str, asked: dict[int, str]) -> list[bytes]:
    names = (attribute(number, f"{name}\0".encode()) for number, name in asked.items())
    body = netfilter_header(family) + b"".join(names)
    return consistent(lambda: list(netlink.dump(kind, body)))


def _counts(data: bytes) -> tuple[int, int]:
    counter = attributes(data)
    return int.from_bytes(counter[_PACKETS], "big"), int.from_bytes(counter[_BYTES], "big")
