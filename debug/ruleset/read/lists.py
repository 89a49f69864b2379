"""Asks the kernel for lists of addresses: tables of xt_recent, and single elements of ipsets.

Sources: net/netfilter/xt_recent.c (its files), include/uapi/linux/netfilter/ipset/ip_set.h. The
objects belong to the network namespace that their thread was in when they were made.
"""

import os
import re
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from ipaddress import ip_address

from debug.ruleset.registers import UnknownError
from debug.ruleset.values import InSet, SetProbe
from proxy.linux.netlink import NETFILTER, Netlink, attribute, attributes, text

_TABLES = "/proc/thread-self/net/xt_recent"
_LONGEST = 1 << 22  # bytes of one table; a table has 100 addresses by default
_ENTRY = re.compile(r"src=(\S+) ttl: \d+ last_seen: \d+ oldest_pkt: \d+((?:,? \d+)*)")
_BEFORE_WRAP = 300  # seconds: jiffies begin so long before they wrap (include/linux/jiffies.h)

_LIST, _TEST, _HEADER_OF, _BY_INDEX = (6 << 8 | one for one in (7, 11, 12, 15))
_PROTOCOL, _NAME, _TYPE, _FAMILY, _DATA, _ADT, _INDEX = 1, 2, 3, 5, 7, 8, 11
_IP, _PORT, _PROTO, _MARK, _MEMBER, _IP2, _IFACE = 1, 4, 7, 10, 18, 20, 23
_NESTED, _BIG_ENDIAN = 0x8000, 0x4000
_NOT_IN_SET = 4103  # IPSET_ERR_EXIST
_HEAD = struct.pack("=BBH", 2, 0, 0) + attribute(_PROTOCOL, b"\7")
_DEEPEST = 4  # lists of sets
_MONOTONIC_COARSE = 6  # of clockid_t, which Python has no name for


class KernelLists:
    """Implements values.Lists. Raises UnknownError."""

    def __init__(self) -> None:
        self._netlink = Netlink(NETFILTER)
        self._folder: int | None = None
        with suppress(FileNotFoundError):  # nobody has such rules
            self._folder = os.open(_TABLES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        """Close the sockets."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None
        self._netlink.close()

    def names(self) -> list[str]:
        """The tables of recent."""
        return sorted(os.listdir(self._folder)) if self._folder is not None else []  # noqa: PTH208

    def recent(self, name: str) -> Mapping[str, tuple[float, ...]]:
        """How many seconds ago each address was seen, each time."""
        if self._folder is None or "/" in name:
            raise UnknownError(f"recent {name}: there is no such table")
        try:
            fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._folder)
        except OSError as err:
            raise UnknownError(f"recent {name}: {err.strerror}") from err
        with open(fd, encoding="ascii", errors="replace") as file:  # noqa: PTH123  # of a descriptor
            return dict(ages_of(file.read(_LONGEST), time.monotonic(), _ticks()))

    def in_set(self, number: int, probe: SetProbe) -> InSet:
        """Return whether a set has what a packet shows."""
        try:
            name = text(
                self._asked(_BY_INDEX, _INDEX | _BIG_ENDIAN, struct.pack("!H", number))[_NAME]
            )
            return InSet(name, self._holds(name, probe, _DEEPEST))
        except OSError as err:
            raise UnknownError(f"ipset {number} cannot be asked: {err.strerror}") from err

    def _asked(self, kind: int, attribute_: int, value: bytes) -> dict[int, bytes]:
        return attributes(self._netlink.get(kind, _HEAD + attribute(attribute_, value))[4:])

    def _holds(self, name: str, probe: SetProbe, depth: int) -> bool:
        header = self._asked(_HEADER_OF, _NAME, name.encode() + b"\0")
        sort, family = text(header[_TYPE]), header[_FAMILY][0]
        if sort == "list:set":
            if not depth:
                raise UnknownError(f"ipset {name}: lists of lists")
            return any(self._holds(one, probe, depth - 1) for one in self._members(name))
        parts = sort.partition(":")[2].split(",")
        if family not in (0, {4: 2, 6: 10}[probe.version]) or len(parts) > len(probe.sides):
            return False
        element = _element(sort, parts, probe)
        return element is not None and self._has(name, element)

    def _has(self, name: str, element: bytes) -> bool:
        body = attribute(_NAME, name.encode() + b"\0") + attribute(_DATA | _NESTED, element)
        try:
            self._netlink.request(_TEST, _HEAD + body)
        except OSError as err:
            if err.errno == _NOT_IN_SET:
                return False
            raise
        return True

    def _members(self, name: str) -> Iterator[str]:
        request = _HEAD + attribute(_NAME, name.encode() + b"\0")
        for body in list(self._netlink.dump(_LIST, request)):
            for _, one in _nested(attributes(body[4:]).get(_ADT, b"")):
                if _MEMBER in (found := attributes(one)):
                    yield text(found[_MEMBER])


def _nested(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield attributes of which several have one number."""
    at = 0
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < 4:
            return
        yield kind & 0x3FFF, data[at + 4 : at + size]
        at += -(-size // 4) * 4


def _element(sort: str, parts: list[str], probe: SetProbe) -> bytes | None:
    """Pack what a set is asked; None if the packet has no such part. Raises UnknownError."""
    places, made = iter((_IP, _IP2)), []
    for part, is_source in zip(parts, probe.sides, strict=False):
        side = 0 if is_source else 1
        if part in ("ip", "net"):
            kind = 1 if probe.version == 4 else 2
            address = attribute(kind | _BIG_ENDIAN, probe.ends[side])
            made.append(attribute(next(places) | _NESTED, address))
        elif part == "port":
            if probe.ports is None:
                return None
            made += _port(sort, side, probe, probe.ports[side])
        elif part == "mark":
            made.append(attribute(_MARK | _BIG_ENDIAN, struct.pack("!I", probe.mark)))
        elif part == "iface":
            made.append(attribute(_IFACE, probe.devices[side].encode() + b"\0"))
        else:
            raise UnknownError(f"an ipset of {sort}")
    return b"".join(made)


def _port(sort: str, side: int, probe: SetProbe, port: int) -> Iterator[bytes]:
    if probe.open_port == ("source", "destination")[side]:
        raise UnknownError(f"the {probe.open_port} port, which the kernel chose")
    yield attribute(_PORT | _BIG_ENDIAN, struct.pack("!H", port))
    if not sort.startswith("bitmap:"):
        yield attribute(_PROTO, bytes([probe.protocol]))


def ages_of(listed: str, now: float, ticks: int) -> Iterator[tuple[str, tuple[float, ...]]]:
    """Yield the addresses of a table with how many seconds ago each was seen.

    ``now`` are seconds since boot, ``ticks`` the kernel's jiffies in a second.
    """
    jiffies = (1 << 32) - _BEFORE_WRAP * ticks + now * ticks
    for line in listed.splitlines():
        if found := _ENTRY.fullmatch(line.strip()):
            stamps = (int(one) for one in found[2].replace(",", " ").split())
            ages = tuple(max((jiffies - one) / ticks, 0.0) for one in stamps)
            yield str(ip_address(found[1])), ages


@lru_cache(1)
def _ticks() -> int:
    """Return the kernel's jiffies in a second: the resolution of its coarse clocks."""
    return round(1 / time.clock_getres(_MONOTONIC_COARSE))
