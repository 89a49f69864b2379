"""Masquerade, port mappings and ingress policy as iptables rules, written and parsed; pure.

Fixed chains have a rule for each attachment, or for each of its ports. Every rule names its owner
in a comment, so that DEL and GC find it without the configuration. A mapped port has a chain with
the port's name. Chain names are unique, so creating the chain claims the port.

    nat     PREROUTING, OUTPUT ─► PODWIRE-PORTS ─► PODWIRE-tcp-8080 ─► mark, DNAT
            POSTROUTING ────────► PODWIRE-OUT: MASQUERADE marked packets, and those to outside
    filter  FORWARD ─► PODWIRE-WALLS ─► PODWIRE-BRIDGES: DROP
            FORWARD ─► PODWIRE-INSIDE: DROP what nobody can masquerade, an invalid packet
            INPUT ───► PODWIRE-IN: only the host may use loopback addresses

Source: iptables(8), iptables-extensions(8), iptables-restore(8).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain as joined

from cni_plugin.plan.rules import (
    EVERYTHING,
    LOOPBACK_NET,
    MULTICAST,
    Hairpin,
    IngressRule,
    MappedPort,
    MasqueradeMark,
    WantedRules,
)
from cni_plugin.spec.result import Cidr

NAT, FILTER = "nat", "filter"
PREFIX = "PODWIRE-"
_PORTS, _OUT, _IN = f"{PREFIX}PORTS", f"{PREFIX}OUT", f"{PREFIX}IN"
_WALLS, _BRIDGES = f"{PREFIX}WALLS", f"{PREFIX}BRIDGES"
_INSIDE = f"{PREFIX}INSIDE"
# a table that has a rule of ours has one of these chains
ANCHORS = ((NAT, _OUT), (FILTER, _WALLS))
_FIXED = frozenset({*ANCHORS, (NAT, _PORTS), (FILTER, _IN), (FILTER, _BRIDGES), (FILTER, _INSIDE)})
_TABLES = (NAT, FILTER)
_OURS = "podwire-"  # the comments of the fixed rules begin with it
_COMMENT = re.compile(
    r'--comment "?(podwire-[a-z0-9-]+|p[wc][a-z2-7]{13}(?:-[a-z2-7]{6})?)"?(?= |$)'
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of ours. ``tag`` is its comment: the owner's name, unless the rule is fixed."""

    table: str
    chain: str
    text: str
    tag: str
    first: bool = False

    def command(self, verb: str) -> str:
        """The line that adds (-A), checks (-C) or deletes (-D) the rule."""
        if verb == "-A" and self.first:
            verb = "-I"
        matches, _, target = self.text.rpartition("-j ")
        return f"{verb} {self.chain} {matches}-m comment --comment {self.tag} -j {target}"


@dataclass(frozen=True, slots=True)
class WantedChains:
    """The chains and rules that one attachment needs in the tables of one IP version."""

    claims: tuple[str, ...]  # chains of the table nat
    fixed: tuple[Rule, ...]
    rules: tuple[Rule, ...]

    def __bool__(self) -> bool:
        return bool(self.rules)


@dataclass(frozen=True, slots=True)
class SavedRules:
    """Our chains and rules in the tables of one IP version, as iptables-save prints them.

    A rule's text is the whole line without ``-A CHAIN``. Its tag is empty if another program wrote
    the rule into a chain of ours.
    """

    chains: frozenset[tuple[str, str]]
    rules: tuple[Rule, ...]

    def claims(self, version: int) -> dict[str, str]:
        """The owner of each claim; an empty string if the chain was flushed."""
        holders = self.holders(lambda _: False)
        return {
            f"{version}-{name.removeprefix(PREFIX)}": holders.get(name, "")
            for table, name in self.chains
            if (table, name) not in _FIXED
        }

    def holders(self, is_gone: Callable[[str], bool]) -> dict[str, str]:
        """The owner of each chain, gone owners apart: of its first rule, or of a jump to it."""
        rules = [rule for rule in self.rules if is_owner(rule.tag) and not is_gone(rule.tag)]
        leading = {_target(rule): rule.tag for rule in reversed(rules)}
        return leading | {rule.chain: rule.tag for rule in reversed(rules)}


def wanted_chains(wanted: WantedRules, version: int) -> WantedChains:
    """The chains and rules that an attachment needs in the tables of one IP version."""
    ports = [port for port in wanted.ports if port.version == version]
    spares = [port for port in wanted.spares if port.version == version]
    outside = [address for address in wanted.masquerade if address.version == version]
    ingress = [rule for rule in wanted.ingress if rule.address.version == version]
    hairpins = [item for item in wanted.hairpins if item.target.version == version]
    return WantedChains(
        claims=tuple(_chain_of(port.claim) for port in ports),
        fixed=(
            *(_port_fixtures(version, hairpins, wanted.marking) if ports or spares else ()),
            *(_outside_fixtures(version) if outside else ()),
            *(_ingress_fixtures() if ingress else ()),
        ),
        rules=(
            *joined.from_iterable(
                # a spare's rules follow those of the port's holder, in the same chain
                _mapping(port, hairpins, wanted.marking, wanted.owner)
                for port in (*ports, *spares)
            ),
            *joined.from_iterable(_masquerade(address, wanted.owner) for address in outside),
            *joined.from_iterable(_ingress_rules(rule, wanted.owner) for rule in ingress),
        ),
    )


