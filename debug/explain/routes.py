"""Routes of a namespace that was read whole, asked as the kernel is: pure.

Source: net/core/fib_rules.c, net/ipv4/fib_frontend.c (fib_validate_source), ip-rule(8).
"""

from collections.abc import Mapping
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from debug.kernel.values import Link, Route, Rule, SpaceState
from debug.ruleset.packet import Address, Device
from debug.ruleset.read.fib import LinkFact, Questions, RouteFact
from debug.ruleset.registers import UnknownError

_TO_TABLE, _REFUSED = 1, {6: "blackhole", 7: "unreachable", 8: "prohibit"}
Network = IPv4Network | IPv6Network
_Table = Mapping[int, Mapping[int, list[Route]]]  # by prefix length and network


class SavedFib(Questions):
    """The routes and addresses of one namespace. Raises UnknownError."""

    def __init__(self, state: SpaceState) -> None:
        self._state = state

    @cached_property
    def links(self) -> Mapping[int, LinkFact]:
        """See ``Questions``."""
        return {one.index: _fact(one) for one in self._state.links}

    @cached_property
    def addresses(self) -> list[tuple[int, Address, int, bool]]:
        """See ``Questions``. Which are secondary follows from their order, as in the kernel."""
        seen: set[tuple[int, Network]] = set()
        found = []
        for one in self._state.addresses:
            text, _, length = one.ip.partition("/")
            network = (one.link, ip_network(one.ip, strict=False))
            is_second = network in seen and ":" not in text
            seen.add(network)
            found.append((one.link, ip_address(text), int(length), is_second))
        return found

    def route(
        self,
        to: Address,
        *,
        source: Address | None = None,
        iif: int = 0,
        oif: int = 0,
        mark: int = 0,
        ports: tuple[int, int, int] | None = None,
    ) -> RouteFact:
        """See ``Questions``."""
        del ports  # a rule that asks for them is not known here
        if to.is_multicast:
            return RouteFact("multicast")
        found = self._looked_up(to, source, iif, oif, mark)
        if iif and not found.refused:
            return self._received(found, source, iif)
        return found

    def _looked_up(
        self, to: Address, source: Address | None, iif: int, oif: int, mark: int
    ) -> RouteFact:
        for rule in self._rules(to.version):
            if not self._matches(rule, to, source, iif, oif, mark):
                continue
            if rule.action in _REFUSED:
                return RouteFact("unreachable", refused=f"a rule says {_REFUSED[rule.action]}")
            if rule.action != _TO_TABLE:
                raise UnknownError(f"a routing rule of action {rule.action}")
            found = self._in_table(rule.table, to, oif)
            if found is not None and found.kind != "throw":
                return self._fact(found, to)
        return RouteFact("unreachable", refused="Network is unreachable")

    def _rules(self, version: int) -> list[Rule]:
        found = [one for one in self._state.rules if one.family == version]
        return sorted(found, key=lambda one: one.priority)

    def _matches(
        self, rule: Rule, to: Address, source: Address | None, iif: int, oif: int, mark: int
    ) -> bool:
        if rule.source and (source is None or source not in ip_network(rule.source)):
            return False
        if rule.destination and to not in ip_network(rule.destination):
            return False
        if rule.mark:
            value, mask = (int(part, 16) for part in rule.mark.split("/"))
            if mark & mask != value:
                return False
        if rule.iif and rule.iif != (self._name(iif) or "lo"):
            return False
        if rule.oif and rule.oif != self._name(oif):
            return False
        if rule.other:
            raise UnknownError(f"a routing rule that asks for {', '.join(rule.other)}")
        return True

    def _name(self, index: int) -> str:
        link = self.links.get(index)
        return link.device.name if link else ""

    @cached_property
    def _tables(self) -> Mapping[tuple[int, int], _Table]:
        found: dict[tuple[int, int], dict[int, dict[int, list[Route]]]] = {}
        for one in self._state.routes:
            network = ip_network(one.destination, strict=False)
            table = found.setdefault((network.version, one.table), {})
            number = int(network.network_address)
            table.setdefault(network.prefixlen, {}).setdefault(number, []).append(one)
        return found

    def _in_table(self, table: int, to: Address, oif: int) -> Route | None:
        lengths = self._tables.get((to.version, table), {})
        for length in sorted(lengths, reverse=True):
            number = int(to) >> to.max_prefixlen - length << to.max_prefixlen - length
            usable = [one for one in lengths[length].get(number, ()) if self._is_usable(one, oif)]
            if usable:
                return _best(usable)
        return None

    def _is_usable(self, route: Route, oif: int) -> bool:
        if oif and route.link != oif:
            return False
        link = self.links.get(route.link)
        return link is None or link.up

    def _fact(self, route: Route, to: Address) -> RouteFact:
        if route.kind in _REFUSED.values():
            return RouteFact("unreachable", refused=f"the route is {route.kind}")
        source = route.source
        if route.kind == "local":
            source = str(to)
        elif not source and (link := self.links.get(route.link)):
            source = self._preferred(
                link.device, ip_address(route.gateway) if route.gateway else to
            )
        return RouteFact(route.kind, route.link, route.gateway, source)

    def _preferred(self, device: Device, toward: Address) -> str:
        """Return the address that packets by a device get; "" if there is none."""
        if toward.version == 4:
            try:
                return str(self.own_address(device, toward))
            except UnknownError:
                return ""
        own = [one for link, one, *_ in self.addresses if link == device.index]
        wide = [one for one in own if one.version == 6 and not one.is_link_local]
        if not wide or toward.is_link_local:
            wide = [one for one in own if one.version == 6]
        return str(max(wide, key=lambda one: _alike(one, toward))) if wide else ""

    def _received(self, found: RouteFact, source: Address | None, iif: int) -> RouteFact:
        """Return the route of a packet that a link received: it may be refused."""
        name, sysctls = self._name(iif), self._state.sysctls
        if source is None or source.version == 6:
            forwards = sysctls.get("net/ipv6/conf/all/forwarding") != "0"
            return found if forwards or found.kind == "local" else _NO_ROUTE
        if self._looked_up(source, None, 0, 0, 0).kind == "local":
            return RouteFact("unreachable", refused="Invalid argument")  # a martian
        kinds = [sysctls.get(f"net/ipv4/conf/{one}/rp_filter", "0") for one in ("all", name)]
        if filters := max(map(int, kinds)):
            back = self._looked_up(source, None, 0, 0, 0)
            if back.refused or (filters == 1 and back.device != iif):
                return RouteFact("unreachable", refused="Invalid cross-device link")
        forwards = sysctls.get(f"net/ipv4/conf/{name}/forwarding") != "0"
        return found if forwards or found.kind != "unicast" else _NO_ROUTE


_NO_ROUTE = RouteFact("unreachable", refused="No route to host")


def _best(routes: list[Route]) -> Route:
    """Return the route of the lowest metric; raises UnknownError if the kernel draws one."""
    least = min(one.metric for one in routes)
    found = [one for one in routes if one.metric == least]
    if len({(one.link, one.gateway) for one in found}) > 1 and found[0].kind == "unicast":
        raise UnknownError(f"one of {len(found)} paths to {found[0].destination}, by a hash")
    return found[0]


def _alike(one: Address, other: Address) -> int:
    """The bits at their beginning that two addresses have in common (RFC 6724, rule 8)."""
    return one.max_prefixlen - (int(one) ^ int(other)).bit_length()


def _fact(link: Link) -> LinkFact:
    device = Device(link.index, link.name, link.kind, link.group, link.hardware)
    mac = bytes.fromhex(link.mac.replace(":", "")) if _is_mac(link.mac) else b""
    netns = None if link.peer_netns < 0 else link.peer_netns
    return LinkFact(
        device, link.up, link.mtu, link.master, link.peer, netns, mac, bool(link.hairpin)
    )


def _is_mac(text: str) -> bool:
    return all(len(part) == 2 for part in text.split(":")) and ":" in text
