"""The namespaces of a snapshot, asked as the kernel's own are: pure."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from ipaddress import ip_address

from debug.explain.connections import entry_of, kind_asked
from debug.explain.routes import SavedFib
from debug.explain.space import Space, Spaces, Tunnel
from debug.kernel.conntrack import Tracked
from debug.kernel.values import Link, SpaceState
from debug.places import Ground, Place
from debug.ruleset.packet import Device, Entry, Packet, Tuple
from debug.ruleset.registers import UnknownError
from debug.ruleset.saved import SavedRules
from debug.snapshot import Snapshot, SpaceSnapshot

_REACHED = ("reachable", "stale", "delay", "probe", "permanent")
_NOBODY = "00:00:00:00:00:00"
_Key = tuple[int, bytes, bytes, int, int, int]  # protocol, addresses, ports, kind of ICMP


class SavedSpace(Space):
    """A namespace of a snapshot."""

    def __init__(self, place: Place, found: SpaceSnapshot, *, asks_conntrack: bool) -> None:
        self.place = place
        self.rules: SavedRules = found.rules or SavedRules()
        self.fib: SavedFib = SavedFib(found.state)
        self.identity, self.peers = found.identity, found.peers
        self._found, self._asks_conntrack = found, asks_conntrack

    @property
    def _state(self) -> SpaceState:
        return self._found.state

    def close(self) -> None:
        """See ``Space``: nothing is open."""

    def sysctl(self, name: str) -> str | None:
        """See ``Space``."""
        return self._state.sysctls.get(name)

    def connection(self, packet: Packet, ends: Tuple, *, answer: bool = False) -> Entry | None:
        """See ``Space``."""
        if not self._asks_conntrack:
            return None
        kind = kind_asked(packet, answer=answer)
        addresses = ends.source, ends.destination, ends.source_port, ends.destination_port
        found = self._connections.get((packet.protocol, *addresses, kind))
        if found is None and self._found.left_out:
            raise UnknownError(f"conntrack: {self._found.left_out} entries were not kept")
        return found

    @cached_property
    def _connections(self) -> Mapping[_Key, Entry]:
        return {key: entry for flow in self._found.connections for key, entry in _entries(flow)}

    def number_of(self, other: Space) -> int | None:
        """See ``Space``."""
        wanted = other.identity if isinstance(other, SavedSpace) else 0
        return next((number for number, one in self.peers.items() if one == wanted), None)

    def hardware_address(self, device: Device, address: str) -> bytes | None:
        """See ``Space``."""
        for one in self._state.neighbors:
            if (one.link, one.ip) == (device.index, address) and one.state in _REACHED and one.mac:
                return bytes.fromhex(one.mac.replace(":", ""))
        return None

    def tunnel_end(self, device: Device, mac: bytes) -> str | None:
        """See ``Space``."""
        known = {
            one.mac: one.destination
            for one in self._state.forwarding
            if one.link == device.index and one.destination
        }
        return known.get(mac.hex(":")) or known.get(_NOBODY)

    def _link(self, device: Device) -> Link:
        found = self._state.link(device.index)
        if found is None:
            raise LookupError(f"{self.name} has no link {device.name}")
        return found

    def tunnel(self, device: Device) -> Tunnel:
        """See ``Space``."""
        link = self._link(device)
        return Tunnel(link.vni or 0, link.port or 0, link.local)

    def calls_rules(self, bridge: Device, version: int) -> bool:
        """See ``Space``."""
        word = {4: "iptables", 6: "ip6tables"}[version]
        every = self.sysctl(f"net/bridge/bridge-nf-call-{word}") == "1"
        return every or version in self._link(bridge).filtered


def _entries(flow: Tracked) -> Iterator[tuple[_Key, Entry]]:
    """Yield the keys of a connection's two directions."""
    entry = entry_of(flow)
    pairs = ((flow.original, entry.original), (flow.reply, entry.reply))
    for shown, ends in pairs:
        ports = ends.source_port, ends.destination_port
        yield (flow.number, ends.source, ends.destination, *ports, shown.kind), entry


class SavedSpaces(Spaces):
    """The namespaces of a snapshot."""

    def __init__(self, snapshot: Snapshot, *, new: bool = False) -> None:
        self._found = {_place(one): one for one in snapshot.spaces}
        super().__init__(tuple(self._found), new=new)

    def _make(self, place: Place) -> Space:
        return SavedSpace(place, self._found[place], asks_conntrack=self.asks_conntrack)


def _place(space: SpaceSnapshot) -> Place:
    return Place(space.node, 0, "", space.pod)


def ground_of(snapshot: Snapshot) -> Ground:
    """Return the places of a snapshot; none of them can be entered."""
    return Ground(tuple(map(_place, snapshot.spaces)))


def addresses_in(snapshot: Snapshot, place: Place) -> Iterator[str]:
    """Yield the addresses of a place, of IPv4 first."""
    found = [one for one in snapshot.spaces if _place(one) == place]
    every = [ip_address(one.ip.split("/")[0]) for each in found for one in each.state.addresses]
    for address in sorted(every, key=lambda one: one.version):
        if not address.is_loopback and not address.is_link_local:
            yield str(address)
