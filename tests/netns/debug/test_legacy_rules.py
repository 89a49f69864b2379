"""Rules of legacy iptables, as explain reads them, and as python-iptables does: the same.

Ours asks the kernel as libiptc does; python-iptables asks libiptc and libxtables.
"""

import json
import os
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address

import pytest

from debug.places import Place, inside
from debug.ruleset import steps
from debug.ruleset.read import legacy
from debug.ruleset.values import Rule
from tests.support.space import Space

pytestmark = pytest.mark.netns

# Of the system's Python, which has Debian's python3-iptables. Rule.src has masks whole; the module
# iptc.easy has not (findings/python-iptables-loses-rules-and-masks.sh).
READER = """
import json, sys, iptc
table = (iptc.Table6 if sys.argv[1] == "ip6" else iptc.Table)(sys.argv[2])
told = {}
for chain in table.chains:
    told[chain.name] = [
        {
            "ends": [rule.src, rule.dst],
            "devices": [rule.in_interface, rule.out_interface],
            "protocol": rule.protocol,
            "fragment": rule.fragment if sys.argv[1] == "ip" else False,
            "matches": [match.name for match in rule.matches],
            "target": rule.target.name if rule.target else "",
            "goes": bool(getattr(rule.target, "goto", False)),
        }
        for rule in chain.rules
    ]
print(json.dumps(told))
"""
RULES = {
    "ip": (
        ("filter", "-N KUBE-MARK"),
        ("filter", "-A INPUT ! -i eth+ -s 10.0.7.0/24 ! -d 1.2.3.4 -p tcp --dport 80 -g KUBE-MARK"),
        ("filter", "-A INPUT -s 10.0.7.0/255.0.255.0 -j ACCEPT"),
        ("filter", "-A INPUT -i eth -p icmp -j KUBE-MARK"),
        ("filter", "-A FORWARD -m hashlimit --hashlimit-above 1/s --hashlimit-name a -j DROP"),
        ("filter", "-A FORWARD ! -o podwire+ ! -p udp -m conntrack --ctstate NEW -j REJECT"),
        ("filter", "-A FORWARD -m comment --comment no-target"),
        ("filter", "-A OUTPUT -f -o lo -j DROP"),
        ("filter", "-A OUTPUT -p 132"),  # python-iptables does not tell of "! -f"
        ("filter", "-A KUBE-MARK -m comment --comment one -m addrtype --dst-type LOCAL -j RETURN"),
        ("nat", "-N KUBE-SEP"),
        ("nat", "-A PREROUTING -d 10.96.0.10 -p udp -m udp --dport 53 -j KUBE-SEP"),
        ("nat", "-A KUBE-SEP -m statistic --mode random --probability 0.5 -j DNAT --to 10.1.0.1"),
        ("nat", "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE"),
    ),
    "ip6": (
        ("filter", "-A INPUT -s fd00:1::/32 ! -d fd00::1 -i lo -p tcp -j DROP"),
        ("filter", "-A FORWARD ! -s ::/1 -o pod+ -j ACCEPT"),
    ),
}  # fmt: skip
TABLES = [(family, table) for family in RULES for table in dict(RULES[family])]
VERDICTS = {"ACCEPT": "accept", "DROP": "drop", "RETURN": "return"}


@pytest.fixture(scope="module")
def space(spaces: Callable[[str], Space]) -> Space:
    made = spaces("legacy")
    for family, rules in RULES.items():
        tool = "iptables-legacy" if family == "ip" else "ip6tables-legacy"
        for table, rule in rules:
            made.run(tool, "-t", table, *rule.split())
    return made


def theirs(space: Space, family: str, table: str) -> dict[str, list[dict[str, object]]]:
    told = json.loads(space.run("/usr/bin/python3", "-I", "-c", READER, family, table))
    return {chain: [said(one, family) for one in rules] for chain, rules in told.items()}


