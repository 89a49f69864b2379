"""Renders a claim as the objects that serve it: pure.

A Service with N endpoints adds an element to ``services``, which sends its packets to the chain
``pick-N``. It adds N elements to the map ``backends-N``, from which that chain takes an endpoint at
random. So every Service with N endpoints shares one chain, and a new Service adds no rule. If
endpoints have weights, N is the sum of their shares, and an endpoint has an element for each share.
Only session affinity needs a chain for each endpoint, because the kernel has to remember each
client's endpoint, all in one set.

NodePorts have sets, maps and chains of their own, prefixed ``port-``, because their key has no
address.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import collapse_addresses
from zlib import crc32

from proxy.backends.nftables.objects import (
    CLIENTS,
    CLUSTER_IPS,
    HAIRPIN,
    Chain,
    Draws,
    Element,
    SetOrMap,
    TableObject,
)
from proxy.desired.claims import FrontendClaim
from proxy.desired.fate import admits_node
from proxy.desired.portals import Frontend, FrontendKind, Masquerade, Portal, RefusalAction
from proxy.model.naming import digest, plain
from proxy.model.settings import ProxySettings
from proxy.model.values import Address, Family, Frozen, Network, NodeView, Protocol, Target, text_of

STICKY = "sticky-"  # prefix of the chains of endpoints with session affinity

_COMMENT_LIMIT = 120  # nft allows 128 bytes
_NAMES = {protocol: protocol.lower() for protocol in Protocol}


class PoolChain(Frozen, frozen=True):
    """A chain that sends a packet to one of some endpoints, with all objects that it needs."""

    chain: str
    objects: tuple[TableObject | Draws, ...]


class NftablesRenderer:
    """Renders for one family with one set of settings."""

    def __init__(self, family: Family, settings: ProxySettings) -> None:
        self.family = family
        self.settings = settings
        self.ip = "ip" if family is Family.V4 else "ip6"
        self.address_key = f"{self.ip} daddr . meta l4proto . th dport"
        self.port_key = "meta l4proto . th dport"
        # The statement that asks for masquerading.
        self.mark = f"meta mark set meta mark | {settings.mark:#x}"
        self._outsiders = self.from_pods(negate=True)

    def objects(
        self, frontend: Frontend, claim: FrontendClaim, node: NodeView
    ) -> Iterator[TableObject | Draws]:
        """Yield every object that the frontend needs; frontends may share some."""
        forward = claim.forward
        key = frontend_key(frontend)
        side = "port-" if frontend.address is None else ""
        if forward.kind is FrontendKind.CLUSTER_IP:
            yield Element(CLUSTER_IPS, text_of(claim.portal.cluster_ip))
        if not forward.targets:
            drop = forward.refusal is RefusalAction.DROP
            label = _comment(claim.portal)
            yield Element(f"{side}refused", key, "drop" if drop else "goto refuse", label)
        if forward.refusal is RefusalAction.REJECT:
            return
        if forward.masquerade is Masquerade.THIS_NODE:
            yield from self._by_origin(side, key, claim)
        elif forward.targets:
            yield from self._for_all(side, key, claim)
        if forward.sources is not None and frontend.address is not None:
            yield from _firewall(key, forward.sources, frontend.address, node)

    def from_pods(self, *, negate: bool = False) -> str:
        """Return the match for packets of Pods; empty if Pods cannot be detected."""
        pods = self.settings.pods.get(self.family)
        if pods is None:
            return ""
        sign = "!= " if negate else ""
        if pods.network is not None:
            return f"{self.ip} saddr {sign}{pods.network}"
        return f'iifname {sign}"{pods.interface.replace("+", "*")}"'

    def _for_all(self, side: str, key: str, claim: FrontendClaim) -> Iterator[TableObject | Draws]:
        """Yield the objects of a frontend with one pool for all clients."""
        is_local = claim.kind is FrontendKind.CLUSTER_IP and claim.portal.internal_local
        pool = self._pool(side, key, claim, claim.forward.targets, "local" if is_local else "")
        entry = self._masquerading(pool, claim.forward.masquerade)
        yield Element(f"{side}services", key, f"goto {entry.chain}", _comment(claim.portal))
        yield from entry.objects

    def _by_origin(
        self, side: str, key: str, claim: FrontendClaim
    ) -> Iterator[TableObject | Draws]:
        """externalTrafficPolicy Local: one pool for clients on this node, one for all others."""
        forward = claim.forward
        yield Element(f"{side}services", key, f"goto {side}by-origin", _comment(claim.portal))
        pool = self._pool(side, key, claim, forward.inside or (), "", "inside-")
        yield Element(f"{side}inside", key, f"goto {pool.chain}")
        yield from pool.objects
        if forward.targets:
            pool = self._pool(side, key, claim, forward.targets, "local")
            yield Element(f"{side}outside", key, f"goto {pool.chain}")
            yield from pool.objects

    def _masquerading(self, pool: PoolChain, rule: Masquerade) -> PoolChain:
        """Return the pool's entry chain, which marks some packets, or all, for masquerading."""
        chain = _marking(pool.chain, rule, self.mark, self._outsiders)
        return pool if chain is None else PoolChain(chain.name, (*pool.objects, chain))

    def _pool(
        self,
        side: str,
        key: str,
        claim: FrontendClaim,
        targets: tuple[Target, ...],
        policy: str,
        use: str = "",
    ) -> PoolChain:
        """Return the pool of some targets.

        ``use`` keeps the two pools of one key apart in the maps.

        A Pod that is sent to itself (hairpin) needs an element. The pool for inside clients also
        serves Pods of other nodes, so any endpoint may be such a Pod. In all other pools only this
        node's Pods may.
        """
        near = claim.portal.neighbors
        if not use and not near:  # of most Services
            hosts: list[str] = []
        else:
            hosts = [end.host for end in targets if use or end.packed in near]
        hairpins = tuple([Element(HAIRPIN, f"{host} . {host}") for host in dict.fromkeys(hosts)])
        if claim.forward.affinity is not None:
            pool = self._sticky(claim, targets, policy or "cluster")
        else:
            pool = self._random(f"{side}{use}", key, targets)
        return PoolChain(pool.chain, (*pool.objects, *hairpins)) if hairpins else pool

    def _random(self, prefix: str, key: str, targets: tuple[Target, ...]) -> PoolChain:
        """Return a pool that draws at random.

        Its map and chain are shared by all Services with the same number of shares.
        """
        matched = self.port_key if prefix.startswith("port-") else self.address_key
        store, chain = _drawing(prefix, matched, self.ip, len(targets))
        return PoolChain(chain.name, (store, chain, Draws(store.name, key, targets)))

    def _sticky(self, claim: FrontendClaim, targets: tuple[Target, ...], policy: str) -> PoolChain:
        """Return a pool that keeps a client's endpoint, or draws one at random and remembers it.

        No Service has a set or a map of its own: for an anonymous one the kernel searches the whole
        transaction, for a named one all names.
        """
        portal, seconds = claim.portal, claim.forward.affinity
        ends = {target: self._end(portal, target, f"{seconds}s") for target in targets}
        had = tuple(
            f"{self._client(portal, target)} @{CLIENTS} goto {ends[target].chain}"
            for target in ends
        )
        label = digest(portal.name + portal.protocol.lower())
        chain = Chain(f"{policy}-{label}", tuple(_draws(targets, ends)), had=had)
        return PoolChain(
            chain.name, (*(part for end in ends.values() for part in end.objects), chain)
        )

    def _end(self, portal: Portal, target: Target, timeout: str) -> PoolChain:
        """Return the chain of one endpoint, which remembers its clients."""
        protocol = portal.protocol.lower()
        rules = (
            f"update @{CLIENTS} {{ {self._client(portal, target)} timeout {timeout} }}",
            f"meta l4proto {protocol} dnat {self.ip} to {target}",
        )
        name = f"{STICKY}{digest(f'{portal.name}{protocol}{target}')}"
        return PoolChain(name, (Chain(name, rules),))

    def _client(self, portal: Portal, target: Target) -> str:
        """Return the key of the remembered clients: the endpoint's number and the client's address.

        nft takes no number in a key, but it takes a random number from a range of one. Two
        endpoints with the same number would share their clients; each client would still keep an
        endpoint.
        """
        number = crc32(f"{portal.name}{portal.protocol.lower()}{target}".encode())
        return f"numgen random mod 1 offset {number} . {self.ip} saddr"


