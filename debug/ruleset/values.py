"""What is installed: tables, chains, rules, sets and their elements."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from debug.ruleset.steps import AnyStep, Verdict


class Hook(StrEnum):
    """Where a packet meets rules, in the order of a forwarded packet."""

    PREROUTING = "prerouting"
    INPUT = "input"
    FORWARD = "forward"
    OUTPUT = "output"
    POSTROUTING = "postrouting"


class Table(Struct, frozen=True):
    """A table: ``family`` is ip, ip6, inet, bridge, arp or netdev."""

    family: str
    name: str
    handle: int = 0
    dormant: bool = False


class Base(Struct, frozen=True):
    """Where a chain hangs."""

    hook: Hook
    priority: int
    sort: str = "filter"  # filter, nat, route
    accepts: bool = True  # its policy


class Chain(Struct, frozen=True):
    """A chain; ``base`` only if packets enter it by a hook."""

    table: Table
    name: str
    handle: int = 0
    base: Base | None = None


class Rule(Struct, frozen=True):
    """A rule of a chain."""

    steps: tuple[AnyStep, ...]
    handle: int = 0
    comment: str = ""


class Store(Struct, frozen=True):
    """A set or map. ``fields`` are the lengths of a concatenation's parts, in bytes."""

    table: Table
    name: str
    length: int
    ranged: bool = False
    is_map: bool = False
    fields: tuple[int, ...] = ()
    types: int = 0  # nft's number for the key's type, six bits a field


class Element(Struct, frozen=True):
    """An element: ``last`` is the end of a range, ``key`` None that of all others (catch-all)."""

    key: bytes | None
    last: bytes | None = None
    value: bytes | Verdict | None = None
    comment: str = ""


class SetProbe(Struct, frozen=True):
    """What a packet shows to an ipset. Pairs are (source, destination), devices (in, out).

    ``sides`` has for each dimension whether it is the source's. ``ports`` is None without ports;
    an ICMP packet's are its type and code.
    """

    version: int
    sides: tuple[bool, ...]
    ends: tuple[bytes, bytes]
    ports: tuple[int, int] | None
    protocol: int
    mark: int = 0
    devices: tuple[str, ...] = ("", "")
    open_port: str = ""


class InSet(Struct, frozen=True):
    """An ipset's name, and whether it has what it was asked for."""

    name: str
    found: bool


class Lists(Protocol):
    """Lists of addresses that iptables' matches ask, beside rules. Methods raise UnknownError."""

    def recent(self, name: str) -> Mapping[str, tuple[float, ...]]:
        """How many seconds ago each address of a table of ``recent`` was seen, each time."""
        ...

    def in_set(self, number: int, probe: SetProbe) -> InSet:
        """Whether the ipset with this number has what a packet shows."""
        ...


class Rules(Protocol):
    """What is installed in one network namespace, read when it is asked for."""

    @property
    def lists(self) -> Lists:
        """What matches of iptables ask beside rules."""
        ...

    def bases(self) -> Sequence[Chain]:
        """The chains that hang in a hook, in the order in which the kernel calls them."""
        ...

    def rules(self, table: Table, chain: str) -> Sequence[Rule]:
        """The rules of a chain."""
        ...

    def store(self, table: Table, name: str) -> Store:
        """A set or map."""
        ...

    def element(self, store: Store, key: bytes) -> Element | None:
        """The element that holds a key."""
        ...
