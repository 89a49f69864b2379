"""Reads from the kernel's table what is in force: the way back from ``fixed`` and ``render``.

It follows the rules of chains, not their names, so that what somebody removed by hand is missing.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from ipaddress import ip_address, summarize_address_range
from typing import NamedTuple

from proxy.backends.installed import (
    Draw,
    Installed,
    InstalledKind,
    Layer,
    Shares,
    even,
    shares_of,
    walked,
)
from proxy.backends.nftables.objects import CLUSTER_IPS, TABLE
from proxy.backends.nftables.observe import observe
from proxy.backends.nftables.transaction import table_name
from proxy.desired.portals import Frontend, Masquerade, RefusalAction
from proxy.linux.nft_rules import NftElement, NftReader, NftRule, Verdict, data_of
from proxy.model.errors import KernelRefusedError
from proxy.model.values import PROTOCOL_NUMBERS, Address, Family, Network, Protocol, Target

BY = "nftables"
_PROTOCOLS: Mapping[int, Protocol] = {code: one for one, code in PROTOCOL_NUMBERS.items()}
_ENTRIES = {  # hooked chain, and where it must lead
    **dict.fromkeys(("nat-prerouting", "nat-output"), "services"),
    **dict.fromkeys(("filter-input", "filter-forward", "filter-output"), "refusals"),
    **dict.fromkeys(("firewall-prerouting", "firewall-output"), "firewall"),
}
_LOOKUPS = (("services", "services"), ("services", "port-services"), ("refusals", "refused"))
_MOST_JUMPS = 8  # from a Service's element to its endpoints; ours are 4

Key = bytes


class Pool(NamedTuple):
    """Where a chain leads: its endpoints, and what befalls a packet on the way there."""

    shares: Shares = ()
    inside: Shares | None = None
    affinity: int | None = None
    masquerade: Masquerade = Masquerade.NEVER


def installed() -> Layer | None:
    """Return what our tables of this network namespace serve; None if there are none.

    Raises KernelRefusedError.
    """
    found: dict[Frontend, Installed] = {}
    faults: list[str] = []
    present = [family for family in Family if observe(family).chains]
    for family in present:
        try:
            with NftReader(family) as reader:
                table = TableReader(reader, family)
                found |= {one.frontend: one for one in table.frontends()}
                faults += table.faults()
        except OSError as err:
            raise KernelRefusedError(
                f"{table_name(family)} cannot be read: {err.strerror}"
            ) from err
    return Layer(BY, found, tuple(faults)) if present else None


class TableReader:
    """One family's table."""

    def __init__(self, reader: NftReader, family: Family) -> None:
        self._reader = reader
        self._family = family
        self._stores: dict[str, dict[Key, NftElement]] = {}

    @cached_property
    def _chains(self) -> Mapping[str, list[NftRule]]:
        found: dict[str, list[NftRule]] = {}
        for rule in self._reader.rules(TABLE):
            found.setdefault(rule.chain, []).append(rule)
        return found

    def frontends(self) -> Iterator[Installed]:
        """Yield every frontend that the maps have."""
        cluster_ips = {key for key in self._store(CLUSTER_IPS)}
        sources = self._sources()
        for side in ("", "port-"):
            served, refused = self._store(f"{side}services"), self._store(f"{side}refused")
            for key in {**served, **refused}:
                frontend = frontend_of(self._family, key)
                pool = self._pool(served[key], key) if key in served else Pool()
                named = served.get(key) or refused[key]
                yield Installed(
                    frontend,
                    _kind(frontend, cluster_ips),
                    named.comment,
                    pool.shares,
                    pool.inside,
                    _refusal(refused.get(key)),
                    pool.affinity,
                    pool.masquerade if key in served else None,
                    sources.get(key),
                )

    def faults(self) -> Iterator[str]:
        """Yield what all Services need and is not there."""
        name = table_name(self._family)
        for chain, target in _ENTRIES.items():
            rules = self._chains.get(chain, ())
            if not any(rule.verdict and rule.verdict.chain == target for rule in rules):
                yield f"{name}: chain {chain} does not lead to {target}"
        for chain, store in _LOOKUPS:
            if not any(store in rule.stores for rule in self._chains.get(chain, ())):
                yield f"{name}: chain {chain} does not look into {store}"
        if not any(rule.has("masq") for rule in self._chains.get("nat-postrouting", ())):
            yield f"{name}: chain nat-postrouting does not masquerade"

    def _store(self, name: str) -> dict[Key, NftElement]:
        if name not in self._stores:
            found = self._reader.elements(TABLE, name)
            self._stores[name] = {element.key: element for element in found}
        return self._stores[name]

    def _pool(self, element: NftElement, key: Key) -> Pool:
        value = element.value
        return self._follow(value.chain, key) if isinstance(value, Verdict) else Pool()

    def _follow(self, chain: str, key: Key, jumps: int = _MOST_JUMPS) -> Pool:
        """Return where a chain leads the packets of a frontend."""
        rules = self._chains.get(chain, []) if jumps else []
        if any(rule.has("fib") for rule in rules):
            return self._by_origin(rules, key, jumps)
        masquerade = _masquerade(rules)
        drawn = next((rule for rule in rules if rule.is_dnat and rule.stores), None)
        if drawn:
            return Pool(self._drawn(drawn, key), None, None, masquerade)
        if sticky := self._sticky(rules):
            return sticky._replace(masquerade=masquerade)
        onward = next((one.verdict.chain for one in rules if one.verdict and one.verdict.chain), "")
        pool = self._follow(onward, key, jumps - 1) if onward else Pool()
        return pool if masquerade is Masquerade.NEVER else pool._replace(masquerade=masquerade)

    def _by_origin(self, rules: list[NftRule], key: Key, jumps: int) -> Pool:
        """externalTrafficPolicy Local: clients on this node have a map of their own."""
        pools = {}
        for store in {name for rule in rules for name in rule.stores}:
            element = self._store(store).get(key)
            value = element.value if element else b""
            if isinstance(value, Verdict):
                pools[store.removeprefix("port-")] = self._follow(value.chain, key, jumps - 1)
        outside, inside = pools.get("outside", Pool()), pools.get("inside", Pool())
        marks = any(rule.sets_mark for rule in rules)
        return Pool(
            outside.shares,
            inside.shares,
            outside.affinity or inside.affinity,
            Masquerade.THIS_NODE if marks else Masquerade.NEVER,
        )

    def _drawn(self, rule: NftRule, key: Key) -> Shares:
        """Return the endpoints that a map has at the places that a rule draws from."""
        store = self._store(rule.stores[0])
        keys = (key + place.to_bytes(4, "little") for place in range(rule.modulus))
        return even(_target(store[one].value) if one in store else None for one in keys)

    def _sticky(self, rules: Iterable[NftRule]) -> Pool | None:
        """Return the pool of a chain that sends to a chain for each endpoint."""
        steps = [
            (_odds(rule), rule.verdict.chain)
            for rule in rules
            if rule.verdict and rule.has("numgen") and not rule.stores
        ]
        draws: list[Draw] = list(walked(steps, self._end))
        if not draws:
            return None
        return Pool(shares_of(draws), None, self._affinity(steps[0][1]))

    def _end(self, chain: str) -> Target | None:
        return end_of(self._chains.get(chain, ()))

    def _affinity(self, chain: str) -> int | None:
        """Return the seconds for which an endpoint's chain remembers clients."""
        for rule in self._chains.get(chain, ()):
            for update in rule.of("dynset"):
                return update.number(6) // 1000 or None  # NFTA_DYNSET_TIMEOUT, ms
        return None

    def _sources(self) -> dict[Key, tuple[Network, ...]]:
        """Return the source ranges of filtered frontends, without what loops back to them."""
        size = 4 if self._family is Family.V4 else 16
        found: dict[Key, list[Network]] = {key: [] for key in self._store("filtered")}
        for element in self._reader.elements(TABLE, "allowed"):
            key = element.key[:-size]
            first, last = element.key[-size:], element.end[-size:] or element.key[-size:]
            if key in found and not first == last == key[:size]:
                found[key] += networks_between(ip_address(first), ip_address(last))
        return {key: tuple(networks) for key, networks in found.items()}


