"""The policies of one family as nftables' objects: pure.

::

    forward ── a tracked flow ──► accept
       │ egress: source address ──► eg-N ── any port ──► to group? port ──► to group?  no ──► drop
       │         unknown, on a bridge of Pods ──► drop          │ yes
       ▼                                                        ▼
    arrive ── ingress: destination address ──► in-N … the same with the source … accept or drop

Where ClusterNetworkPolicies have a say, a course stands before the profile: it jumps into the
ranking of a tier, which comes back if no rule of it decides; see ``ranking``.

A Pod's address is one element of ``egress`` and one of ``ingress``, open or isolated. Pods with the
same rules share a chain, chains share groups. So a packet's cost grows with nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

from proxy.backends.nftables.objects import Chain, Element, SetOrMap, TableObject
from proxy.model.values import Address, Family, Network, Protocol, text_of
from proxy.policy.index import PolicyIndex
from proxy.policy.numbers import Numbers
from proxy.policy.posts import Post, Shared
from proxy.policy.profile import Group, NamedDoor, Profile
from proxy.policy.tiers.networks import cut_networks
from proxy.policy.tiers.ranking import Course, Ladder, Ranking
from proxy.policy.values import Action, AddressRange, BlockPeer, Direction

TABLE = "podwire-policy"
LOG_GROUP = 87  # NFLOG; podwire's routes have this number too
SNAPLEN = 128  # bytes of a logged packet: its headers
EGRESS, INGRESS, RANGES, BRIDGES, ITSELF = "egress", "ingress", "ranges", "bridges", "itself"
TAKEN = "taken"  # addresses that containers have got; who writes it: cni_plugin/linux/tenancy.py
UNKNOWN_FROM, UNKNOWN_TO = "unknown-from", "unknown-to"
DROPPED = {Direction.EGRESS: "dropped-egress", Direction.INGRESS: "dropped-ingress"}
DENIED = {Direction.EGRESS: "denied-egress", Direction.INGRESS: "denied-ingress"}  # by a rule
# Neighbor discovery and multicast listeners (RFC 4861, RFC 2710, RFC 3810): without them there is
# no IPv6 on a link, and no policy means to forbid them.
LINK_KEEPING = "icmpv6 type { 130, 131, 132, 133, 134, 135, 136, 137, 143 } accept"
LOGS = (
    f'limit rate 100/second burst 200 packets log group {LOG_GROUP} snaplen {SNAPLEN} prefix "{{}}"'
)
# What a set has whose keys are whole addresses, protocols and ports: no range, no name.
_PLAIN_STORES = {EGRESS, INGRESS, ITSELF, TAKEN, *DROPPED.values(), *DENIED.values()}
_PLAIN_SORTS = {"pods", "named", "exact", *(action.lower() for action in Action)}
_ABBREVIATED = {Direction.EGRESS: "eg", Direction.INGRESS: "in"}


_PEER = {Direction.EGRESS: "daddr", Direction.INGRESS: "saddr"}


def onward(direction: Direction) -> str:
    """Return what becomes of a packet that a direction lets pass."""
    return "goto arrive" if direction is Direction.EGRESS else "accept"


def is_plain(one: TableObject) -> bool:
    """Return True for an element that ``bulk`` can pack; ranges and names have other parts."""
    if not isinstance(one, Element):
        return False
    sort, _, number = one.store.rpartition("-")
    return one.store in _PLAIN_STORES or (sort in _PLAIN_SORTS and number.isdigit())


def verdict(direction: Direction, action: Action) -> str:
    """Return what becomes of a packet by a rule of a ClusterNetworkPolicy."""
    return {
        Action.ACCEPT: onward(direction),
        Action.DENY: f"goto {DENIED[direction]}",
        Action.PASS: "return",
    }[action]


class PolicyRenderer:
    """Renders for one family. It numbers what it renders, and keeps the numbers."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._ip = "ip" if family is Family.V4 else "ip6"
        self._type = "ipv4_addr" if family is Family.V4 else "ipv6_addr"
        self.numbers = Numbers()

    def fixed(self) -> Iterator[TableObject]:
        """Yield what is there whatever the policies are."""
        ip, address = self._ip, self._type
        yield SetOrMap("map", EGRESS, f"type {address} : verdict;")
        yield SetOrMap("map", INGRESS, f"type {address} : verdict;")
        yield SetOrMap("set", ITSELF, f"type {address} . {address};")
        yield SetOrMap("set", RANGES, f"type {address}; flags interval;")
        yield SetOrMap("set", BRIDGES, "type ifname;")
        yield SetOrMap("set", TAKEN, f"type {address};")
        for name in (*DROPPED.values(), *DENIED.values()):
            yield SetOrMap("set", name, f"type {address}; counter;")
        keeping = () if self.family is Family.V4 else (LINK_KEEPING,)
        yield Chain(
            "forward",
            (
                "ct state vmap { established : accept, related : accept }",
                *keeping,
                f"{ip} saddr @{TAKEN} goto {UNKNOWN_FROM}",
                f"{ip} daddr @{TAKEN} goto {UNKNOWN_TO}",
                f"{ip} saddr vmap @{EGRESS}",
                f"{ip} saddr @{RANGES} goto {UNKNOWN_FROM}",
                f"iifname @{BRIDGES} goto {UNKNOWN_FROM}",
                "goto arrive",
            ),
            "type filter hook forward priority 10; policy accept;",
        )
        yield Chain(
            "arrive",
            (
                f"{ip} daddr vmap @{INGRESS}",
                f"{ip} daddr @{RANGES} goto {UNKNOWN_TO}",
                f"iifname @{BRIDGES} oifname @{BRIDGES} goto {UNKNOWN_TO}",
                "accept",  # a ranking may have led here, to which nothing may return
            ),
        )
        for direction, which in ((Direction.EGRESS, "saddr"), (Direction.INGRESS, "daddr")):
            for name in (DROPPED[direction], DENIED[direction]):
                yield self._dropping(name, f"{ip} {which} @{name}")
        for name in (UNKNOWN_FROM, UNKNOWN_TO):
            yield self._dropping(name, "counter")

    def _dropping(self, name: str, count: str) -> Chain:
        return Chain(name, (count, LOGS.format(name), "drop"))

    def place(self, ranges: Iterable[Network], bridges: Iterable[str]) -> Iterator[TableObject]:
        """Yield the ranges of this node's Pods, and the bridges where they meet."""
        for one in ranges:
            if one.version == self.family:
                yield Element(RANGES, str(one))
        for name in bridges:
            yield Element(BRIDGES, f'"{name}"')

    def post(self, address: Address, post: Post) -> Iterator[TableObject]:
        """Yield what guards an address of this node's."""
        text = text_of(address)
        yield Element(EGRESS, text, self._first(Direction.EGRESS, post.egress_course, post.egress))
        first = self._first(Direction.INGRESS, post.ingress_course, post.ingress)
        yield Element(INGRESS, text, first)
        yield Element(ITSELF, f"{text} . {text}")
        yield from (Element(DROPPED[one.direction], text) for one in post.profiles())
        yield from (Element(DENIED[one.direction], text) for one in post.courses())

    def _first(self, direction: Direction, course: Course | None, profile: Profile | None) -> str:
        if course is not None:
            return f"goto {self._named('course', course)}"
        return f"goto {self._chain(profile)}" if profile else onward(direction)

    def shared(self, one: Shared, index: PolicyIndex) -> Iterable[TableObject]:
        """Yield what several addresses may need."""
        match one:
            case Profile():
                return self.profile(one)
            case NamedDoor():
                return self.door(one, index.doors(one))
            case Ladder():
                return self.ladder(one, index.rungs(one))
            case Ranking():
                return self.ranking(one, index.exact(one))
            case Course():
                return self.course(one)
            case _:
                return self.group(one, index.addresses(one))

    def course(self, course: Course) -> Iterator[TableObject]:
        """Yield a course's chain."""
        rules = []
        if course.admin:
            rules.append(f"jump {self._named('rank', course.admin)}")
        if course.policies:
            rules.append(f"goto {self._chain(course.policies)}")
        elif course.baseline:
            rules.append(f"jump {self._named('rank', course.baseline)}")
        if not course.policies:
            rules.append(onward(course.direction))
        yield Chain(self._named("course", course), tuple(rules))

    def ranking(
        self, ranking: Ranking, exact: Mapping[tuple[Address, Protocol, int], Action]
    ) -> Iterator[TableObject]:
        """Yield a ranking's chain, with its maps of ports. A packet that comes to its end, or to
        that of a ladder, returns to the course.
        """
        number, rules = self.numbers.of(ranking), []
        if ranking.exact:
            rules.append(f"{self._ip} daddr . meta l4proto . th dport vmap @exact-{number}")
            spec = f"type {self._type} . inet_proto . inet_service : verdict;"
            yield SetOrMap("map", f"exact-{number}", spec)
            for (address, protocol, door), action in exact.items():
                if address.version == self.family:
                    key = f"{text_of(address)} . {protocol.lower()} . {door}"
                    yield Element(f"exact-{number}", key, verdict(ranking.direction, action))
        if ranking.doors:
            rules.append(f"meta l4proto . th dport vmap @doors-{number}")
            spec = "type inet_proto . inet_service : verdict; flags interval;"
            yield SetOrMap("map", f"doors-{number}", spec)
            for port, ladder in ranking.doors:
                span = f"{port.first}" if port.first == port.last else f"{port.first}-{port.last}"
                key = f"{port.protocol.lower()} . {span}"
                yield Element(f"doors-{number}", key, self._climb(ladder))
        yield Chain(self._named("rank", ranking), (*rules, self._climb(ranking.anywhere)))

    def _climb(self, ladder: Ladder) -> str:
        if ladder.settled is not None:
            return verdict(ladder.direction, ladder.settled)
        return f"goto {self._named('ladder', ladder)}"

    def ladder(self, ladder: Ladder, rungs: Mapping[Address, Action]) -> Iterator[TableObject]:
        """Yield a ladder's chain: the answer for Pods, that for networks, that for all others."""
        peer, rules = _PEER[ladder.direction], []
        # Sets, and no maps of verdicts: with each element that leads to a chain the kernel would
        # look at the whole table again, and nft 1.0.6 cannot write one for a range of addresses.
        nets = [*cut_networks(ladder.steps, self.family)]
        for sort, flags, actions in (
            ("", "", (action for group, action in ladder.steps if group)),
            ("nets-", " flags interval;", (action for _, action in nets)),
        ):
            for action in dict.fromkeys(actions):
                store = self._rungs(ladder, action, sort)
                yield SetOrMap("set", store, f"type {self._type};{flags}")
                rules.append(f"{self._ip} {peer} @{store} {verdict(ladder.direction, action)}")
        for address in rungs:
            if address.version == self.family:
                yield self.rung(ladder, address, rungs[address])
        for span, action in nets:
            yield Element(self._rungs(ladder, action, "nets-"), self._span(span))
        group, action = ladder.steps[-1]
        last = (verdict(ladder.direction, action),) if group is None else ()
        yield Chain(self._named("ladder", ladder), (*rules, *last))

    def rung(self, ladder: Ladder, address: Address, action: Action) -> Element:
        """Return the element of a Pod's address in a ladder."""
        return Element(self._rungs(ladder, action), text_of(address))

    def _rungs(self, ladder: Ladder, action: Action, sort: str = "") -> str:
        return f"{action.lower()}-{sort}{self.numbers.of(ladder)}"

    def _named(self, sort: str, what: Course | Ranking | Ladder) -> str:
        return f"{_ABBREVIATED[what.direction]}-{sort}-{self.numbers.of(what)}"

    def profile(self, profile: Profile) -> Iterator[TableObject]:
        """Yield a profile's chain, with its map of ports."""
        name, ok = self._chain(profile), onward(profile.direction)
        rules = [f"{self._ip} saddr . {self._ip} daddr @{ITSELF} {ok}"]
        rules += self._look_up(profile.always, profile.direction)
        rules += [
            f"{self._ip} daddr . meta l4proto . th dport @{self._door(door)} {ok}"
            for door in profile.named
        ]
        if profile.doors:
            store = f"ports-{self.numbers.of(profile)}"
            yield SetOrMap(
                "map", store, "type inet_proto . inet_service : verdict; flags interval;"
            )
            rules.append(f"meta l4proto . th dport vmap @{store}")
            for port, group in profile.doors:
                span = f"{port.first}" if port.first == port.last else f"{port.first}-{port.last}"
                then = ok if group is None else f"goto {self._asking(group, profile.direction)}"
                yield Element(store, f"{port.protocol.lower()} . {span}", then)
        if profile.always is not None:
            rules.append(f"goto {DROPPED[profile.direction]}")
        yield Chain(name, tuple(rules))

    def group(self, group: Group, addresses: Iterable[Address]) -> Iterator[TableObject]:
        """Yield a group's sets, and a chain for each direction that asks for it."""
        number = self.numbers.of(group)
        yield SetOrMap("set", f"pods-{number}", f"type {self._type};")
        yield SetOrMap("set", f"blocks-{number}", f"type {self._type}; flags interval;")
        for one in addresses:
            if one.version == self.family:
                yield self.member(group, one)
        for span in _merged(group, self.family):
            yield Element(f"blocks-{number}", self._span(span))
        for direction in Direction:
            dropping = f"goto {DROPPED[direction]}"
            yield Chain(
                self._asking(group, direction), (*self._look_up(group, direction), dropping)
            )

    def member(self, group: Group, address: Address) -> Element:
        """Return the element of a Pod's address in a group."""
        return Element(f"pods-{self.numbers.of(group)}", text_of(address))

    def door(self, door: NamedDoor, where: Iterable[tuple[Address, int]]) -> Iterator[TableObject]:
        """Yield the set of a named port."""
        name, protocol = self._door(door), door.port.protocol.lower()
        yield SetOrMap("set", name, f"type {self._type} . inet_proto . inet_service;")
        for address, port in where:
            if address.version == self.family:
                yield Element(name, f"{text_of(address)} . {protocol} . {port}")

    def _look_up(self, group: Group | None, direction: Direction) -> Iterator[str]:
        """Yield the rules that let pass who is in a group."""
        ok = onward(direction)
        if group is None:
            yield ok
        elif group:
            peer = _PEER[direction]
            for store in ("pods", "blocks"):
                yield f"{self._ip} {peer} @{store}-{self.numbers.of(group)} {ok}"

    def _asking(self, group: Group, direction: Direction) -> str:
        return f"{_ABBREVIATED[direction]}-group-{self.numbers.of(group)}"

    def _chain(self, profile: Profile) -> str:
        return f"{_ABBREVIATED[profile.direction]}-{self.numbers.of(profile)}"

    def _door(self, door: NamedDoor) -> str:
        return f"named-{self.numbers.of(door)}"

    def _span(self, span: AddressRange) -> str:
        kind = IPv4Address if self.family is Family.V4 else IPv6Address
        ends = [str(kind(number)) for number in (span.first, span.last)]
        return ends[0] if ends[0] == ends[1] else "-".join(ends)


def _merged(group: Group, family: Family) -> list[AddressRange]:
    """Return a group's blocks as ranges that neither overlap nor touch, in order."""
    spans = sorted(
        span
        for peer in group
        if isinstance(peer, BlockPeer)
        for span in peer.ranges
        if span.version == family
    )
    found: list[AddressRange] = []
    for span in spans:
        if found and span.first <= found[-1].last + 1:
            last = max(found[-1].last, span.last)
            found[-1] = AddressRange(family, found[-1].first, last)
        else:
            found.append(span)
    return found
