"""What podwire's eBPF programs have of each frontend, as values that a JSON file can hold."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address

from msgspec import Struct

from debug.places import Place, inside
from proxy.backends.ebpf.mounts import MAPS
from proxy.backends.installed import Installed, InstalledKind, Share, Shares
from proxy.desired.portals import Frontend, Masquerade
from proxy.model.values import Family, Protocol, Target

_PINNED = MAPS.relative_to("/") / "frontends"
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
    masquerade: str = ""


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
        sources=() if saved.has_sources else None,
    )
    return key, made


def _restored_shares(shares: SavedShares) -> Shares:
    return tuple(Share(Target.of(ip_address(ip), port), part) for ip, port, part in shares)
