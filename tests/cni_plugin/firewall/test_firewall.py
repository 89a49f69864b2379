"""The firewall rules of an attachment, in both backends."""

import re
from collections.abc import Callable
from ipaddress import ip_interface
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cni_plugin.firewall import iptables_rules, nftables_rules
from cni_plugin.firewall.claims import OwnerRelation, resolve_ports
from cni_plugin.firewall.iptables_backend import add_rules
from cni_plugin.firewall.iptables_tool import IptablesError
from cni_plugin.plan.rules import IPTABLES, NFTABLES, WantedRules, wanted_rules
from cni_plugin.spec import names
from cni_plugin.spec.config import NetConf
from cni_plugin.spec.errors import CniError, InvalidConfigurationError
from cni_plugin.spec.result import IPConfig

VERSIONS = (4, 6)


def wanted(number: int = 1, **options: Any) -> WantedRules:
    """The rules of the attachment with a number."""
    ips = tuple(
        IPConfig(ip_interface(text)) for text in (f"10.1.0.{number}/24", f"fd00:1::{number:x}/64")
    )
    owner = names.host_link_name("net", f"c{number}", "eth0")
    return wanted_rules(owner, NetConf.read(options), ips, "pw0")


def mapped(*mappings: dict[str, Any]) -> dict[str, Any]:
    return {"portMappings": [{"hostPort": 8080, "containerPort": 80} | item for item in mappings]}


@pytest.mark.parametrize(
    ("options", "ports", "masquerade", "walls"),
    [
        ({}, "", "", ""),
        ({"backend": "iptables"}, "iptables", "", "iptables"),
        ({"ipMasqBackend": "iptables"}, "", "iptables", ""),
        ({"conditionsV4": ["-s", "192.0.2.1"]}, "iptables", "", ""),
        ({"conditionsV6": ["!", "-s", "::1"]}, "iptables", "", ""),
        ({"conditionsV4": ["ip saddr 192.0.2.1"]}, "nftables", "", ""),
        ({"conditionsV4": []}, "", "", ""),
        ({"externalSetMarkChain": "KUBE-MARK-MASQ"}, "iptables", "", ""),
        ({"externalSetMarkChain": "X", "conditionsV4": ["-s", "::1"]}, "iptables", "", ""),
    ],
)
def test_options_choose_the_backend_like_the_reference_plugin(options, ports, masquerade, walls):
    choice = wanted(**options).choice
    assert (choice.ports, choice.masquerade, choice.ingress) == (ports, masquerade, walls)


def test_each_backend_gets_its_part_of_the_rules():
    whole = wanted(
        ipMasq=True, backend="iptables", ingressPolicy="isolated", runtimeConfig=mapped({})
    )
    assert whole.part(NFTABLES, NFTABLES).masquerade == whole.masquerade
    assert not whole.part(NFTABLES, NFTABLES).ports
    assert whole.part(IPTABLES, NFTABLES).ports == whole.ports
    assert not whole.part(NFTABLES, IPTABLES)
    assert whole.part(IPTABLES, IPTABLES).ingress == whole.ingress


def test_ports_are_mapped_to_the_first_address_of_each_version():
    ips = tuple(IPConfig(ip_interface(f"10.{number}.0.2/24")) for number in (1, 2))
    conf = NetConf.read({"runtimeConfig": mapped({}, {"containerPort": 81})})
    (port,) = wanted_rules("pw", conf, ips, "").ports
    assert (str(port.target), port.target_port) == ("10.1.0.2", 80)


WORDS = st.text(max_size=12)
MAPPINGS = st.fixed_dictionaries(
    {
        "hostPort": st.integers(1, 65535),
        "containerPort": st.integers(1, 65535),
        "protocol": st.sampled_from(["tcp", "UDP", "sctp"]),
        "hostIP": st.one_of(
            st.sampled_from(["", "0.0.0.0", "::", "192.0.2.1", "2001:db8::1"]),
            st.ip_addresses().map(str),
        ),
    }
)
OPTIONS = st.fixed_dictionaries(
    {
        "ipMasq": st.booleans(),
        "snat": st.booleans(),
        "masqAll": st.booleans(),
        "ingressPolicy": st.sampled_from(["open", "same-bridge", "isolated"]),
        "conditionsV4": st.sampled_from([[], [], ["-s", "192.0.2.9"], ["ip saddr", "192.0.2.9"]]),
        "conditionsV6": st.sampled_from([[], [], ["!", "-s", "::9"]]),
        "externalSetMarkChain": st.sampled_from(["", "", "KUBE-MARK-MASQ"]),
        "runtimeConfig": st.lists(MAPPINGS, max_size=4).map(lambda items: {"portMappings": items}),
    }
)


