"""The table of policies: who may reach whom, as the API's documentation says.

The evaluator, the index, ``podwire policy explain`` and real packets are held to it.
"""

import random

from tests.support.proxy.policies import namespace, pod, policy

PODS = (
    pod("web", "n1", "10.0.0.1", "fd00::1", labels={"app": "web"}, ports={"http": 8080}),
    pod("db", "n1", "10.0.0.2", "fd00::2", labels={"app": "db", "tier": "back"}),
    pod("old", "n1", "10.0.0.3", labels={"app": "web", "v": "1"}, ports={"http": 80}),
    pod("far", "n1", "10.0.0.129", "fd00::11", labels={"app": "web"}, namespace="other"),
)
NAMESPACES = (namespace("ns", team="a"), namespace("other", team="b"))
OUTSIDE = ("192.0.2.7", "2001:db8::7")


def app(name: str) -> dict:
    return {"podSelector": {"matchLabels": {"app": name}}}


def team(name: str) -> dict:
    return {"namespaceSelector": {"matchLabels": {"team": name}}}


def expression(key: str, operator: str, *values: str) -> dict:
    one = {"key": key, "operator": operator}
    return {"podSelector": {"matchExpressions": [one | ({"values": [*values]} if values else {})]}}


def block(cidr: str, *but: str) -> dict:
    return {"ipBlock": {"cidr": cidr, "except": [*but]}}


def entry(*peers: dict, ports: list[dict] | None = None) -> dict:
    return {"from": [*peers]} | ({"ports": ports} if ports is not None else {})


def exit_(*peers: dict, ports: list[dict] | None = None) -> dict:
    return {"to": [*peers]} | ({"ports": ports} if ports is not None else {})


def ingress(*rules: dict, selects=None, name="in", **more) -> dict:
    return policy(name, {"app": "web"} if selects is None else selects, ingress=[*rules], **more)


def egress(*rules: dict, selects=None, name="out", **more) -> dict:
    return policy(name, {"app": "db"} if selects is None else selects, egress=[*rules], **more)


def port(number: int | str | None = None, protocol: str | None = None, last: int = 0) -> dict:
    given = {"port": number, "protocol": protocol, "endPort": last}
    return {key: value for key, value in given.items() if value}


ALL, EVERY_POD = [{}], {"podSelector": {}}
EVERYWHERE = {"namespaceSelector": {}}

