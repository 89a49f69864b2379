"""Address pools, as a file of MetalLB's IPAddressPools describes them. Pure.

apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: default}
spec: {addresses: [172.31.0.200-172.31.0.250, "fd00:31::200/120"], autoAssign: true}
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from control.api.validation.text import dns_subdomain

Address = IPv4Address | IPv6Address
MOST_BYTES = 1 << 20  # of a file
MOST_RANGES = 1000
_API, _KIND = "metallb.io/v1beta1", "IPAddressPool"
_FIELDS = frozenset({"addresses", "autoAssign", "avoidBuggyIPs"})


class PoolError(Exception):
    """A pool is not valid; the text names the pool, the field and the valid form."""


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses from ``first`` to ``last``, both included, of one family."""

    first: Address
    last: Address

    def __contains__(self, address: Address) -> bool:
        same = address.version == self.first.version
        return same and int(self.first) <= int(address) <= int(self.last)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    @property
    def size(self) -> int:
        """The number of addresses."""
        return int(self.last) - int(self.first) + 1

    def overlaps(self, other: "Range") -> bool:
        """True if an address is in both."""
        return other.first in self or self.first in other


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses for Services; without ``automatic`` only for those that ask for the pool."""

    name: str
    ranges: tuple[Range, ...]
    automatic: bool = True
    avoid_buggy: bool = False  # leave out .0 and .255, which some old clients cannot reach

    def holds(self, address: Address) -> bool:
        """True if a Service may have this address of the pool."""
        return any(address in each for each in self.ranges) and not self._is_buggy(address)

    @property
    def size(self) -> int:
        """The number of addresses."""
        return sum(each.size for each in self.ranges)

    def of_family(self, version: int) -> tuple[Range, ...]:
        """Return the ranges of an IP version."""
        return tuple(each for each in self.ranges if each.first.version == version)

    def _is_buggy(self, address: Address) -> bool:
        return self.avoid_buggy and address.version == 4 and int(address) & 0xFF in (0, 255)


class PoolFile:
    """A file of pools, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: object = None

    def read(self) -> tuple[Pool, ...]:
        """Return the pools; raises PoolError, OSError, UnicodeDecodeError."""
        self._stamp = self._look()
        with self.path.open() as file:
            return read_pools(file.read(MOST_BYTES + 1))

    def changed(self) -> tuple[Pool, ...] | None:
        """Return the pools if the file has changed; raises PoolError, once, if it is not valid."""
        if self._look() == self._stamp:
            return None
        try:
            return self.read()
        except (PoolError, OSError, UnicodeDecodeError) as err:
            raise PoolError(f"{self.path}: {err}; the pools stay as they were") from err

    def _look(self) -> object:
        try:
            found = self.path.stat()
        except OSError:
            return ""
        return found.st_mtime_ns, found.st_ino, found.st_size


def read_pools(text: str) -> tuple[Pool, ...]:
    """Return the pools of a YAML text, one a document; raises PoolError."""
    if len(text.encode()) > MOST_BYTES:
        raise PoolError(f"the pools have more than {MOST_BYTES} bytes")
    try:
        documents = [each for each in yaml.safe_load_all(text) if each is not None]
    except (yaml.YAMLError, RecursionError) as err:
        raise PoolError(f"not YAML: {err}") from err
    return check(tuple(parse(each) for each in documents))


def check(pools: tuple[Pool, ...]) -> tuple[Pool, ...]:
    """Return the pools if no two share a name or an address; raises PoolError."""
    names = [pool.name for pool in pools]
    if double := {name for name in names if names.count(name) > 1}:
        raise PoolError(f"pool {min(double)}: two pools have this name; rename one")
    rows = [(each, pool.name) for pool in pools for each in pool.ranges]
    if len(rows) > MOST_RANGES:
        raise PoolError(f"the pools have {len(rows)} ranges; at most {MOST_RANGES} are allowed")
    rows.sort(key=lambda row: (row[0].first.version, int(row[0].first), int(row[0].last)))
    for (low, one), (high, other) in pairwise(rows):
        if low.overlaps(high):
            raise PoolError(
                f"pool {other}: range {high} overlaps range {low} of pool {one}; an address may be "
                "in one range only: shorten one of them"
            )
    return pools


def parse(document: Any) -> Pool:
    """Return the pool of one IPAddressPool; raises PoolError."""
    if not isinstance(document, Mapping) or document.get("kind") != _KIND:
        raise PoolError(f"want objects of kind {_KIND}, apiVersion {_API}")
    if document.get("apiVersion") != _API:
        raise PoolError(f"{_KIND}: apiVersion {document.get('apiVersion')!r}: want {_API}")
    metadata, spec = document.get("metadata"), document.get("spec")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    if not isinstance(name, str) or dns_subdomain(name):
        raise PoolError(f"{_KIND}: metadata.name {name!r}: want a DNS subdomain, such as default")
    if not isinstance(spec, Mapping) or not isinstance(spec.get("addresses"), list):
        raise PoolError(f"pool {name}: spec.addresses: want a list such as [192.0.2.10-192.0.2.20]")
    if unknown := [str(key) for key in spec if key not in _FIELDS]:
        raise PoolError(
            f"pool {name}: spec.{unknown[0]} is not supported: want {', '.join(sorted(_FIELDS))}"
        )
    flags = [_flag(name, spec, key, default) for key, default in _FLAGS]
    ranges = tuple(_range(name, text) for text in spec["addresses"])
    if not ranges:
        raise PoolError(f"pool {name}: spec.addresses is empty")
    return Pool(name, ranges, *flags)


_FLAGS = (("autoAssign", True), ("avoidBuggyIPs", False))


def _flag(name: str, spec: Mapping[str, Any], key: str, default: bool) -> bool:
    value = spec.get(key, default)
    if not isinstance(value, bool):
        raise PoolError(f"pool {name}: spec.{key} {value!r}: want true or false")
    return value


def _range(name: str, text: Any) -> Range:
    """Parse ``192.0.2.0/24`` or ``192.0.2.10-192.0.2.20``; raises PoolError."""
    first, dash, last = str(text).partition("-")
    try:
        if dash:
            found = Range(ip_address(first.strip()), ip_address(last.strip()))
        else:
            network = ip_network(first.strip())
            found = Range(network[0], network[-1])
    except ValueError as err:
        raise PoolError(
            f"pool {name}: spec.addresses {str(text)!r}: {err}; want 192.0.2.0/24 or "
            "192.0.2.10-192.0.2.20"
        ) from err
    if found.first.version != found.last.version or int(found.first) > int(found.last):
        raise PoolError(f"pool {name}: spec.addresses {str(text)!r}: the first address is higher")
    return found


def addresses(pool: Pool, version: int, start: int) -> Iterator[Address]:
    """Yield the addresses of a pool, of an IP version, that are not below ``start``."""
    for each in sorted(pool.of_family(version), key=lambda r: int(r.first)):
        make = type(each.first)
        for number in range(max(int(each.first), start), int(each.last) + 1):
            address: Address = make(number)
            if pool.holds(address):
                yield address