def add_transaction(wanted: WantedChains, *, checks: bool = True) -> str:
    """The transaction that adds rules. It fails if a port is claimed.

    With ``checks`` it also fails if a fixed rule is missing.
    """
    return _transaction(
        {
            table: [
                *(rule.command("-C") for rule in wanted.fixed if checks and rule.table == table),
                *(f"-N {name}" for name in wanted.claims if table == NAT),
                *(rule.command("-A") for rule in wanted.rules if rule.table == table),
            ]
            for table in _TABLES
        }
    )


def repair_transaction(wanted: WantedChains, saved: SavedRules) -> str:
    """The transaction that adds missing fixed chains and rules; empty if none is missing."""
    there = {(rule.table, rule.chain, rule.tag) for rule in saved.rules}
    needed = {place for rule in (*wanted.fixed, *wanted.rules) for place in _fixed_chains(rule)}
    return _transaction(
        {
            table: [
                *(f"-N {name}" for where, name in sorted(needed - saved.chains) if where == table),
                *(
                    rule.command("-A")
                    for rule in wanted.fixed
                    if rule.table == table and (table, rule.chain, rule.tag) not in there
                ),
            ]
            for table in _TABLES
        }
    )


def check_transaction(wanted: WantedChains, *, hooks: bool = True) -> str:
    """The transaction that changes nothing, and fails unless all rules are there.

    Without ``hooks`` it leaves out the rules in the base chains.
    """
    rules = [rule for rule in (*wanted.fixed, *wanted.rules) if hooks or _is_ours(rule)]
    return _transaction(
        {table: [rule.command("-C") for rule in rules if rule.table == table] for table in _TABLES}
    )


def removal_transaction(saved: SavedRules, is_gone: Callable[[str], bool]) -> str:
    """The transaction that removes the rules of gone owners, and claims that nobody has.

    It is empty if there are none. The fixed chains are removed with the last rule.
    """
    if not any(is_owner(rule.tag) and not is_gone(rule.tag) for rule in saved.rules):
        return _transaction({table: [*_removing_all(saved, table)] for table in _TABLES})
    return _transaction({table: [*_removing_some(saved, table, is_gone)] for table in _TABLES})


def hook_rules(version: int) -> Iterator[Rule]:
    """All rules that we may have in the base chains."""
    fixed = (
        *_port_fixtures(version, (), MasqueradeMark()),
        *_outside_fixtures(version),
        *_ingress_fixtures(),
    )
    return (rule for rule in dict.fromkeys(fixed) if not _is_ours(rule))


def lacks_hooks(wanted: WantedChains, saved: SavedRules) -> bool:
    """Return true if a wanted rule of a base chain is not among the saved ones."""
    there = {(rule.table, rule.chain, rule.tag) for rule in saved.rules}
    needed = (rule for rule in wanted.fixed if not _is_ours(rule))
    return any((rule.table, rule.chain, rule.tag) not in there for rule in needed)


def without_hooks(saved: SavedRules) -> SavedRules:
    """The chains and rules without those of the base chains."""
    return SavedRules(saved.chains, tuple(filter(_is_ours, saved.rules)))


def _is_ours(rule: Rule) -> bool:
    """Return true if a rule is in a chain of ours."""
    return rule.chain.startswith(PREFIX)


def parse(text: str) -> SavedRules:
    """Our chains and rules in the output of iptables-save."""
    table, chains, rules = "", set(), []
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(f":{PREFIX}"):
            chains.add((table, line[1:].partition(" ")[0]))
        elif line.startswith("-A "):
            _, chain, rest = line.split(" ", 2)
            tag = _COMMENT.search(rest)
            if tag or chain.startswith(PREFIX):
                rules.append(Rule(table, chain, rest, tag[1] if tag else ""))
    return SavedRules(frozenset(chains), tuple(rules))


def is_owner(tag: str) -> bool:
    """Return true if a rule's comment is an owner's name."""
    return bool(tag) and not tag.startswith(_OURS)


def _transaction(lines: dict[str, list[str]]) -> str:
    return "".join(
        "\n".join((f"*{table}", *commands, "COMMIT\n"))
        for table, commands in lines.items()
        if commands
    )


def _fixed_chains(rule: Rule) -> set[tuple[str, str]]:
    """The fixed chains that a rule is in, or jumps to."""
    return {(rule.table, rule.chain), (rule.table, _target(rule))} & _FIXED


def _target(rule: Rule) -> str:
    return rule.text.rpartition("-j ")[2]


def _removing_all(saved: SavedRules, table: str) -> Iterator[str]:
    for rule in saved.rules:
        if rule.table == table and not rule.chain.startswith(PREFIX):
            yield f"-D {rule.chain} {rule.text}"
    names = sorted(name for where, name in saved.chains if where == table)
    yield from (f"-F {name}" for name in names)
    yield from (f"-X {name}" for name in names)