# policies: the flows that pass, and those that do not. SOURCE>DESTINATION:PORT[/PROTOCOL]; a name
# with a 6 is the Pod's IPv6 address. Without a port it is a packet of a protocol without ports.
TABLE: dict[str, tuple[list[dict], str, str]] = {
    "nothing": ([], "db>web:1 out>web:1 far>db:1 web6>db6:1/UDP db>web", ""),
    "no ingress": (
        [ingress()],
        "node>web:1 web>web:1 web>db:1 web>out:1 far>db:1",
        "db>web:1 db6>web6:1 far>web:8080 out>web:1 out6>web6:1 db>old:1 db>web:1/UDP db>web",
    ),
    "no ingress for all": ([ingress(selects={})], "web>far:1", "web>db:1 db>web:1 out>old:1"),
    "all ingress": ([ingress({})], "db>web:1 out>web:9/UDP far6>web6:1/SCTP out>web", ""),
    "no egress": (
        [egress()],
        "db>node:1 db>db:5 web>db:1 out>db:1",
        "db>web:1 db>out:53/UDP db6>out6:1 db>far:1 db>web",
    ),
    "all egress": ([egress({})], "db>web:1 db>out:1/UDP db6>far6:1 db>out", ""),
    "neither": (
        [policy("both", {"app": "web"}, ingress=[], egress=[])],
        "db>out:1 node>web:1 web>node:1",
        "web>db:1 db>web:1 old>out:1",
    ),
    "another namespace's": ([ingress(namespace="other")], "db>web:1", "db>far:1 out>far:1"),
    "a Pod of the namespace": (
        [ingress(entry(app("db")))],
        "db>web:1 db6>web6:7/UDP db>old:1 db>web",
        "far>web:1 out>web:1 old>web:1",
    ),
    "every Pod of the namespace": (
        [ingress(entry(EVERY_POD))],
        "db>web:1 old>web:1",
        "far>web:1 out>web:1",
    ),
    "every Pod": ([ingress(entry(EVERYWHERE))], "db>web:1 far>web:1 far6>web6:1", "out>web:1"),
    "all of another namespace": (
        [ingress(entry(team("b")))],
        "far>web:1",
        "db>web:1 old>web:1 out>web:1",
    ),
    "both selectors": ([ingress(entry(team("b") | app("web")))], "far>web:1", "old>web:1 db>web:1"),
    "both selectors fit nobody": (
        [ingress(entry(team("b") | app("db")))],
        "",
        "far>web:1 db>web:1",
    ),
    "either selector": (
        [ingress(entry(team("b"), app("db")))],
        "far>web:1 db>web:1",
        "old>web:1 out>web:1",
    ),
    "the namespace's own name": (
        [
            ingress(
                entry(
                    {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}
                )
            )
        ],
        "far>web:1",
        "db>web:1",
    ),
    "In": ([ingress(entry(expression("app", "In", "db", "x")))], "db>web:1", "old>web:1 far>web:1"),
    "NotIn, and without the label": (
        [ingress(entry(expression("tier", "NotIn", "back")))],
        "old>web:1",
        "db>web:1 far>web:1",
    ),
    "Exists": ([ingress(entry(expression("tier", "Exists")))], "db>web:1", "old>web:1"),
    "DoesNotExist": ([ingress(entry(expression("tier", "DoesNotExist")))], "old>web:1", "db>web:1"),
    "an operator that is none": (
        [ingress(entry(expression("tier", "Gt", "1")))],
        "",
        "db>web:1 old>web:1",
    ),
    "In without values": ([ingress(entry(expression("tier", "In")))], "", "db>web:1"),
    "two labels": (
        [ingress(entry({"podSelector": {"matchLabels": {"app": "db", "tier": "back"}}}))],
        "db>web:1",
        "old>web:1",
    ),
    "selected by two labels": ([ingress(selects={"app": "web", "v": "1"})], "db>web:1", "db>old:1"),
    "one peer of no kind": ([ingress(entry({}))], "", "db>web:1 out>web:1"),
    "one peer of no kind beside another": (
        [ingress(entry({}, app("db")))],
        "db>web:1",
        "old>web:1",
    ),
    "an empty list of peers": ([ingress(entry())], "db>web:1 out>web:1", ""),
    "a port": (
        [ingress(entry(app("db"), ports=[port(80)]))],
        "db>web:80 db6>web6:80",
        "db>web:81 db>web:80/UDP old>web:80 db>web",
    ),
    "a port for all": (
        [ingress({"ports": [port(80)]})],
        "out>web:80 far>web:80",
        "out>web:81 out>web:80/SCTP",
    ),
    "every port of a protocol": (
        [ingress({"ports": [port(protocol="UDP")]})],
        "out>web:5/UDP",
        "out>web:5 out>web",
    ),
    "an empty port is TCP's": (
        [ingress({"ports": [{}]})],
        "out>web:1 out>web:65535",
        "out>web:1/UDP",
    ),
    "an empty list of ports": ([ingress({"ports": []})], "out>web:1/SCTP out>web", ""),
    "SCTP": ([ingress({"ports": [port(7, "SCTP")]})], "out>web:7/SCTP", "out>web:7 out>web:8/SCTP"),
    "a range": (
        [ingress({"ports": [port(100, last=200)]})],
        "out>web:100 out>web:150 out>web:200",
        "out>web:99 out>web:201 out>web:150/UDP",
    ),
    "a range of one": ([ingress({"ports": [port(5, last=5)]})], "out>web:5", "out>web:4 out>web:6"),
    "a range that ends before it begins": (
        [ingress({"ports": [port(9, last=5)]})],
        "",
        "out>web:5 out>web:7 out>web:9",
    ),
    "a range without a number": (
        [ingress({"ports": [port("http", last=9000)]})],
        "",
        "out>web:8080",
    ),
    "a name": (
        [ingress({"ports": [port("http")]})],
        "out>web:8080 out>old:80",
        "out>web:80 out>old:8080",
    ),
    "a name that a Pod does not have": (
        [ingress({"ports": [port("http")]}, selects={"app": "db"})],
        "",
        "out>db:80 out>db:8080",
    ),
    "a name of another protocol": (
        [ingress({"ports": [port("http", "UDP")]})],
        "",
        "out>web:8080/UDP out>web:8080",
    ),
    "a name at the peer": (
        [egress(exit_(app("web"), ports=[port("http")]))],
        "db>web:8080 db>old:80 db6>web6:8080",
        "db>web:80 db>old:8080 db>far:8080 db>out:8080",
    ),
    "a name at every peer": (
        [egress({"ports": [port("http")]})],
        "db>web:8080 db>old:80",
        "db>far:80 db>out:80",
    ),
    "a name within a block": (
        [egress(exit_(block("10.0.0.0/26"), ports=[port("http")]))],
        "db>web:8080 db>old:80",
        "db6>web6:8080 db>web:80",
    ),
    "rules of several peers and ports": (
        [ingress(entry(app("db"), ports=[port(1)]), entry(team("b"), ports=[port(2)]))],
        "db>web:1 far>web:2",
        "db>web:2 far>web:1",
    ),
    "ranges that overlap": (
        [
            ingress(
                entry(app("db"), ports=[port(1, last=20)]),
                entry(team("b"), ports=[port(10, last=30)]),
            )
        ],
        "db>web:1 db>web:20 far>web:10 far>web:30",
        "db>web:21 far>web:9 far>web:31",
    ),
    "a block": (
        [ingress(entry(block("192.0.2.0/24")))],
        "out>web:1 out>web",
        "db>web:1 out6>web6:1",
    ),
    "a block with a hole": (
        [ingress(entry(block("192.0.2.0/24", "192.0.2.4/30")))],
        "",
        "out>web:1 db>web:1",
    ),
    "a block with a hole beside": (
        [ingress(entry(block("192.0.2.0/24", "192.0.2.8/30")))],
        "out>web:1",
        "db>web:1",
    ),
    "a hole that another block fills": (
        [ingress(entry(block("192.0.2.0/24", "192.0.2.4/30"), block("192.0.2.7/32")))],
        "out>web:1",
        "",
    ),
    "a hole outside of its block": (
        [ingress(entry(block("192.0.2.0/24", "10.0.0.0/8")))],
        "",
        "out>web:1 db>web:1",
    ),
    "a block of Pods": ([ingress(entry(block("10.0.0.2/32")))], "db>web:1", "old>web:1 db6>web6:1"),
    "a block of all": ([ingress(entry(block("0.0.0.0/0")))], "out>web:1 db>web:1", "out6>web6:1"),
    "a block of IPv6": (
        [ingress(entry(block("2001:db8::/32")))],
        "out6>web6:1",
        "out>web:1 db6>web6:1",
    ),
    "a block that is none": ([ingress(entry(block("192.0.2.0/33")))], "", "out>web:1"),
    "a block and a selector": (
        [ingress(entry(block("0.0.0.0/0") | EVERY_POD))],
        "",
        "out>web:1 db>web:1",
    ),
    "policies add up": (
        [
            ingress(),
            ingress(entry(app("db"), ports=[port(1)]), name="b"),
            ingress(entry(team("b")), name="c"),
        ],
        "db>web:1 far>web:2",
        "db>web:2 out>web:1",
    ),
    "both sides have a say": (
        [ingress(entry(app("db"), ports=[port(1)])), egress(exit_(app("web"), ports=[port(2)]))],
        "",
        "db>web:1 db>web:2",
    ),
    "both sides agree": (
        [
            ingress(entry(app("db"), ports=[port(1)])),
            egress(exit_(app("web"), ports=[port(1, last=2)])),
        ],
        "db>web:1",
        "db>web:2 db6>web6:3",
    ),
    "answers need no rule": (
        [egress(), ingress({}, selects={"app": "db"})],
        "web>db:1 out>db:1",
        "db>web:1",
    ),
    "to a namespace": ([egress(exit_(team("b")))], "db>far:1 db6>far6:1", "db>web:1 db>out:1"),
    "to a block": (
        [egress(exit_(block("192.0.2.0/24"), ports=[port(53, "UDP")]))],
        "db>out:53/UDP",
        "db>out:53 db>web:53/UDP",
    ),
    "types without rules for them": (
        [policy("p", {"app": "web"}) | {"spec": {"podSelector": {}, "policyTypes": ["Egress"]}}],
        "out>web:1",
        "web>out:1 db>web:1",
    ),
    "no types: ingress": (
        [policy("p") | {"spec": {"podSelector": {}, "ingress": []}}],
        "web>out:1",
        "out>web:1",
    ),
    "no types, with egress: both": (
        [policy("p") | {"spec": {"podSelector": {}, "egress": ALL}}],
        "web>out:1",
        "out>web:1 web>db:1",
    ),
    "a type that the rules do not have": (
        [
            policy("p")
            | {
                "spec": {
                    "podSelector": {},
                    "policyTypes": ["Ingress"],
                    "egress": [],
                    "ingress": ALL,
                }
            }
        ],
        "web>out:1 out>web:1",
        "",
    ),
}


