"""The addresses that a network can allocate, and their order; pure.

The rules are host-local's (containernetworking/plugins, plugins/ipam/host-local). The gateway is
the first address of the subnet, unless the range names another. Neither the gateway nor an IPv4
broadcast address is allocated. The search begins after the address that was reserved last, so that
an address is reused as late as possible.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import combinations

from cni_plugin.spec.errors import InvalidConfigurationError
from cni_plugin.spec.result import Address, Network


@dataclass(frozen=True, slots=True)
class Range:
    """The addresses from ``start`` to ``end``, both inclusive, of one subnet."""

    subnet: Network
    start: Address
    end: Address
    gateway: Address

    def __contains__(self, address: Address) -> bool:
        same_family = address.version == self.subnet.version
        return same_family and int(self.start) <= int(address) <= int(self.end)

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"


RangeSet = tuple[Range, ...]


def make_range(
    subnet: Network,
    start: Address | None = None,
    end: Address | None = None,
    gateway: Address | None = None,
) -> Range:
    """A range with host-local's defaults. Raises InvalidConfigurationError for an invalid one."""
    if subnet.prefixlen > subnet.max_prefixlen - 2:
        raise InvalidConfigurationError(f"subnet {subnet} is too small to allocate from")
    base = int(subnet.network_address)
    last = int(subnet.broadcast_address) - (1 if subnet.version == 4 else 0)
    made = Range(
        subnet,
        start or _address(base + 1, subnet),
        end or _address(last, subnet),
        gateway or _address(base + 1, subnet),
    )
    for name, address in (("rangeStart", made.start), ("rangeEnd", made.end)):
        if address not in subnet:
            raise InvalidConfigurationError(f"{name} {address} is not in subnet {subnet}")
    if made.gateway.version != subnet.version:
        raise InvalidConfigurationError(
            f"gateway {made.gateway} is of another IP version than subnet {subnet}"
        )
    if int(made.start) > int(made.end):
        raise InvalidConfigurationError(f"rangeStart {made.start} is behind rangeEnd {made.end}")
    return made


def _address(value: int, subnet: Network) -> Address:
    # ip_address(int) would read a small IPv6 number as IPv4
    return type(subnet.network_address)(value)


def check_sets(sets: Sequence[RangeSet]) -> None:
    """Raise InvalidConfigurationError if a set mixes IPv4 and IPv6, or two ranges overlap."""
    if not sets or not all(sets):
        raise InvalidConfigurationError("ipam: no ranges to allocate from")
    for item in sets:
        if len({member.subnet.version for member in item}) > 1:
            raise InvalidConfigurationError(f"ipam: range set {describe(item)} mixes IPv4 and IPv6")
    for one, other in combinations([member for item in sets for member in item], 2):
        if one.start in other or one.end in other or other.start in one:
            raise InvalidConfigurationError(f"ipam: ranges {one} and {other} overlap")


def describe(ranges: RangeSet) -> str:
    """A range set as text for errors."""
    return ", ".join(map(str, ranges))


def range_of(address: Address, ranges: RangeSet) -> Range | None:
    """The range that contains ``address``."""
    return next((item for item in ranges if address in item), None)


def assign(requested: Sequence[Address], sets: Sequence[RangeSet]) -> dict[int, Address]:
    """The requested addresses by the index of the range set that allocates them.

    Raises InvalidConfigurationError for an address that no set can allocate.
    """
    assigned: dict[int, Address] = {}
    for address in dict.fromkeys(requested):
        index = next(
            (i for i, item in enumerate(sets) if i not in assigned and range_of(address, item)),
            None,
        )
        if index is None:
            raise InvalidConfigurationError(
                f"requested address {address} is in no range, or another of its range is requested",
                "; ".join(map(describe, sets)),
            )
        if any(address == item.gateway for item in sets[index]):
            raise InvalidConfigurationError(f"requested address {address} is its subnet's gateway")
        assigned[index] = address
    return assigned


def candidates(ranges: RangeSet, last: Address | None) -> Iterator[Address]:
    """Every address that can be allocated, once each, beginning after ``last``."""
    at = next((i for i, item in enumerate(ranges) if last is not None and last in item), None)
    if at is None or last is None:
        for item in ranges:
            yield from _walk(item, int(item.start), int(item.end))
        return
    here = ranges[at]
    yield from _walk(here, int(last) + 1, int(here.end))
    for item in (*ranges[at + 1 :], *ranges[:at]):
        yield from _walk(item, int(item.start), int(item.end))
    yield from _walk(here, int(here.start), int(last))


def _walk(item: Range, first: int, last: int) -> Iterator[Address]:
    make = type(item.start)
    gateway = int(item.gateway)
    for value in range(first, last + 1):
        if value != gateway:
            yield make(value)


def parse_last(text: str) -> Address | None:
    """The address in a ``last_reserved_ip.N`` file; None if the content is no address."""
    try:
        return ip_address(text.strip())
    except ValueError:
        return None
