"""Reads what is in force from iptables-save: rules of ours, and of kube-proxy, which has the same.

It follows jumps, not names, so that what somebody removed by hand is missing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import NamedTuple

from proxy.backends.installed import (
    Installed,
    InstalledKind,
    Layer,
    Shares,
    Step,
    shares_of,
    walked,
)
from proxy.backends.iptables import names
from proxy.backends.iptables.names import ChainName, Table
from proxy.backends.iptables.tool import Flavor, IptablesTool, has_ours, in_use
from proxy.desired.portals import Frontend, Masquerade, RefusalAction
from proxy.model.values import Address, Family, Network, Protocol, Target

_THREAD = Path("/proc/thread-self")  # whose network may be another one than its process's
_COMMENT = re.compile(r' --comment (?:"((?:[^"\\]|\\.)*)"|(\S+))')
_WORDS = re.compile(
    r"(! )?(-[sdpijg]|--(?:dport|probability|to-destination|src-type|dst-type|seconds)) (\S+)"
)
_KINDS = {
    " cluster IP": InstalledKind.CLUSTER_IP,
    " loadbalancer IP": InstalledKind.LOAD_BALANCER,
    " external IP": InstalledKind.EXTERNAL_IP,
}
_WHY = re.compile(r" has no (local )?endpoints$")
_JUMPS = (
    (ChainName(Table.NAT, "PREROUTING"), names.SERVICES),
    (ChainName(Table.NAT, "OUTPUT"), names.SERVICES),
    (ChainName(Table.NAT, "POSTROUTING"), names.POSTROUTING),
    (names.SERVICES, names.NODE_PORTS),
    *((ChainName(Table.FILTER, chain), names.NO_INTERNAL) for chain in ("FORWARD", "OUTPUT")),
    *((ChainName(Table.FILTER, chain), names.NO_EXTERNAL) for chain in ("INPUT", "FORWARD")),
)


class SavedRule(NamedTuple):
    """A rule's words that say where packets go. ``pods`` is True if it asks who the client is."""

    comment: str
    words: Mapping[str, str]
    pods: bool = False

    @property
    def target(self) -> str:
        """The chain that it jumps to, or what it does."""
        return self.words.get("-j") or self.words.get("-g", "")


class Pool(NamedTuple):
    """Where a chain leads: its endpoints, and what befalls a packet on the way there."""

    shares: Shares = ()
    inside: Shares | None = None
    affinity: int | None = None
    masquerade: Masquerade = Masquerade.NEVER
    sources: tuple[Network, ...] | None = None


def installed(flavor: Flavor) -> Layer | None:
    """Return what chains of this network namespace serve; None if there are none.

    Raises KernelRefusedError.
    """
    found: dict[Frontend, Installed] = {}
    faults: list[str] = []
    tools = [tool for tool in _tools(flavor) if in_use(tool, _THREAD) and has_ours(tool, _THREAD)]
    for tool in tools:
        rules = SavedRules(tool.family, tool.save())
        if rules.has_services:
            found |= {one.frontend: one for one in rules.frontends()}
            faults += rules.faults()
    by = f"iptables-{flavor}"
    return Layer(by, found, tuple(faults)) if found or faults else None


def _tools(flavor: Flavor) -> Iterator[IptablesTool]:
    return (IptablesTool(family, flavor) for family in Family)