HOSTILE = st.fixed_dictionaries(
    {},
    optional={
        "conditionsV4": st.lists(st.one_of(WORDS, st.sampled_from(["-s", "ip"])), max_size=3),
        "conditionsV6": st.lists(WORDS, max_size=3),
        "externalSetMarkChain": WORDS,
        "runtimeConfig": st.fixed_dictionaries(
            {
                "protocol": st.sampled_from(["tcp\n", "icmp", "tcp -j DROP"]),
                "hostIP": st.one_of(WORDS, st.sampled_from(["fe80::1%x } ; x", "192.0.2.1\n"])),
            }
        ).map(mapped),
    },
)


@settings(deadline=None)
@given(OPTIONS, HOSTILE)
def test_hostile_values_cannot_add_a_line_to_a_transaction(options, hostile):
    try:
        found = wanted(**options | hostile)
    except CniError as err:
        assert err.code in {2, 7}
        return
    for version in VERSIONS:
        chains = iptables_rules.wanted_chains(found, version)
        lines = iptables_rules.add_transaction(chains).splitlines()
        tables = {rule.table for rule in (*chains.fixed, *chains.rules)}
        count = len(chains.fixed) + len(chains.rules) + len(chains.claims)
        assert len(lines) == count + 2 * len(tables)
        assert all(re.fullmatch(r"-[CAIN] .*|\*(nat|filter)|COMMIT", line) for line in lines)
        assert all(len(name) <= 28 for name in chains.claims)
        assert all(found.owner in rule.command("-A") for rule in chains.rules)
    rules = nftables_rules.additions_of(found)
    count = len(rules.sets) + len(rules.elements)
    count += sum(2 + len(chain.rules) for chain in rules.chains)
    lines = nftables_rules.add_transaction(rules).split("\n")
    assert len(lines) == (count or 1)
    assert not any(line.count(";") > (line.count(" type ") * 2) for line in lines)


@given(st.lists(MAPPINGS, max_size=6))
def test_both_backends_read_the_same_claims(mappings):
    try:
        found = wanted(runtimeConfig={"portMappings": mappings})
    except InvalidConfigurationError:
        return
    claims = {port.claim for port in found.ports}
    elements = nftables_rules.additions_of(found).elements
    assert {nftables_rules.claim_of(item) for item in elements} - {""} == claims
    saved = {
        claim: owner for version in VERSIONS for claim, owner in claims_made(found, version).items()
    }
    assert saved == dict.fromkeys(claims, found.owner)


def claims_made(found: WantedRules, version: int) -> dict[str, str]:
    tables = Tables(version)
    assert tables.claim(found)
    return tables.save().claims(version)


class Tables:
    """A fake of iptables-restore and iptables-save for one IP version."""

    def __init__(self, version: int = 4) -> None:
        self.version = version
        self.chains: dict[tuple[str, str], list[str]] = {
            ("nat", "PREROUTING"): ["-s 192.0.2.66 -j RETURN"],
            ("nat", "OUTPUT"): [],
            ("nat", "POSTROUTING"): [],
            ("filter", "INPUT"): [],
            ("filter", "FORWARD"): [],
        }

    def restore(self, text: str) -> None:
        """Carry out all commands of a table, or none of them."""
        table, before = "", self.chains
        for line in text.splitlines():
            if line.startswith("*"):
                table, before = line[1:], {key: list(rules) for key, rules in self.chains.items()}
            elif line != "COMMIT" and not self._do(table, *line.split(" ", 2)):
                self.chains = before
                raise IptablesError(line)

    def _do(self, table: str, verb: str, chain: str, rule: str = "") -> bool:
        place = (table, chain)
        target = rule.rpartition("-j ")[2].split(" ")[0]
        if verb == "-N":
            return place not in self.chains and self.chains.setdefault(place, []) == []
        if place not in self.chains or (
            target.startswith("PODWIRE-") and (table, target) not in self.chains
        ):
            return False
        rules = self.chains[place]
        if verb in {"-A", "-I"}:
            rules.insert(0 if verb == "-I" else len(rules), rule)
        elif verb in {"-C", "-D"}:
            if rule not in rules:
                return False
            if verb == "-D":
                rules.remove(rule)
        elif verb == "-F":
            rules.clear()
        elif rules or any(
            rule.endswith(f"-j {chain}") for it in self.chains.values() for rule in it
        ):
            return False
        else:
            del self.chains[place]
        return True

    def text(self) -> str:
        lines = []
        for table in ("nat", "filter"):
            mine = {name: rules for (where, name), rules in self.chains.items() if where == table}
            lines += [f"*{table}", *(f":{name} - [0:0]" for name in mine)]
            lines += [f"-A {name} {rule}" for name, rules in mine.items() for rule in rules]
            lines.append("COMMIT")
        return "\n".join(lines)

    def unhook(self) -> None:
        raise AssertionError("every rule can be found here")

    def save(self) -> iptables_rules.SavedRules:
        return iptables_rules.parse(self.text())

    def claim(self, found: WantedRules) -> bool:
        """Add an attachment's rules. Return false if a port is refused."""

        def relation(owner: str) -> OwnerRelation:
            if owner in {"", found.owner}:
                return OwnerRelation.GONE
            return (
                OwnerRelation.SAME_CONTAINER
                if {owner, found.owner} == KIN
                else OwnerRelation.OTHER_CONTAINER
            )

        try:
            add_rules(self, found, relation)
        except InvalidConfigurationError:
            return False
        return True

    def remove(self, is_gone: Callable[[str], bool]) -> None:
        self.restore(iptables_rules.removal_transaction(self.save(), is_gone))

    def check(self, found: WantedRules) -> None:
        """Fail unless all of an attachment's rules are there."""
        self.restore(
            iptables_rules.check_transaction(iptables_rules.wanted_chains(found, self.version))
        )