PEERS = (
    app("web"),
    app("db"),
    EVERY_POD,
    EVERYWHERE,
    team("a"),
    team("b") | app("web"),
    expression("tier", "NotIn", "back"),
    expression("v", "Exists"),
    block("10.0.0.0/30"),
    block("10.0.0.0/24", "10.0.0.2/31"),
    block("::/0", "fd00::2/128"),
    block("192.0.2.0/24"),
)
PORTS = (
    port(80),
    port(8080),
    port("http"),
    port(protocol="UDP"),
    port(1, last=100),
    port(50, last=9000),
    port(80, "SCTP"),
    port("http", "UDP"),
    {},
)
ENDS = ("web", "web6", "db", "db6", "old", "far", "far6", "out", "out6", "node")


def random_policy(dice: random.Random, number: int) -> dict:
    def some(of: tuple[dict, ...]) -> list[dict]:
        return dice.sample(of, dice.randint(0, 3))

    spec = {}
    for direction, peers in dice.sample(
        (("ingress", "from"), ("egress", "to")), dice.randint(1, 2)
    ):
        rules = [{peers: some(PEERS), "ports": some(PORTS)} for _ in range(dice.randint(0, 2))]
        spec[direction] = rules
    space = dice.choice(("ns", "ns", "other"))
    selects = dice.choice((None, {"app": "web"}, {"app": "db"}))
    return policy(f"p{number}", selects, space, **spec)
