"""What podwire's eBPF programs have of each frontend, as values that a JSON file can hold."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network

from msgspec import Struct

from debug.places import Place, inside
from proxy.backends.ebpf.layout import PodRanges
from proxy.backends.ebpf.mounts import MAPS
from proxy.backends.installed import Installed, InstalledKind, Share, Shares
from proxy.desired.portals import Frontend, Masquerade
from proxy.model.values import Address, Family, Protocol, Target, family_of

_PINNED = MAPS.relative_to("/") / "frontends"
Entries = tuple[tuple[bytes, bytes], ...]  # of one map, key and value
SavedShares = tuple[tuple[str, int, float], ...]  # address, port, part of the new connections


class SavedFrontend(Struct, frozen=True, omit_defaults=True):
    """A frontend, as far as it decides about a process's call."""

    family: int
    port: int
    protocol: str
    name: str
    address: str = ""  # "": any of the node's own
    shares: SavedShares = ()
    inside: SavedShares | None = None
    affinity: int | None = None  # seconds
    has_sources: bool = False
    sources: tuple[str, ...] = ()  # ranges
    masquerade: str = ""


class SavedClient(Struct, frozen=True, omit_defaults=True):
    """A client of a Service with session affinity, and the endpoint that programs remember."""

    portal: int
    address: str
    endpoint: str
    port: int
    age: float  # seconds since it called


def clients(node: Place) -> Iterator[SavedClient]:
    """Yield what a node's programs remember of clients. Raises KernelRefusedError."""
    from proxy.backends.ebpf.installed.clients import sticky_clients  # only in mode ebpf

    for one in sticky_clients(node.root):
        ends = str(one.address), one.endpoint.host, one.endpoint.port
        yield SavedClient(one.portal, *ends, one.age)


def client(node: Place, portal: int, address: Address) -> SavedClient | None:
    """Return what a node's programs remember of one client. Raises KernelRefusedError."""
    from proxy.backends.ebpf.installed.clients import sticky_client  # only in mode ebpf

    found = sticky_client(portal, address, node.root)
    if found is None:
        return None
    ends = str(found.address), found.endpoint.host, found.endpoint.port
    return SavedClient(found.portal, *ends, found.age)


def has_programs(node: Place) -> bool:
    """Return True if a node's calls and frames go through podwire's programs."""
    return (node.root / _PINNED).exists()


def frontends(node: Place) -> Mapping[Frontend, Installed]:
    """Read the maps of a node. Raises KernelRefusedError, PlaceError."""
    from proxy.backends.ebpf.installed import maps as ebpf  # only in mode ebpf
    from proxy.backends.nftables import installed as nftables

    rules = inside(node, nftables.installed)
    layer = ebpf.installed(rules.frontends if rules else {}, node.root)
    return layer.frontends if layer else {}


def serving(
    served: Mapping[Frontend, Installed], to: Address, port: int, protocol: str, *, of_node: bool
) -> Installed | None:
    """Return what serves an address and a port; ``of_node``: one that has NodePorts, too.

    The protocol is TCP, UDP or SCTP, in any letters.
    """
    for address in (to, None) if of_node else (to,):
        key = Frontend(family_of(to), address, port, Protocol(protocol.upper()))
        if (found := served.get(key)) is not None:
            return found
    return None


def tables(node: Place) -> dict[str, Entries]:
    """Read the tables of a node's programs, each by its name; none without programs.

    Raises KernelRefusedError.
    """
    if not has_programs(node):
        return {}
    from proxy.backends.ebpf.installed.tables import read_tables  # only in mode ebpf

    return dict(read_tables(node.root))


def pod_ranges(node: Place) -> PodRanges:
    """Read how a node's programs know Pods. Raises KernelRefusedError."""
    from proxy.backends.ebpf.installed.maps import MapReader  # only in mode ebpf

    with MapReader(node.root / MAPS.relative_to("/")) as reader:
        return reader.pod_ranges()


def saved(found: Mapping[Frontend, Installed]) -> Iterator[SavedFrontend]:
    """Yield frontends as values of a file."""
    for key, one in found.items():
        yield SavedFrontend(
            int(key.family),
            key.port,
            str(key.protocol),
            one.name,
            str(key.address) if key.address else "",
            _saved_shares(one.shares),
            None if one.inside is None else _saved_shares(one.inside),
            one.affinity,
            one.sources is not None,
            tuple(map(str, one.sources or ())),
            one.masquerade.name if one.masquerade else "",
        )


def _saved_shares(shares: Shares) -> SavedShares:
    return tuple((one.target.host, one.target.port, one.part) for one in shares)


def restored(saved: SavedFrontend) -> tuple[Frontend, Installed]:
    """Return a frontend of a file. Raises ValueError, KeyError."""
    address = ip_address(saved.address) if saved.address else None
    key = Frontend(Family(saved.family), address, saved.port, Protocol(saved.protocol))
    made = Installed(
        key,
        InstalledKind.EXTERNAL,
        saved.name,
        _restored_shares(saved.shares),
        None if saved.inside is None else _restored_shares(saved.inside),
        affinity=saved.affinity,
        masquerade=Masquerade[saved.masquerade] if saved.masquerade else None,
        sources=tuple(map(ip_network, saved.sources)) if saved.has_sources else None,
    )
    return key, made


def _restored_shares(shares: SavedShares) -> Shares:
    return tuple(Share(Target.of(ip_address(ip), port), part) for ip, port, part in shares)
