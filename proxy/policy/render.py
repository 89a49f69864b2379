"""The policies of one family as nftables' objects: pure.

::

    forward ── a tracked flow ──► accept
       │ egress: source address ──► eg-N ── any port ──► to group? port ──► to group?  no ──► drop
       │         unknown, on a bridge of Pods ──► drop          │ yes
       ▼                                                        ▼
    arrive ── ingress: destination address ──► in-N … the same with the source … accept or drop

A Pod's address is one element of ``egress`` and one of ``ingress``, open or isolated. Pods with the
same rules share a chain, chains share groups. So a packet's cost grows with nothing.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from proxy.backends.nftables.objects import Chain, Element, SetOrMap, TableObject
from proxy.model.values import Address, Family, Network, text_of
from proxy.policy.numbers import Numbers
from proxy.policy.profile import Group, NamedDoor, Profile
from proxy.policy.values import AddressRange, BlockPeer, Direction

TABLE = "podwire-policy"
LOG_GROUP = 87  # NFLOG; podwire's routes have this number too
SNAPLEN = 128  # bytes of a logged packet: its headers
EGRESS, INGRESS, RANGES, BRIDGES, ITSELF = "egress", "ingress", "ranges", "bridges", "itself"
UNKNOWN_FROM, UNKNOWN_TO = "unknown-from", "unknown-to"
DROPPED = {Direction.EGRESS: "dropped-egress", Direction.INGRESS: "dropped-ingress"}
# Neighbor discovery and multicast listeners (RFC 4861, RFC 2710, RFC 3810): without them there is
# no IPv6 on a link, and no policy means to forbid them.
_LINK_KEEPING = "icmpv6 type { 130, 131, 132, 133, 134, 135, 136, 137, 143 } accept"
_LOGS = 'limit rate 100/second burst 200 packets log group {} snaplen {} prefix "{}"'
_ABBREVIATED = {Direction.EGRESS: "eg", Direction.INGRESS: "in"}


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
        for name in DROPPED.values():
            yield SetOrMap("set", name, f"type {address}; counter;")
        keeping = () if self.family is Family.V4 else (_LINK_KEEPING,)
        yield Chain(
            "forward",
            (
                "ct state vmap { established : accept, related : accept }",
                *keeping,
                f"{ip} saddr . {ip} daddr @{ITSELF} accept",
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
            ),
        )
        for direction, which in ((Direction.EGRESS, "saddr"), (Direction.INGRESS, "daddr")):
            yield self._dropping(DROPPED[direction], f"{ip} {which} @{DROPPED[direction]}")
        for name in (UNKNOWN_FROM, UNKNOWN_TO):
            yield self._dropping(name, "counter")

    def _dropping(self, name: str, count: str) -> Chain:
        return Chain(name, (count, _LOGS.format(LOG_GROUP, SNAPLEN, name), "drop"))

    def place(self, ranges: Iterable[Network], bridges: Iterable[str]) -> Iterator[TableObject]:
        """Yield the ranges of this node's Pods, and the bridges where they meet."""
        for one in ranges:
            if one.version == self.family:
                yield Element(RANGES, str(one))
        for name in bridges:
            yield Element(BRIDGES, f'"{name}"')

    def post(
        self, address: Address, ingress: Profile | None, egress: Profile | None
    ) -> Iterator[TableObject]:
        """Yield what guards an address of this node's."""
        text = text_of(address)
        yield Element(EGRESS, text, f"goto {self._chain(egress)}" if egress else "goto arrive")
        yield Element(INGRESS, text, f"goto {self._chain(ingress)}" if ingress else "accept")
        yield Element(ITSELF, f"{text} . {text}")
        for direction, found in ((Direction.EGRESS, egress), (Direction.INGRESS, ingress)):
            if found:
                yield Element(DROPPED[direction], text)

    def profile(self, profile: Profile) -> Iterator[TableObject]:
        """Yield a profile's chain, with its map of ports."""
        name, ok = self._chain(profile), self._onward(profile.direction)
        rules = [*self._look_up(profile.always, profile.direction)]
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
        ok = self._onward(direction)
        if group is None:
            yield ok
        elif group:
            peer = "daddr" if direction is Direction.EGRESS else "saddr"
            for store in ("pods", "blocks"):
                yield f"{self._ip} {peer} @{store}-{self.numbers.of(group)} {ok}"

    def _onward(self, direction: Direction) -> str:
        return "goto arrive" if direction is Direction.EGRESS else "accept"

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
