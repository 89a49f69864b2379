"""The table of ClusterNetworkPolicies, beside NetworkPolicies: who may reach whom.

The evaluator, the index, ``podwire policy explain`` and real packets are held to it. Its Pods and
its way of writing flows are those of ``policy_table``.
"""

import random

from tests.support.proxy.policies import cluster_policy
from tests.support.proxy.policy_table import (
    app,
    egress,
    entry,
    expression,
    ingress,
    random_policy,
)

Rule = dict

EVERY = {"namespaces": {}}
WEB = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}}
DB = {"pods": {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "db"}}}}
A, B = ({"namespaces": {"matchLabels": {"team": name}}} for name in "ab")
BACK = {"pods": {"namespaceSelector": {}} | expression("tier", "Exists")}
OLD = {
    "pods": {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ns"}},
        "podSelector": {"matchLabels": {"v": "1"}},
    }
}
WEB_OF_B = {
    "pods": {
        "namespaceSelector": {"matchLabels": {"team": "b"}},
        "podSelector": {"matchLabels": {"app": "web"}},
    }
}
NOBODY = {"namespaces": {"matchLabels": {"team": "c"}}}


def rule(action: str, *peers: dict, at: list[dict] | None = None, side="from", **more) -> Rule:
    return {"action": action, side: [*peers], **more} | ({"protocols": at} if at else {})


def accept(*peers: dict, at: list[dict] | None = None) -> Rule:
    return rule("Accept", *peers, at=at)


def deny(*peers: dict, at: list[dict] | None = None) -> Rule:
    return rule("Deny", *peers, at=at)


def pass_(*peers: dict, at: list[dict] | None = None) -> Rule:
    return rule("Pass", *peers, at=at)


def out(*rules: Rule) -> list[Rule]:
    """Turn rules into those of egress."""
    return [{"to" if key == "from" else key: one[key] for key in one} for one in map(dict, rules)]


def into(rules: list[Rule], name="cnp", tier="Admin", priority=10, subject=WEB) -> dict:
    return cluster_policy(name, tier, priority, subject, ingress=rules)


def outof(rules: list[Rule], name="cnp", tier="Admin", priority=10, subject=DB) -> dict:
    return cluster_policy(name, tier, priority, subject, egress=out(*rules))


def base(rules: list[Rule], **how) -> dict:
    return into(rules, **({"name": "base", "tier": "Baseline"} | how))


def nets(*cidrs: str) -> dict:
    return {"networks": [*cidrs]}


def tcp(number: int, last: int = 0, protocol="tcp") -> dict:
    port = {"range": {"start": number, "end": last}} if last else {"number": number}
    return {protocol: {"destinationPort": port}}


def udp(number: int, last: int = 0) -> dict:
    return tcp(number, last, "udp")


def sctp(number: int, last: int = 0) -> dict:
    return tcp(number, last, "sctp")


NAMED = {"destinationNamedPort": "http"}