class SavedRules:
    """One family's rules, from the text of iptables-save."""

    def __init__(self, family: Family, text: str) -> None:
        self._family = family
        self._chains: dict[ChainName, list[str]] = {}
        table = Table.NAT
        for line in text.splitlines():
            if line.startswith("*") and line[1:] in set(Table):
                table = Table(line[1:])
            elif line.startswith(":"):
                self._chains[ChainName(table, line[1:].split(" ", 1)[0])] = []
            elif line.startswith("-A "):
                chain, _, rule = line[3:].partition(" ")
                self._chains.setdefault(ChainName(table, chain), []).append(rule)
        self._pools: dict[str, Pool] = {}

    @property
    def has_services(self) -> bool:
        """True if there is the chain in which every packet to a Service begins."""
        return names.SERVICES in self._chains

    def faults(self) -> Iterator[str]:
        """Yield what all Services need and is not there."""
        command = "iptables" if self._family is Family.V4 else "ip6tables"
        for origin, target in _JUMPS:
            if all(rule.target != target.name for rule in self._rules(origin)):
                yield f"{command}: {origin.table} {origin.name} does not lead to {target.name}"

    def frontends(self) -> Iterator[Installed]:
        """Yield every frontend that chains serve or refuse."""
        found: dict[Frontend, Installed] = {}
        for frontend, entry in self._captures():
            found.setdefault(frontend, entry)  # the first rule decides
        for frontend, refused in self._refusals():
            served = found.get(frontend)
            found[frontend] = served._replace(refusal=refused.refusal) if served else refused
        return iter(found.values())

    def _captures(self) -> Iterator[tuple[Frontend, Installed]]:
        for rule in self._rules(names.SERVICES):
            if rule.target.startswith("KUBE-MARK") or not (frontend := self._frontend(rule)):
                continue
            name, kind = _named(rule.comment)
            yield frontend, self._entry(frontend, kind, name, rule.target)
        for rule in self._rules(names.NODE_PORTS):
            if frontend := self._frontend(rule, is_node_port=True):
                kind = InstalledKind.NODE_PORT
                yield frontend, self._entry(frontend, kind, rule.comment, rule.target)

    def _refusals(self) -> Iterator[tuple[Frontend, Installed]]:
        for chain in (names.NO_INTERNAL, names.NO_EXTERNAL):
            kind = (
                InstalledKind.EXTERNAL if chain == names.NO_EXTERNAL else InstalledKind.CLUSTER_IP
            )
            for rule in self._rules(chain):
                is_port = rule.words.get("--dst-type") == "LOCAL"
                frontend = self._frontend(rule, is_node_port=is_port)
                if frontend and (named := _WHY.sub("", rule.comment)) != rule.comment:
                    of = InstalledKind.NODE_PORT if is_port else kind
                    action = RefusalAction.DROP if rule.target == "DROP" else RefusalAction.REJECT
                    yield frontend, Installed(frontend, of, named, refusal=action)

    def _entry(self, frontend: Frontend, kind: InstalledKind, name: str, chain: str) -> Installed:
        pool = self._pool(chain)
        sources = pool.sources and tuple(
            one for one in pool.sources if frontend.address not in one or one.num_addresses > 1
        )
        shown = pool.shares, pool.inside, None, pool.affinity, pool.masquerade, sources
        return Installed(frontend, kind, name, *shown)

    def _frontend(self, rule: SavedRule, *, is_node_port: bool = False) -> Frontend | None:
        """Return a rule's destination; None if it has none of a Service."""
        protocol, port = rule.words.get("-p", "").upper(), rule.words.get("--dport", "")
        if protocol not in Protocol.__members__ or not port.isdecimal():
            return None
        where = None if is_node_port else rule.words.get("-d", "")
        if where == "":
            return None
        address = _address(where) if where else None
        return Frontend(self._family, address, int(port), Protocol(protocol))

    def _rules(self, chain: ChainName) -> list[SavedRule]:
        return [_parsed(rule) for rule in self._chains.get(chain, ())]

    def _pool(self, chain: str) -> Pool:
        """Return where a chain of table nat leads."""
        if chain not in self._pools:
            self._pools[chain] = Pool()  # a loop of chains, which the kernel refuses, ends here
            rules = self._rules(ChainName(Table.NAT, chain))
            if chain.startswith("KUBE-FW-"):
                self._pools[chain] = self._filtered(rules)
            elif chain.startswith(("KUBE-EXT-", "KUBE-XLB-")):
                self._pools[chain] = self._external(rules)
            else:
                self._pools[chain] = self._balanced(rules)
        return self._pools[chain]

    def _filtered(self, rules: Iterable[SavedRule]) -> Pool:
        admitted = [rule for rule in rules if rule.target.startswith("KUBE-")]
        sources = tuple(ip_network(rule.words.get("-s", _all(self._family))) for rule in admitted)
        pool = self._pool(admitted[0].target) if admitted else Pool()
        return pool._replace(sources=sources)

    def _external(self, rules: Iterable[SavedRule]) -> Pool:
        """externalTrafficPolicy Local has rules for this node's clients before the last one."""
        outside, masquerade = Pool(), Masquerade.NEVER
        inside: Pool | None = None
        for rule in rules:
            here = rule.words.get("--src-type") == "LOCAL"
            if rule.target == names.MARK_MASQ.name:
                masquerade = Masquerade.THIS_NODE if here else Masquerade.ALWAYS
            elif here or rule.pods:
                inside = self._pool(rule.target)
            elif rule.target:
                outside = self._pool(rule.target)
        affinity = outside.affinity or (inside.affinity if inside else None)
        return Pool(outside.shares, inside.shares if inside else None, affinity, masquerade)

    def _balanced(self, rules: Iterable[SavedRule]) -> Pool:
        steps: list[Step] = []
        affinity, masquerade = None, Masquerade.NEVER
        for rule in rules:
            if rule.target == names.MARK_MASQ.name:
                masquerade = Masquerade.NOT_PODS if rule.pods else Masquerade.ALWAYS
            elif "--seconds" in rule.words:
                affinity = int(rule.words["--seconds"])
            elif rule.target:
                steps.append((float(rule.words.get("--probability", 1)), rule.target))
        return Pool(shares_of(walked(steps, self._end)), None, affinity, masquerade)

    def _end(self, chain: str) -> Target | None:
        """Return the endpoint of a chain that translates to it."""
        for rule in self._rules(ChainName(Table.NAT, chain)):
            if rule.target == "DNAT" and (to := rule.words.get("--to-destination")):
                address, _, port = to.rpartition(":")
                return Target.of(ip_address(address.strip("[]")), int(port))
        return None


def _parsed(rule: str) -> SavedRule:
    """Parse a rule. Its comment is taken out first: that is text of whoever wrote the rule."""
    said = _COMMENT.search(rule)
    comment = (said[1] or said[2] or "") if said else ""
    found = _WORDS.findall(_COMMENT.sub("", f" {rule}"))
    words = {word: value for _, word, value in found}
    return SavedRule(comment, words, "-s" in words or "-i" in words)


def _named(comment: str) -> tuple[str, InstalledKind]:
    for end, kind in _KINDS.items():
        if comment.endswith(end):
            return comment.removesuffix(end), kind
    return comment, InstalledKind.EXTERNAL


@lru_cache(maxsize=1024)
def _address(text: str) -> Address:
    return ip_address(text.partition("/")[0])


def _all(family: Family) -> str:
    return "0.0.0.0/0" if family is Family.V4 else "::/0"