def said(one: dict, family: str) -> dict[str, object]:
    """What python-iptables says of a rule, in our words."""
    return {
        "ends": [end(text, family) for text in one["ends"]],
        "devices": [device(text) for text in one["devices"]],
        "protocol": protocol(one["protocol"]),
        "fragment": one["fragment"],
        "matches": one["matches"],
        "target": VERDICTS.get(one["target"], one["target"]),
        "goes": one["goes"],
    }


def end(text: str, family: str) -> tuple[bool, bytes, bytes] | None:
    """A source or destination: whether it is inverted, address and mask; None if it is any."""
    network, _, mask = text.lstrip("!").partition("/")
    if mask.isdigit():  # of IPv6
        whole = (1 << 128) - (1 << 128 - int(mask))
        packed = whole.to_bytes(16, "big")
    else:
        packed = ip_address(mask).packed
    return (text.startswith("!"), ip_address(network).packed, packed) if any(packed) else None


def device(text: str | None) -> tuple[bool, str] | None:
    return (text.startswith("!"), text.lstrip("!")) if text else None


def protocol(text: str) -> tuple[bool, int] | None:
    name = text.lstrip("!")
    number = int(name) if name.isdigit() else socket.getprotobyname(name) if name != "ip" else 0
    return (text.startswith("!"), number) if number else None


def ours(family: str, table: str) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for one in legacy.read():
        for (of, chain), (*rules, last) in one.rules.items():
            if (of.family, of.name) == (family, f"{table} (legacy)"):
                assert len(last.steps) == 1, "a chain ends with its policy, or with a return"
                found[chain] = [meant(rule, family) for rule in rules]
    return {chain: rules for chain, rules in found.items() if rules}


def meant(rule: Rule, family: str) -> dict[str, object]:
    """What our steps of a rule mean."""
    masked = dict(conditions(rule))
    size, first = (4, 12) if family == "ip" else (16, 8)
    verdicts = [one.value for one in rule.steps if isinstance(one, steps.Immediate)]
    targets = [one.name for one in rule.steps if isinstance(one, steps.XtTarget)]
    target = targets[0] if targets else (verdicts[0].chain or verdicts[0].code) if verdicts else ""
    return {
        "ends": [masked.get(("payload", first + number * size)) for number in (0, 1)],
        "devices": [named(masked.get(("meta", key))) for key in (6, 7)],
        "protocol": numbered(masked.get(("meta", 16))),
        "fragment": ("payload", 6) in masked,
        "matches": [one.name for one in rule.steps if isinstance(one, steps.XtMatch)],
        "target": target,
        "goes": any(one.code == "goto" for one in verdicts),
    }


def conditions(rule: Rule) -> Iterator[tuple[tuple[str, int], tuple[bool, bytes, bytes]]]:
    """What is compared: a load, and whether it is inverted, the value, the mask."""
    at, mask = ("", 0), b""
    for one in rule.steps:
        if isinstance(one, steps.Payload):
            at, mask = ("payload", one.offset), b""
        elif isinstance(one, steps.Meta):
            at, mask = ("meta", one.key), b""
        elif isinstance(one, steps.Bitwise):
            mask = one.mask
        elif isinstance(one, steps.Compare):
            yield at, (one.operator == 1, one.value, mask)


def named(found: tuple[bool, bytes, bytes] | None) -> tuple[bool, str] | None:
    if found is None:
        return None
    inverted, value, mask = found
    length = sum(1 for byte in mask if byte)
    name = value[:length]
    whole = name.endswith(b"\0")
    return inverted, name.rstrip(b"\0").decode() + ("" if whole else "+")


def numbered(found: tuple[bool, bytes, bytes] | None) -> tuple[bool, int] | None:
    return (found[0], found[1][0]) if found else None


@pytest.mark.parametrize(("family", "table"), TABLES)
def test_both_readers_find_the_same_rules(space: Space, family: str, table: str) -> None:
    expected = {chain: rules for chain, rules in theirs(space, family, table).items() if rules}
    here = Place("n1", os.getpid(), str(space.path))
    found = inside(here, lambda: ours(family, table))
    assert found == expected
    assert sum(map(len, found.values())) == sum(
        of == table and rule.startswith("-A") for of, rule in RULES[family]
    )