@lru_cache(maxsize=1024)
def _marking(chain: str, rule: Masquerade, mark: str, outsiders: str) -> Chain | None:
    """Return the chain before ``chain`` that marks packets; None if there is nothing to mark.

    Services share both.
    """
    if rule is Masquerade.ALWAYS:
        return Chain(f"all-{chain}", (mark, f"goto {chain}"))
    if rule is Masquerade.NOT_PODS and outsiders:
        return Chain(f"outsiders-{chain}", (f"{outsiders} {mark}", f"goto {chain}"))
    return None


@lru_cache(maxsize=1024)
def _drawing(prefix: str, matched: str, ip: str, count: int) -> tuple[SetOrMap, Chain]:
    """Return the map for ``count`` targets and the chain that draws one; Services share them."""
    name, chain = f"{prefix}backends-{count}", f"{prefix}pick-{count}"
    choice = f"{matched} . numgen random mod {count}"
    return (
        SetOrMap("map", name, f"typeof {choice} : {ip} daddr . th dport;"),
        Chain(chain, (f"dnat {ip} to {choice} map @{name}",)),
    )


def _draws(targets: tuple[Target, ...], ends: Mapping[Target, PoolChain]) -> Iterator[str]:
    """Yield rules that send to each endpoint chain with the probability of its share."""
    left = len(targets)
    for target, share in Counter(targets).items():
        yield f"numgen random mod {left} < {share} goto {ends[target].chain}"
        left -= share


def frontend_key(frontend: Frontend) -> str:
    """Return a frontend's key in elements."""
    port = f"{_NAMES[frontend.protocol]} . {frontend.port}"
    return port if frontend.address is None else f"{text_of(frontend.address)} . {port}"


def _comment(portal: Portal) -> str:
    return plain(portal.name, _COMMENT_LIMIT)


def _firewall(
    key: str, sources: tuple[Network, ...], address: Address, node: NodeView
) -> Iterator[TableObject]:
    """Yield the elements that admit source ranges to a load balancer address.

    A set of ranges takes no ranges that overlap.
    """
    networks = [network for network in sources if network.version == address.version]
    yield Element("filtered", key)
    for network in collapse_addresses(networks):  # type: ignore[type-var]  # of one version
        yield Element("allowed", f"{key} . {network}")
    looped = not any(address in network for network in networks)
    if looped and admits_node(networks, node.addresses):
        yield Element("allowed", f"{key} . {address}")
