"""Reads kube-proxy's own tables of nftables (its mode iptables has podwire's chains).

Source: kubernetes/pkg/proxy/nftables/proxier.go. Maps ``service-ips`` and ``service-nodeports``
lead to a chain for each Service port, that to a chain for each endpoint, by a map without a name.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from ipaddress import ip_address, ip_network

from proxy.backends.installed import Installed, InstalledKind, Layer, Shares, even
from proxy.backends.nftables.installed import Pool, end_of, frontend_of, networks_between
from proxy.backends.upstream import TABLE
from proxy.desired.portals import Frontend, Masquerade, RefusalAction
from proxy.linux import nft_names
from proxy.linux.nft_rules import NftElement, NftReader, NftRule, Verdict, data_of
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family, Network, Target

BY = "kube-proxy nftables"
_MARKING = "mark-for-masquerade"
_MOST_JUMPS = 8
_ENTRIES = (("nat-prerouting", "services"), ("nat-output", "services"))
_LOOKUPS = (("services", "service-ips"), ("services", "service-nodeports"))


def installed() -> Layer | None:
    """Return what kube-proxy's tables of this network namespace serve; None if there are none.

    Raises KernelRefusedError.
    """
    found: dict[Frontend, Installed] = {}
    faults: list[str] = []
    present = [family for family in Family if _is_there(family)]
    for family in present:
        try:
            with NftReader(family) as reader:
                table = _Table(reader, family)
                found |= {one.frontend: one for one in table.frontends()}
                faults += table.faults()
        except OSError as err:
            why = f"kube-proxy's table cannot be read: {err.strerror}"
            raise KernelRefusedError(why) from err
    return Layer(BY, found, tuple(faults)) if present else None


def _is_there(family: Family) -> bool:
    return any(table == TABLE for table, _ in nft_names.chains(family))


class _Table:
    """One family's table."""

    def __init__(self, reader: NftReader, family: Family) -> None:
        self._reader = reader
        self._family = family
        self._pools: dict[str, Pool] = {}

    @cached_property
    def _chains(self) -> Mapping[str, list[NftRule]]:
        found: dict[str, list[NftRule]] = {}
        for rule in self._reader.rules(TABLE):
            found.setdefault(rule.chain, []).append(rule)
        return found

    @cached_property
    def _timeouts(self) -> Mapping[str, int]:
        return self._reader.timeouts(TABLE)

    @cached_property
    def _stores(self) -> frozenset[str]:
        named = nft_names.named_sets(self._family)
        return frozenset(one.name for one in named if one.table == TABLE)

    def faults(self) -> Iterator[str]:
        """Yield what all Services need and is not there."""
        for chain, target in _ENTRIES:
            rules = self._chains.get(chain, ())
            if not any(rule.verdict and rule.verdict.chain == target for rule in rules):
                yield f"{TABLE}: chain {chain} does not lead to {target}"
        for chain, store in _LOOKUPS:
            if not any(store in rule.stores for rule in self._chains.get(chain, ())):
                yield f"{TABLE}: chain {chain} does not look into {store}"

    def frontends(self) -> Iterator[Installed]:
        """Yield every frontend that the maps have."""
        cluster_ips = {element.key for element in self._elements("cluster-ips")}
        sources = {
            element.key: self._sources(element) for element in self._elements("firewall-ips")
        }
        for served, refused in (
            ("service-ips", "no-endpoint-services"),
            ("service-nodeports", "no-endpoint-nodeports"),
        ):
            having = {element.key: element for element in self._elements(served)}
            lacking = {element.key: element for element in self._elements(refused)}
            for key in {**having, **lacking}:
                frontend = frontend_of(self._family, key)
                is_cluster_ip = key[:-8] in cluster_ips
                pool = self._pool(_chain(having.get(key)))
                yield Installed(
                    frontend,
                    _kind(frontend, is_cluster_ip),
                    _name(having.get(key) or lacking[key]),
                    pool.shares,
                    pool.inside,
                    _refusal(lacking.get(key)),
                    pool.affinity,
                    pool.masquerade if key in having else None,
                    sources.get(key),
                )

    def _elements(self, store: str) -> list[NftElement]:
        """Return the elements of a set that older versions may not have."""
        return list(self._reader.elements(TABLE, store)) if store in self._stores else []

    def _pool(self, chain: str, jumps: int = _MOST_JUMPS) -> Pool:
        if chain not in self._pools:
            self._pools[chain] = self._followed(self._chains.get(chain, []), jumps)
        return self._pools[chain]

    def _followed(self, rules: list[NftRule], jumps: int) -> Pool:
        """Return where a chain's rules lead, each to another chain."""
        pool, masquerade = Pool(), Masquerade.NEVER
        inside: Pool | None = None
        affinity: int | None = None
        for rule in rules if jumps else ():
            condition = rule.has("cmp") or rule.has("fib")
            target = rule.verdict.chain if rule.verdict else ""
            if target == _MARKING:
                masquerade = _marked(rule)
            elif rule.modulus:
                pool = Pool(self._drawn(rule))
            elif rule.stores:
                affinity = affinity or self._timeouts.get(rule.stores[0])
            elif target and condition:
                inside = self._pool(target, jumps - 1)
            elif target:
                pool = self._pool(target, jumps - 1)
        affinity = affinity or pool.affinity or (inside.affinity if inside else None)
        return Pool(pool.shares, inside.shares if inside else None, affinity, masquerade)

    def _drawn(self, rule: NftRule) -> Shares:
        elements = list(self._reader.elements(TABLE, rule.stores[0])) if rule.stores else []
        ends: list[Target | None] = [end_of(self._chains.get(_chain(one), ())) for one in elements]
        return even([*ends, *[None] * (rule.modulus - len(ends))])

    def _sources(self, element: NftElement) -> tuple[Network, ...]:
        """Return the ranges of a chain that drops all other sources."""
        found: list[Network] = []
        for rule in self._chains.get(_chain(element), ()):
            for store in rule.stores:
                found += _ranges(self._reader.elements(TABLE, store))
            found += _range(rule)
        return tuple(found)