def _removing_some(saved: SavedRules, table: str, is_gone: Callable[[str], bool]) -> Iterator[str]:
    kept = saved.holders(is_gone).keys()
    empty = sorted(
        name
        for where, name in saved.chains
        if where == table and (where, name) not in _FIXED and name not in kept
    )
    for rule in saved.rules:
        gone = rule.table == table and is_owner(rule.tag) and is_gone(rule.tag)
        if gone and rule.chain not in empty:
            yield f"-D {rule.chain} {rule.text}"
    yield from (f"-F {name}" for name in empty)
    yield from (f"-X {name}" for name in empty)


def _chain_of(claim: str) -> str:
    return PREFIX + claim.partition("-")[2]


def _port_fixtures(
    version: int, hairpins: Iterable[Hairpin], marking: MasqueradeMark
) -> Iterator[Rule]:
    for hook in ("PREROUTING", "OUTPUT"):
        yield Rule(NAT, hook, f"-m addrtype --dst-type LOCAL -j {_PORTS}", f"{_OURS}ports")
    yield from _out_fixture()
    if hairpins and not marking.chain:
        text = f"-m mark --mark {_mark(marking)} -j MASQUERADE"
        yield Rule(NAT, _OUT, text, f"{_OURS}mark-{marking.bit}", first=True)
    if version == 4:
        # route_localnet, which mapped ports need, would let other hosts use loopback addresses
        yield Rule(FILTER, "INPUT", f"-d {LOOPBACK_NET} -j {_IN}", f"{_OURS}in", first=True)
        other_host = (
            f"! -s {LOOPBACK_NET} -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
        )
        yield Rule(FILTER, _IN, other_host, f"{_OURS}loopback")


def _outside_fixtures(version: int) -> Iterator[Rule]:
    yield from _out_fixture()
    multicast = f"-d {MULTICAST[version]} -j RETURN"
    yield Rule(NAT, _OUT, multicast, f"{_OURS}multicast", first=True)
    yield Rule(FILTER, _INSIDE, multicast, f"{_OURS}multicast", first=True)
    # the table nat never sees these packets: they would leave with the container's address
    invalid = f"-m conntrack --ctstate INVALID -j {_INSIDE}"
    yield Rule(FILTER, "FORWARD", invalid, f"{_OURS}inside", first=True)


def _out_fixture() -> Iterator[Rule]:
    # first: the reference's masquerade rule accepts packets that stay inside, and ends the chain
    yield Rule(NAT, "POSTROUTING", f"-j {_OUT}", f"{_OURS}out", first=True)


def _ingress_fixtures() -> Iterator[Rule]:
    new = "-m conntrack ! --ctstate RELATED,ESTABLISHED"
    yield Rule(FILTER, "FORWARD", f"{new} -j {_WALLS}", f"{_OURS}walls", first=True)


def _mapping(
    port: MappedPort, hairpins: Iterable[Hairpin], marking: MasqueradeMark, owner: str
) -> Iterator[Rule]:
    name, base = _chain_of(port.claim), f"-p {port.protocol}"
    for item in hairpins:
        source = "" if item.source in EVERYTHING.values() else f" -s {item.source}"
        yield Rule(NAT, name, f"{base}{source} -j {_set_mark(marking)}", owner)
    target = f"[{port.target}]" if port.version == 6 else str(port.target)
    yield Rule(NAT, name, f"{base} -j DNAT --to-destination {target}:{port.target_port}", owner)
    on = "" if port.on is None else f" -d {port.on}"
    conditions = "".join(f" {_word(text)}" for text in port.conditions)
    # rules with more conditions come first
    text = f"{base}{on} -m {port.protocol} --dport {port.number}{conditions} -j {name}"
    yield Rule(NAT, _PORTS, text, owner, first=bool(on or conditions))


def _word(text: str) -> str:
    return f'"{text}"' if " " in text else text


def _set_mark(marking: MasqueradeMark) -> str:
    return marking.chain or f"MARK --set-xmark {_mark(marking)}"


def _mark(marking: MasqueradeMark) -> str:
    return f"{1 << marking.bit:#x}/{1 << marking.bit:#x}"


def _masquerade(address: Cidr, owner: str) -> Iterator[Rule]:
    """Packets that leave the subnet get the host's address; those that cannot do not leave."""
    leaves = f"-s {address.ip} ! -d {address.network}"
    yield Rule(NAT, _OUT, f"{leaves} -j MASQUERADE", owner)
    yield Rule(FILTER, _INSIDE, f"{leaves} -j DROP", owner)


def _ingress_rules(rule: IngressRule, owner: str) -> Iterator[Rule]:
    """Drop packets from other bridges with a policy; if ``isolated``, also from the own bridge.

    iptables cannot tell a bridge from other links. So a chain lists the bridges, as in the
    reference plugin.
    """
    other_bridge = "" if rule.isolated else f"! -i {rule.bridge} "
    yield Rule(FILTER, _WALLS, f"{other_bridge}-d {rule.address} -j {_BRIDGES}", owner)
    yield Rule(FILTER, _BRIDGES, f"-i {rule.bridge} -j DROP", owner)
