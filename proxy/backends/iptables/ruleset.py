"""The desired rules, kept up to date Service by Service, and the changes that lead there: pure."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from proxy.backends.iptables import names
from proxy.backends.iptables.fixed import Jump, fixed_chains, jumps, node_port_jumps, unserved
from proxy.backends.iptables.names import ChainName, Table
from proxy.backends.iptables.render import RenderedRules, Rules, SharedLine, render
from proxy.desired.desired import Desired, Portals
from proxy.model.settings import ProxySettings
from proxy.model.values import Address, Family, Key, NodeView

Value = TypeVar("Value")


class ChainChanges(Struct, frozen=True):
    """One transaction: chains to write and to remove, jumps to insert, rules to delete."""

    put: Mapping[ChainName, Rules] = {}
    drop: frozenset[ChainName] = frozenset()
    jumps: tuple[Jump, ...] = ()
    gone: tuple[tuple[ChainName, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.put or self.drop or self.jumps or self.gone)

    def count(self, table: Table) -> int:
        """Return how many rules it writes into a table."""
        return sum(len(rules) for chain, rules in self.put.items() if chain.table is table)

    def text(self) -> bytes:
        """Return the input for ``iptables-restore --noflush``.

        Table nat comes first, so that a Service with its first endpoint is forwarded before it is
        no longer rejected.
        """
        return "".join(f"{line}\n" for table in Table for line in self._lines(table)).encode()

    def _lines(self, table: Table) -> Iterator[str]:
        put = {chain: rules for chain, rules in self.put.items() if chain.table is table}
        drop = sorted(chain for chain in self.drop if chain.table is table)
        inserts = [jump for jump in self.jumps if jump.origin.table is table]
        gone = [(chain, rule) for chain, rule in self.gone if chain.table is table]
        if not (put or drop or inserts or gone):
            return
        yield f"*{table}"
        # A chain line makes the chain or empties it. Only an empty chain can be removed.
        yield from (f":{chain.name} - [0:0]" for chain in (*put, *drop))
        for chain, rules in put.items():
            yield from (f"-A {chain.name} {rule}" for rule in rules)
        yield from (f"-I {jump.origin.name} {jump.rule}" for jump in inserts)
        yield from (f"-D {chain.name} {rule}" for chain, rule in gone)
        yield from (f"-X {chain.name}" for chain in drop)
        yield "COMMIT"


class IptablesRuleset:
    """The rules of one family. A change renders only the changed Services."""

    def __init__(self, family: Family, settings: ProxySettings) -> None:
        self.family = family
        self.jumps = jumps(family, settings)
        self.fixed = fixed_chains(family, settings)
        self._settings = settings
        self.have = Desired()  # the state that the rules are of
        self._rendered: dict[Key, RenderedRules] = {}
        self.node = NodeView("")
        self._lines: Counter[Table] = Counter()  # that Services have
        self.bare: set[Key] = set()  # whose own chains are not known to be in the kernel

    def update(
        self,
        want: Desired,
        node: NodeView,
        done: Mapping[Key, RenderedRules] | None = None,
        again: Collection[Key] = (),
    ) -> ChainChanges:
        """Move to ``want``; return the changes for a kernel that holds the state before.

        ``done`` are the rules of Services that have been rendered already, ``again`` those to
        render although they are the same.
        """
        done = done or {}
        if self.node.addresses != node.addresses:
            # Source ranges are rendered with the node's addresses: render every Service again.
            self.have, done = Desired(dict.fromkeys(self.have, ())), {}
        touched: set[ChainName] = set()
        if self.node.service_ranges != node.service_ranges:
            touched.add(names.NO_EXTERNAL)
        self.node = node
        put: dict[ChainName, Rules] = {}
        drop: set[ChainName] = set()
        for key in {*want.changed_since(self.have), *again}:
            before, after = self._replace(key, want.portals_of(key), done.get(key))
            self._count(before, -1)
            self._count(after)
            put |= {chain: after.own[chain] for chain in _written(before.own, after.own)}
            drop |= before.own.keys() - after.own.keys()
            touched |= _written(before.shared, after.shared)
            touched |= before.shared.keys() - after.shared.keys()
            if before.cluster_ips != after.cluster_ips:
                touched |= {names.CLUSTER_IPS, names.NO_EXTERNAL}
        self.have = want
        put |= {chain: self.shared(chain) for chain in sorted(touched)}
        return ChainChanges(put, frozenset(drop - put.keys()))

    def own_chains(self, keys: Iterable[Key]) -> dict[ChainName, Rules]:
        """Return the own chains of some Services."""
        return {chain: rules for key in keys for chain, rules in self._rendered[key].own.items()}

    def keys(self) -> list[Key]:
        """Return the Services that have rules, sorted by name."""
        return sorted(self._rendered)

    def shared(self, chain: ChainName, without: Collection[Key] = ()) -> Rules:
        """Return a shared chain: lines of all Services, the lowest kind of frontend first."""
        if chain == names.CLUSTER_IPS:
            return tuple(f"-d {address} -j {names.REFUSE.name}" for address in self._cluster_ips())
        lines = sorted(
            (line.kind, key, line.rule)
            for key, rendered in self._rendered.items()
            if key not in without
            for line in rendered.shared.get(chain, ())
        )
        rules = tuple(rule for _, _, rule in lines)
        if chain == names.SERVICES:
            return (*rules, *node_port_jumps(self.family, self._settings))
        if chain == names.NO_EXTERNAL:
            return (*rules, *unserved(self.family, self._cluster_ips(), self.node.service_ranges))
        return rules

    def _cluster_ips(self) -> list[Address]:
        found = {ip for rendered in self._rendered.values() for ip in rendered.cluster_ips}
        return sorted(found, key=int)

    def common(self, without: Collection[Key] = ()) -> dict[ChainName, Rules]:
        """Return the fixed chains and the shared ones, without the lines of some Services."""
        return {**self.fixed, **{chain: self.shared(chain, without) for chain in names.SHARED}}

    def lines_of(self, key: Key) -> list[tuple[ChainName, str]]:
        """Return a Service's lines in shared chains."""
        shared = self._rendered[key].shared
        return [(chain, line.rule) for chain, lines in shared.items() for line in lines]

    def rules_of(self, key: Key) -> list[str]:
        """Return every rule of a Service."""
        own = (rule for rules in self._rendered[key].own.values() for rule in rules)
        return [*own, *(rule for _, rule in self.lines_of(key))]

    def owner(self, line: str) -> Key | None:
        """Return the Service for which a line of a transaction was written; None if it is not one's
        alone.
        """
        _, _, rest = line.partition("-A ")
        name, _, rule = rest.partition(" ")
        for key, rendered in self._rendered.items():
            shared = (shared.rule for lines in rendered.shared.values() for shared in lines)
            if any(name == chain.name for chain in rendered.own) or rule in shared:
                return key
        return None

    def leave_out(self, key: Key) -> None:
        """Have no rules for a Service until it changes, because the kernel refuses them."""
        self._count(self._rendered.pop(key), -1)

    def _count(self, rendered: RenderedRules, sign: int = 1) -> None:
        for chain, lines in (*rendered.own.items(), *rendered.shared.items()):
            self._lines[chain.table] += sign * len(lines)
        self._lines[names.CLUSTER_IPS.table] += sign * len(rendered.cluster_ips)

    def counts(self) -> Mapping[Table, int]:
        """Return how many rules each table has."""
        found = Counter(self._lines)
        for chain, rules in self.fixed.items():
            found[chain.table] += len(rules)
        found[names.SERVICES.table] += len(node_port_jumps(self.family, self._settings))
        some = next(
            (list(one.cluster_ips) for one in self._rendered.values() if one.cluster_ips), []
        )
        found[names.NO_EXTERNAL.table] += len(unserved(self.family, some, self.node.service_ranges))
        return {table: found[table] for table in Table}

    def strip(self, key: Key) -> None:
        """Forget a Service's own chains: the kernel has some, and nobody knows what is in them."""
        rendered = self._rendered[key]
        self._count(rendered, -1)
        self._rendered[key] = replace(rendered, own={})
        self._count(self._rendered[key])
        self.bare.add(key)

    def complete(self) -> None:
        """Render the own chains again that were forgotten."""
        for key in sorted(self.bare):
            before, after = self._replace(key, self.have.portals_of(key), None)
            self._count(before, -1)
            self._count(after)

    def _replace(
        self, key: Key, portals: Portals, done: RenderedRules | None
    ) -> tuple[RenderedRules, RenderedRules]:
        before = self._rendered.pop(key, RenderedRules({}, {}))
        self.bare.discard(key)
        after = done or self.rendered(portals)
        if after.shared:
            self._rendered[key] = after
        return before, after

    def rendered(self, portals: Portals) -> RenderedRules:
        """Return the rules of a Service with these portals."""
        ours = (portal for portal in portals if portal.family is self.family)
        return joined(tuple(render(portal, self._settings, self.node) for portal in ours))

    def own_of(self, key: Key) -> Mapping[ChainName, Rules]:
        """Return the own chains of one Service; none if it has no rules."""
        found = self._rendered.get(key)
        return found.own if found else {}


def _written(before: Mapping[ChainName, Value], after: Mapping[ChainName, Value]) -> set[ChainName]:
    return {chain for chain, value in after.items() if before.get(chain) != value}


def joined(parts: Sequence[RenderedRules]) -> RenderedRules:
    """Join the portals of one Service, several of which write into the same shared chains."""
    shared: dict[ChainName, tuple[SharedLine, ...]] = {}
    own: dict[ChainName, Rules] = {}
    for part in parts:
        own |= part.own
        for chain, lines in part.shared.items():
            shared[chain] = (*shared.get(chain, ()), *lines)
    return RenderedRules(own, shared, frozenset().union(*(part.cluster_ips for part in parts)))