def frontend_of(family: Family, key: Key) -> Frontend:
    """Unpack a key: an address (unless it is a NodePort's), a protocol, a port, each padded to 4
    bytes.
    """
    where = ip_address(key[:-8]) if len(key) > 8 else None
    number = int.from_bytes(key[-4:-2], "big")
    return Frontend(family, where, number, _PROTOCOLS[key[-8]])


def _kind(frontend: Frontend, cluster_ips: set[Key]) -> InstalledKind:
    if frontend.address is None:
        return InstalledKind.NODE_PORT
    is_cluster_ip = frontend.address.packed in cluster_ips
    return InstalledKind.CLUSTER_IP if is_cluster_ip else InstalledKind.EXTERNAL


def _refusal(element: NftElement | None) -> RefusalAction | None:
    if element is None or not isinstance(element.value, Verdict):
        return None
    return RefusalAction.DROP if element.value.word == "drop" else RefusalAction.REJECT


def end_of(rules: Iterable[NftRule]) -> Target | None:
    """Return the endpoint of a chain's rules, which translate to it."""
    for rule in rules:
        if rule.is_dnat and len(rule.loaded) == 2:
            address, port = rule.loaded
            return Target.of(ip_address(address), int.from_bytes(port[:2], "big"))
    return None


def _target(value: bytes | Verdict) -> Target | None:
    if isinstance(value, Verdict) or len(value) < 8:
        return None
    return Target.of(ip_address(value[:-4]), int.from_bytes(value[-4:-2], "big"))


def _masquerade(rules: Iterable[NftRule]) -> Masquerade:
    """Return who is marked for masquerading: all, or whom a condition tells."""
    for rule in rules:
        if rule.sets_mark:
            return Masquerade.NOT_PODS if rule.has("cmp") else Masquerade.ALWAYS
    return Masquerade.NEVER


def _odds(rule: NftRule) -> float:
    """Return the probability of a rule that draws a number and compares it."""
    for compared in rule.of("cmp"):
        below = data_of(compared.data.get(3, b""))  # NFTA_CMP_DATA, in network byte order
        if isinstance(below, bytes) and rule.modulus:
            return int.from_bytes(below, "big") / rule.modulus
    return 1.0


def networks_between(first: Address, last: Address) -> Iterator[Network]:
    """Yield the networks that make up a range of addresses of one family."""
    yield from summarize_address_range(first, last)
