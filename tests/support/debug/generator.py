"""Random rulesets in nft's language: what podwire, kube-proxy, firewalld and Docker write."""

import random
from collections.abc import Callable
from ipaddress import ip_address

SOURCES = {4: [f"10.1.{a}.{b}" for a in (0, 1, 7) for b in (1, 2, 9)], 6: []}
TARGETS = {4: [f"10.2.{a}.{b}" for a in (0, 1) for b in (1, 2, 80)], 6: []}
OWN = {4: ["10.255.1.1", "10.9.0.1"], 6: ["fd00:ff:1::1", "fd00:9::1"]}
SOURCES[6] = [f"fd00:1:{a}::{b}" for a in (0, 1, 7) for b in (1, 2, 9)]
TARGETS[6] = [f"fd00:2:{a}::{b}" for a in (0, 1) for b in (1, 2, 80)]
PORTS = (22, 53, 80, 443, 8080, 30080)
MARKS = (0, 1, 2, 0x4000, 0x8000, 0xFF)
IP = {4: "ip", 6: "ip6"}
TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}


class Generator:
    """Writes one ruleset for packets of one version, of two tables."""

    def __init__(self, seed: int, version: int) -> None:
        self.draw = random.Random(seed)
        self.version = version
        self.ip = IP[version]
        self._anywhere = [*SOURCES[version], *TARGETS[version], *OWN[version]]

    def ruleset(self) -> str:
        families = [self.draw.choice([self.ip, "inet"]) for _ in range(2)]
        return "".join(self._table(family, f"t{at}") for at, family in enumerate(families))

    def _table(self, family: str, name: str) -> str:
        lines = [f"table {family} {name} {{", *self._stores()]
        for at in reversed(range(4)):  # a chain jumps only to chains that are there
            where = self.draw.choice(["any", "any", "nat", "filter"])
            lines += self._chain(f"{where}{at}", where, [])
            self._targets(where, f"{where}{at}")
        for hook, sort, priority in self._bases():
            policy = "drop" if self.draw.random() < 0.07 else "accept"
            head = [f"type {sort} hook {hook} priority {priority}; policy {policy};"]
            lines += self._chain(f"{sort}-{hook}-{priority}".replace("--", "-m"), hook, head, sort)
        self._chains = {}
        return "\n".join([*lines, "}\n"])

    _chains: dict[str, list[str]] = {}

    def _targets(self, where: str, name: str) -> None:
        self._chains = {**self._chains, where: [*self._chains.get(where, []), name]}

    def _bases(self) -> list[tuple[str, str, int]]:
        every = [
            *(("prerouting", "filter", at) for at in (-300, -150, 0)),
            *(("prerouting", "nat", at) for at in (-100, -110)),
            *((hook, "filter", at) for hook in ("input", "forward") for at in (-5, 0, 10)),
            *(("postrouting", "nat", at) for at in (100, 90)),
            *(("postrouting", "filter", at) for at in (-150, 0, 150)),
            ("input", "nat", 100),
        ]
        return [one for one in every if self.draw.random() < 0.6]

    def _stores(self) -> list[str]:
        draw, address = self.draw, TYPE[self.version]
        four = f"{address} . inet_proto . inet_service"
        keys = sorted({self._key() for _ in range(8)})
        return [
            f"set plain {{ type {address}; elements = {{ {self._some(self._anywhere)} }}; }}",
            f"set nets {{ type {address}; flags interval; elements = {{ {self._nets()} }}; }}",
            "set ports { type inet_service; flags interval; elements = { 22, 50-90, 8000-9000 }; }",
            f"set keys {{ type {four}; elements = {{ {', '.join(keys[:4])} }}; }}",
            f"set wide {{ type {address} . inet_service; flags interval; elements = "
            f"{{ {self._net(1)} . 0-100, {self._net(2)} . 80-9000 }}; }}",
            f"map marks {{ type {address} : mark; elements = {{ {self._marked()} }}; }}",
            "map doors { type inet_proto . inet_service : mark; flags interval; elements = "
            "{ tcp . 1-100 : 3, udp . 50-60 : 4 }; }",
            f"set seen {{ type {address}; size 65535; flags dynamic,timeout; timeout 1h; }}",
            f"map backends {{ typeof numgen random mod 3 : {self.ip} daddr . th dport; elements = "
            f"{{ 0 : {TARGETS[self.version][0]} . 80, 1 : {TARGETS[self.version][1]} . 8080, "
            f"2 : {draw.choice(TARGETS[self.version])} . 443 }}; }}",
        ]

    def _net(self, part: int) -> str:
        return {4: f"10.{part}.0.0/16", 6: f"fd00:{part}::/32"}[self.version]

    def _nets(self) -> str:
        every = {
            4: ["10.1.0.0/24", "10.1.7.2", "10.2.1.0-10.2.1.50", "10.9.0.0/16"],
            6: ["fd00:1:0::/48", "fd00:1:7::2", "fd00:2:1::-fd00:2:1::50", "fd00:9::/32"],
        }[self.version]
        return ", ".join(self.draw.sample(every, self.draw.randint(1, 4)))

    def _some(self, of: list[str]) -> str:
        return ", ".join(sorted(set(self.draw.choices(of, k=4))))

    def _marked(self) -> str:
        some = sorted(set(self.draw.choices(self._anywhere, k=4)))
        return ", ".join(f"{one} : {self.draw.choice(MARKS)}" for one in some)

    def _key(self) -> str:
        protocol = self.draw.choice(["tcp", "udp"])
        return f"{self.draw.choice(self._anywhere)} . {protocol} . {self.draw.choice(PORTS)}"

    def _chain(self, name: str, hook: str, head: list[str], sort: str = "filter") -> list[str]:
        count = self.draw.randint(1, 6)
        if sort == "nat":
            hook = f"nat-{hook}"
        rules = [self._rule(hook) for _ in range(count)]
        return [f"  chain {name} {{", *(f"    {line}" for line in (*head, *rules)), "  }"]

    def _rule(self, hook: str) -> str:
        parts = [self._match(hook) for _ in range(self.draw.choice([0, 1, 1, 1, 2, 2, 3]))]
        parts += [self._statement() for _ in range(self.draw.choice([0, 0, 1, 2]))]
        if not parts or self.draw.random() < 0.7:
            parts.append(self._end(hook))
        comment = f' comment "rule {self.draw.randint(1, 99)}"' if self.draw.random() < 0.3 else ""
        return " ".join(parts) + comment

    def _match(self, hook: str) -> str:
        draw, ip = self.draw, self.ip
        side, sign = draw.choice(["saddr", "daddr"]), draw.choice(["", "", "!= "])
        one, two = draw.choice(self._anywhere), draw.choice(self._anywhere)
        port = draw.choice(PORTS)
        matches: list[Callable[[], str]] = [
            lambda: f"{ip} {side} {sign}{one}",
            lambda: f"{ip} {side} {sign}{self._net(draw.choice([1, 2, 9]))}",
            lambda: f"{ip} {side} {sign}{{ {one}, {two} }}" if one != two else f"{ip} {side} {one}",
            lambda: f"{ip} {side} {sign}@{draw.choice(['plain', 'nets'])}",
            lambda: f"{ip} daddr . meta l4proto . th dport {sign}@keys",
            lambda: f"{ip} {side} . th dport {sign}@wide",
            lambda: f"tcp dport {sign}{port}",
            lambda: f"udp dport {sign}{port}-{port + 400}",
            lambda: f"th dport {sign}@ports",
            lambda: f"tcp dport {sign}{{ 80, 443, 8000-8100 }}",
            lambda: f"tcp dport {draw.choice(['<', '>=', '>', '<='])} {port}",
            lambda: f"meta l4proto {sign}{draw.choice(['tcp', 'udp', '{ tcp, udp }'])}",
            lambda: "tcp flags & (syn | ack) == syn",
            lambda: f"tcp flags {sign}syn",
            lambda: f"meta mark {sign}{draw.choice(MARKS)}",
            lambda: (
                f"meta mark & 0x{draw.choice(['1', '4000', 'ff'])} {draw.choice(['==', '!='])} 0"
            ),
            lambda: f"meta mark 1-{draw.choice([2, 255, 0x4000])}",
            lambda: f"meta nfproto {draw.choice(['ipv4', 'ipv6'])}",
            lambda: f"meta length {draw.choice(['<', '>'])} {draw.choice([40, 50, 60])}",
            lambda: (
                f"ct state {draw.choice(['new', 'established', 'invalid', 'established,related'])}"
            ),
            lambda: f"ct state {sign}{{ new, established }}",
            lambda: f"ct direction {draw.choice(['original', 'reply'])}",
            lambda: f"ct status {draw.choice(['dnat', 'snat', 'assured', 'seen-reply'])}",
            lambda: "ct status & dnat == 0",
            lambda: f"ct mark {sign}{draw.choice(MARKS)}",
            lambda: f"meta l4proto tcp ct original proto-dst {port}",
            lambda: f"ct original {ip} daddr {sign}{draw.choice(TARGETS[self.version])}",
            lambda: f"ct reply {ip} saddr {draw.choice(TARGETS[self.version])}",
            lambda: f"fib {side} type {sign}{draw.choice(['local', 'unicast'])}",
            lambda: f"numgen random mod {draw.choice([3, 5])} < {draw.choice([1, 2])}",
            lambda: f"jhash {ip} saddr mod 4 seed {draw.randint(1, 99)} {draw.choice([0, 1, 2])}",
            lambda: f"jhash {ip} saddr . th dport mod 4 seed 7 < {draw.choice([1, 2, 3])}",
            lambda: f"limit rate {draw.choice(['', 'over '])}100000/second",
            lambda: f"@th,16,16 {port}",
            lambda: f"{ip} {side} & {self._mask()} {draw.choice(['==', '!='])} {self._masked(one)}",
            lambda: f"meta skuid {draw.choice([0, 1000])}",
            *self._of_version(sign),
            *self._of_devices(hook, sign),
        ]
        return draw.choice(matches)()

    def _mask(self) -> str:
        return {4: "255.255.0.255", 6: "ffff:ffff:ffff::ff"}[self.version]

    def _masked(self, one: str) -> str:
        number = int(ip_address(one)) & int(ip_address(self._mask()))
        return str(type(ip_address(one))(number))

    def _of_version(self, sign: str) -> list[Callable[[], str]]:
        draw = self.draw
        if self.version == 4:
            return [
                lambda: f"ip ttl {draw.choice(['<', '==', '!='])} {draw.choice([63, 64])}",
                lambda: f"ip dscp {sign}{draw.choice(['cs0', 'cs1', 'af11'])}",
                lambda: f"icmp type {draw.choice(['echo-request', 'echo-reply'])}",
                lambda: f"ip protocol {sign}tcp",
            ]
        return [
            lambda: f"ip6 hoplimit {draw.choice(['<', '==', '!='])} {draw.choice([63, 64])}",
            lambda: f"ip6 dscp {sign}cs0",
            lambda: f"icmpv6 type {draw.choice(['echo-request', 'echo-reply'])}",
            lambda: f"ip6 nexthdr {sign}tcp",
        ]

    def _of_devices(self, hook: str, sign: str) -> list[Callable[[], str]]:
        draw = self.draw
        name = draw.choice(["r0", "r1"])
        found: list[Callable[[], str]] = [
            lambda: f'iifname {sign}"{name}"',
            lambda: f'iifname {sign}"{draw.choice(["r*", "x*"])}"',
            lambda: f"iif {sign}{name}",
            lambda: f'oifname {sign}"{name}"',
            lambda: "meta iiftype ether",
        ]
        if hook == "prerouting":
            found.append(lambda: f"fib saddr . iif oif {draw.choice(['missing', 'exists'])}")
            found.append(lambda: f"fib daddr . iif type {sign}local")
        return found

    def _statement(self) -> str:
        draw = self.draw
        return draw.choice(
            [
                "counter",
                f"meta mark set {draw.choice(MARKS)}",
                "meta mark set meta mark | 0x4000",
                "meta mark set meta mark & 0xff ^ 0x2",
                "meta mark set meta mark << 2",
                "meta mark set meta mark >> 1",
                "ct mark set meta mark",
                "meta mark set ct mark",
                f"ct mark set {draw.choice(MARKS)}",
                f"meta mark set {self.ip} saddr map @marks",
                "meta mark set meta l4proto . th dport map @doors",
                "meta mark set numgen random mod 3",
                f"meta mark set jhash {self.ip} daddr mod 16 seed 5 offset 3",
                "meta mark set th dport map { 80 : 1, 443 : 2, 8000-9000 : 3 }",
                f"update @seen {{ {self.ip} saddr timeout 10m }}",
                f"add @seen {{ {self.ip} daddr }}",
                "tcp option maxseg size set rt mtu",
                f"{self.ip} dscp set cs1",
                {4: "ip ttl set 33", 6: "ip6 hoplimit set 33"}[self.version],
            ]
        )

    def _end(self, hook: str) -> str:
        draw = self.draw
        ends = ["accept", "return", "accept", "return"] + ["drop"] * (draw.random() < 0.4)
        callable_chains = self._chains.get("any", [])
        if hook.startswith("nat") or hook in ("nat-prerouting", "nat-postrouting"):
            ends += self._translations(hook) * 2
        for name in callable_chains:
            if hook != "any":  # which could call itself
                ends += [f"jump {name}", f"goto {name}"]
                ends.append(
                    f"th dport vmap {{ 80 : jump {name}, 53 : accept, 400-500 : goto {name} }}"
                )
                ends.append(f"numgen random mod 2 vmap {{ 0 : jump {name}, 1 : continue }}")
                ends.append(
                    f"meta l4proto . th dport vmap {{ tcp . 80 : goto {name}, udp . 53 : return }}"
                )
                key = f"{self._key()}"
                ends.append(
                    f"{self.ip} daddr . meta l4proto . th dport vmap {{ {key} : jump {name}, "
                    f"{draw.choice(self._anywhere)} . tcp . 1 : drop }}"
                )
                ends.append(f"ct state vmap {{ established : accept, new : jump {name} }}")
        if hook in ("input", "forward"):
            ends += ["reject", "reject with tcp reset"][: draw.randint(0, 1)]
        if hook == "prerouting" and draw.random() < 0.1:
            ends.append("notrack")
        return draw.choice(ends)

    def _translations(self, hook: str) -> list[str]:
        draw, ip = self.draw, self.ip
        to = draw.choice(TARGETS[self.version])
        shown = to if self.version == 4 else f"[{to}]"
        ports = "meta l4proto { tcp, udp }"
        if hook == "nat-prerouting":
            return [
                f"dnat {ip} to {to}",
                f"{ports} dnat {ip} to {shown}:{draw.choice(PORTS)}",
                f"{ports} dnat {ip} to numgen random mod 3 map @backends",
                f"dnat {ip} to {ip} saddr map {{ {SOURCES[self.version][0]} : {to} }}",
                f"dnat {ip} to jhash {ip} saddr mod 2 seed 3 map {{ 0 : {to}, "
                f"1 : {TARGETS[self.version][0]} }}",
                f"{ports} redirect to :{draw.choice(PORTS)}",
                "redirect",
            ]
        if hook == "nat-postrouting":
            own = OWN[self.version][1]
            return [
                f"snat {ip} to {own}",
                "masquerade",
                "masquerade fully-random",
                f"{ports} masquerade to :2000-60000",
            ]
        return [f"snat {ip} to {OWN[self.version][1]}"] if hook == "nat-input" else []