OWNERS = [names.host_link_name("net", f"c{number}", "eth0") for number in range(6)]
KIN = {OWNERS[1], OWNERS[2]}  # two networks of one container


STEPS = st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["add", "add", "remove", "flush"])))
# few ports, so that they collide
CROWDED = OPTIONS.map(lambda options: options | {"runtimeConfig": mapped({}, {"hostPort": 81})})


@settings(deadline=None)
@given(STEPS, st.lists(st.one_of(OPTIONS, CROWDED), min_size=5, max_size=5))
def test_any_order_of_adds_removals_and_flushes_leaves_nothing(steps, options):
    tables = Tables()
    there: dict[int, WantedRules] = {}
    for number, step in steps:
        if step == "flush":
            flush(tables, number)
            there.clear()
        elif step == "add" and number not in there:
            try:
                found = wanted(number, **options[number - 1], backend="")
            except CniError:
                continue
            if tables.claim(found):
                there[number] = found
        elif step == "remove" and there.pop(number, None):
            tables.remove(OWNERS[number].__eq__)
            assert OWNERS[number] not in tables.text()
        # every attachment that was not flushed has all of its rules, also those of inherited ports
        for found in there.values():
            tables.check(found)
    tables.remove(lambda _: True)
    assert tables.chains == Tables().chains


def flush(tables: Tables, number: int) -> None:
    """Empty one of the chains, as another program might."""
    ours = [key for key in tables.chains if key[1].startswith("PODWIRE-")]
    if ours:
        table, name = ours[number % len(ours)]
        tables.restore(f"*{table}\n-F {name}\nCOMMIT\n")


def test_another_attachment_can_use_a_flushed_chain():
    tables, ports = Tables(), {"runtimeConfig": mapped({}), "backend": "iptables"}
    assert tables.claim(wanted(1, **ports))
    for name in ("PORTS", "tcp-8080", "OUT"):
        tables.restore(f"*nat\n-F PODWIRE-{name}\nCOMMIT\n")
    assert tables.claim(wanted(2, **ports))
    tables.remove(OWNERS[2].__eq__)
    assert tables.chains == Tables().chains


def test_another_attachment_of_the_container_inherits_ports():
    tables, ports = Tables(), {"runtimeConfig": mapped({}), "backend": "iptables"}
    for number in (1, 2):
        assert tables.claim(wanted(number, **ports))
    assert not tables.claim(wanted(3, **ports))
    saved = tables.save()
    assert saved.claims(4) == {"4-tcp-8080": OWNERS[1]}
    tables.remove(OWNERS[1].__eq__)
    assert tables.save().claims(4) == {"4-tcp-8080": OWNERS[2]}


def test_ports_of_gone_owners_are_free_and_ports_of_others_are_refused():
    found = wanted(runtimeConfig=mapped({}, {"hostPort": 81}, {"hostPort": 82}))
    four = [port for port in found.ports if port.version == 4]
    holders = {four[0].claim: "kin", four[1].claim: "gone"}
    relation = {
        "kin": OwnerRelation.SAME_CONTAINER,
        "gone": OwnerRelation.GONE,
        "": OwnerRelation.GONE,
    }
    left, gone = resolve_ports(holders, found, relation.__getitem__)
    assert set(found.ports) - set(left.ports) == {four[0]}
    assert "gone" in gone
    with pytest.raises(InvalidConfigurationError, match=r"IPv4 port 81/tcp .*"):
        resolve_ports(
            {four[1].claim: "x"},
            found,
            {"x": OwnerRelation.OTHER_CONTAINER, "": OwnerRelation.GONE}.__getitem__,
        )