# See ``policy_table.TABLE``. ``web>web`` is a Pod that reached itself through a Service.
CLUSTER_TABLE: dict[str, tuple[list[dict], str, str]] = {
    "no rules isolate nobody": ([into([])], "db>web:1 out>web:1 far>web:1", ""),
    "deny all Pods": (
        [into([deny(EVERY)])],
        "out>web:1 node>web:1 web>out:1 out6>web6:1/UDP web>db:1",
        "db>web:1 db6>web6:1 far>web:1/UDP db>web db>old:1/SCTP web>far:1 web>web:1",
    ),
    "a subject of namespaces": (
        [into([deny(EVERY)], subject=B)],
        "db>web:1 far>web:1",
        "db>far:1 web6>far6:1",
    ),
    "a subject of both selectors": (
        [into([deny(EVERY)], subject=OLD)],
        "db>web:1 db>far:1",
        "db>old:1 far>old",
    ),
    "a subject that is nobody": ([into([deny(EVERY)], subject=NOBODY)], "db>web:1 db>far:1", ""),
    "what no rule fits passes": ([into([deny(DB)])], "far>web:1 old>web:1", "db>web:1 db6>web6:1"),
    "the first rule decides": (
        [into([accept(DB), deny(EVERY)])],
        "db>web:1 db>far:1 db6>web6:1",
        "far>web:1 old>web:1",
    ),
    "the first rule decides, turned": ([into([deny(EVERY), accept(DB)])], "", "db>web:1 far>web:1"),
    "a Pod of several groups": (
        [into([deny(BACK), accept(DB), deny(EVERY)])],
        "",
        "db>web:1 far>web:1",
    ),
    "the first by a smaller group": (
        [into([accept(WEB_OF_B), deny(B), accept(A)])],
        "far>web:1 db>web:1",
        "",
    ),
    "the lower priority number is first": (
        [into([deny(EVERY)], "late", priority=20), into([accept(DB)], "soon", priority=5)],
        "db>web:1",
        "far>web:1",
    ),
    "priorities, turned": (
        [into([deny(EVERY)], "soon", priority=5), into([accept(DB)], "late", priority=20)],
        "",
        "db>web:1 far>web:1",
    ),
    "priorities from 0 to 1000": (
        [into([accept(DB)], "zero", priority=0), into([deny(EVERY)], "last", priority=1000)],
        "db>web:1",
        "far>web:1",
    ),
    "equal priorities go by name": (
        [into([deny(EVERY)], "b"), into([accept(DB)], "a")],
        "db>web:1",
        "far>web:1",
    ),
    "accept goes past NetworkPolicies": (
        [into([accept(DB)]), ingress()],
        "db>web:1 db6>web6:1/UDP db>old",
        "far>web:1 out>web:1",
    ),
    "deny goes past NetworkPolicies": (
        [into([deny(DB)]), ingress({})],
        "far>web:1 out>web:1",
        "db>web:1 db>old:1/UDP",
    ),
    "pass leaves it to NetworkPolicies": (
        [into([pass_(DB), deny(EVERY)]), ingress(entry(app("db"), ports=[{"port": 1}]))],
        "db>web:1",
        "db>web:2 far>web:1 old>web:1",
    ),
    "pass without a NetworkPolicy": ([into([pass_(DB), deny(EVERY)])], "db>web:1", "far>web:1"),
    "pass skips later policies of the tier": (
        [into([pass_(DB)], "a", priority=1), into([deny(EVERY)], "b", priority=2)],
        "db>web:1",
        "far>web:1",
    ),
    "no rule fits: NetworkPolicies": (
        [into([deny(B)]), ingress(entry(app("db")))],
        "db>web:1",
        "far>web:1 old>web:1 out>web:1",
    ),
    "baseline denies": ([base([deny(EVERY)])], "out>web:1", "db>web:1 far>web:1"),
    "baseline is overridden": (
        [base([deny(EVERY)]), ingress(entry(app("db")))],
        "db>web:1 db>old:1",
        "far>web:1 out>web:1 db>far:1",
    ),
    "baseline cannot widen a NetworkPolicy": (
        [base([accept(EVERY)]), ingress()],
        "db>far:1",
        "db>web:1 far>web:1",
    ),
    "a NetworkPolicy of the other direction": (
        [base([deny(EVERY)]), egress({}, selects={"app": "web"})],
        "web>out:1",
        "db>web:1",
    ),
    "admin comes before baseline": (
        [base([deny(EVERY)]), into([accept(DB)])],
        "db>web:1",
        "far>web:1",
    ),
    "pass goes to baseline": (
        [base([deny(DB)]), into([pass_(DB), accept(EVERY)])],
        "far>web:1",
        "db>web:1",
    ),
    "pass in baseline is the end": ([base([pass_(DB), deny(EVERY)])], "db>web:1", "far>web:1"),
    "order within baseline": (
        [base([accept(DB), deny(EVERY)], name="b"), base([deny(DB)], name="a", priority=11)],
        "db>web:1",
        "far>web:1",
    ),
    "egress to Pods": (
        [outof([accept(WEB_OF_B), deny(WEB)])],
        "db>far:1 db6>far6:1 db>out:1 web>db:1 db>node:1",
        "db>web:1 db6>web6:1 db>old:1/UDP db>web",
    ),
    "egress to networks": (
        [outof([accept(nets("192.0.2.0/24")), deny(nets("0.0.0.0/0"))])],
        "db>out:53/UDP db>out db6>out6:1 db6>web6:1 db>node:1",
        "db>web:1 db>far:1/UDP db>web",
    ),
    "egress to networks of both families": (
        [outof([deny(nets("192.0.2.0/28", "2001:db8::/32"))])],
        "db>web:1 db6>web6:1",
        "db>out:1 db6>out6:1/UDP db6>out6",
    ),
    "networks within networks": (
        [
            outof(
                [
                    accept(nets("10.0.0.2/31")),
                    deny(nets("10.0.0.0/28")),
                    accept(nets("10.0.0.1/32")),
                ]
            )
        ],
        "db>old:1 db>far:1 db>out:1",
        "db>web:1",
    ),
    "Pods before their network": (
        [outof([accept(WEB_OF_B), deny(nets("0.0.0.0/0", "::/0"))])],
        "db>far:1 db6>far6:1",
        "db>web:1 db6>web6:1 db>out:1",
    ),
    "a network before its Pods": (
        [outof([deny(nets("10.0.0.128/25")), accept(WEB), deny(EVERY, nets("0.0.0.0/0"))])],
        "db>web:1 db>old:1 db6>far6:1",
        "db>far:1 db>out:1",
    ),
    "admin egress past a NetworkPolicy": (
        [outof([accept(nets("192.0.2.7/32"), at=[udp(53)])]), egress()],
        "db>out:53/UDP db>node:1",
        "db>out:53 db>out:54/UDP db>web:1",
    ),
    "baseline egress": (
        [outof([deny(nets("0.0.0.0/0"))], tier="Baseline"), egress(selects={"app": "web"})],
        "db6>web6:1 web>web:1",
        "db>web:1 web>db:1",
    ),
    "both directions have a say": (
        [outof([accept(WEB)], "o"), into([deny(DB)], "i")],
        "far>web:1",
        "db>web:1",
    ),
    "one port": (
        [into([deny(EVERY, at=[tcp(80)])])],
        "db>web:81 db>web:80/UDP db>web",
        "db>web:80",
    ),
    "a range of ports": (
        [into([deny(EVERY, at=[tcp(80, 90)])])],
        "db>web:79 db>web:91 db>web:85/UDP",
        "db>web:80 db>web:85 db>web:90 db6>web6:81",
    ),
    "ports of each protocol": (
        [into([deny(EVERY, at=[tcp(1), udp(2), sctp(3)])])],
        "db>web:2 db>web:3/UDP db>web:1/SCTP db>web",
        "db>web:1 db>web:2/UDP db>web:3/SCTP db6>web6:3/SCTP",
    ),
    "ports in order": (
        [
            into(
                [
                    accept(EVERY, at=[tcp(80)]),
                    deny(EVERY, at=[tcp(1, 100)]),
                    accept(DB),
                    deny(EVERY),
                ]
            )
        ],
        "db>web:80 far>web:80 db>web:101 db>web db>web:5/UDP",
        "db>web:79 far>web:101 far>web",
    ),
    "ports that overlap": (
        [into([deny(DB, at=[tcp(10, 20)]), accept(EVERY, at=[tcp(15, 30)]), deny(EVERY)])],
        "far>web:15 far>web:20 db>web:21 db>web:30",
        "far>web:14 db>web:15 db>web:20 db>web:31 far>web:31",
    ),
    "a packet without ports": (
        [into([accept(EVERY, at=[tcp(1, 65535), udp(1, 65535)]), deny(EVERY)])],
        "db>web:7 db>web:7/UDP",
        "db>web db>web:7/SCTP",
    ),
    "a named port of the subject": (
        [into([deny(EVERY, at=[NAMED])])],
        "db>web:80 db>old:8080 db>web:8080/UDP db>far:80",
        "db>web:8080 db>old:80",
    ),
    "a named port at the peer": (
        [outof([accept(WEB, at=[NAMED]), deny(WEB)])],
        "db>web:8080 db6>web6:8080 db>old:80 db>out:1",
        "db>web:80 db>old:8080 db>web:8080/UDP db>far:1",
    ),
    "a named port after others": (
        [outof([deny(OLD), accept(WEB, at=[NAMED]), deny(EVERY)])],
        "db>web:8080",
        "db>old:80 db>web:1",
    ),
    "a named port of nobody": (
        [outof([deny(EVERY, at=[{"destinationNamedPort": "none"}])])],
        "db>web:8080",
        "",
    ),
    "to itself through a Service": (
        [into([deny(A)]), ingress({})],
        "far>web:1",
        "web>web:1 web>old:1",
    ),
    "to itself past a NetworkPolicy": ([into([deny(DB)]), ingress()], "web>web:1", "db>web:1"),
    "a field that is unknown, accept": (
        [outof([accept({"nodes": {}}), deny(WEB)])],
        "db>out:1",
        "db>web:1",
    ),
    "a field that is unknown, deny": (
        [outof([accept(WEB), deny({"domainNames": ["example.org."]})])],
        "db>web:1",
        "db>out:1 db6>out6:1/UDP",
    ),
    "a field that is unknown, pass": (
        [outof([pass_({"nodes": {}})]), egress({})],
        "web>out:1",
        "db>web:1 db>out:1 db>out",
    ),
    "a peer that is unknown beside others": (
        [into([accept(DB, {"later": {}}), deny(B)])],
        "old>web:1 db>web:1",
        "far>web:1",
    ),
    "an action that is unknown": ([into([rule("Log", DB)])], "web>out:1", "db>web:1 out>web:1"),
    "a range that is none": (
        [outof([deny(nets("10.0.0.0/33")), accept(EVERY)])],
        "",
        "db>web:1 db>out:1",
    ),
    "a subject that is unknown": ([into([deny(EVERY)], subject={"later": {}})], "db>web:1", ""),
}