def _marked(rule: NftRule) -> Masquerade:
    if rule.has("fib"):
        return Masquerade.THIS_NODE
    sources = [one for one in rule.of("cmp") if one.number(2) == 1]  # NFT_CMP_NEQ
    return Masquerade.NOT_PODS if sources else Masquerade.ALWAYS


def _chain(element: NftElement | None) -> str:
    return element.value.chain if element and isinstance(element.value, Verdict) else ""


def _kind(frontend: Frontend, is_cluster_ip: bool) -> InstalledKind:
    if frontend.address is None:
        return InstalledKind.NODE_PORT
    return InstalledKind.CLUSTER_IP if is_cluster_ip else InstalledKind.EXTERNAL


def _name(element: NftElement) -> str:
    """Return ``namespace/service:port``, of a comment or of ``service-HASH-ns/name/proto/port``."""
    words = _chain(element).split("-", 2)[-1].split("/")
    if element.comment or len(words) != 4:
        return element.comment
    namespace, name, _, port = words
    return f"{namespace}/{name}:{port}" if port else f"{namespace}/{name}"


def _refusal(element: NftElement | None) -> RefusalAction | None:
    if element is None or not isinstance(element.value, Verdict):
        return None
    return RefusalAction.DROP if element.value.word == "drop" else RefusalAction.REJECT


def _ranges(elements: Iterator[NftElement]) -> Iterator[Network]:
    """Yield the networks of a set of ranges, of which each ends with an element of its own."""
    begun: bytes | None = None
    for element in sorted(elements, key=lambda one: (one.key, not one.ends)):
        if not element.ends:
            begun = element.key
        elif begun is not None:
            last = int.from_bytes(element.key, "big") - 1
            end = ip_address(last.to_bytes(len(element.key), "big"))
            yield from networks_between(ip_address(begun), end)
            begun = None


def _range(rule: NftRule) -> Iterator[Network]:
    """Yield the network of a rule that drops what is not in it: a mask, and a comparison."""
    masks = [data_of(one.data.get(4, b"")) for one in rule.of("bitwise")]  # NFTA_BITWISE_MASK
    for compared, mask in zip(rule.of("cmp"), masks, strict=False):
        value = data_of(compared.data.get(3, b""))
        if isinstance(value, bytes) and isinstance(mask, bytes):
            bits = int.from_bytes(mask, "big").bit_count()
            yield ip_network(f"{ip_address(value)}/{bits}", strict=False)