_PEERS = (EVERY, WEB, DB, A, B, BACK, OLD, WEB_OF_B, NOBODY)
_NETS = (
    nets("0.0.0.0/0"),
    nets("10.0.0.0/30", "192.0.2.0/24"),
    nets("10.0.0.2/31"),
    nets("::/0"),
    nets("fd00::/120", "10.0.0.128/25"),
)
_AT = (tcp(80), tcp(1, 100), tcp(50, 9000), udp(80), udp(1, 65535), sctp(80), NAMED)


def random_cluster(dice: random.Random) -> list[dict]:
    """Return random ClusterNetworkPolicies, and NetworkPolicies beside them."""
    count = dice.randint(1, 6)
    found = [_random_policy(dice, number) for number in range(count)]
    return found + [random_policy(dice, number) for number in range(dice.randint(0, 2))]


def _random_policy(dice: random.Random, number: int) -> dict:
    spec: dict = {}
    for side, peers in (("ingress", _PEERS), ("egress", _PEERS + _NETS)):
        if dice.random() < 0.7:
            rules = [_random_rule(dice, peers) for _ in range(dice.randint(1, 4))]
            spec[side] = out(*rules) if side == "egress" else rules
    tier = dice.choice(("Admin", "Admin", "Baseline"))
    subject = dice.choice(_PEERS[:-1])
    return cluster_policy(f"c{number}", tier, dice.choice((0, 5, 10)), subject, **spec)


def _random_rule(dice: random.Random, peers: tuple[dict, ...]) -> Rule:
    at = dice.sample(_AT, dice.randint(1, 3)) if dice.random() < 0.6 else None
    chosen = dice.sample(peers, dice.randint(1, 2))
    return rule(dice.choice(("Accept", "Deny", "Pass")), *chosen, at=at)
