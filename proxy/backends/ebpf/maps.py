"""The maps in the kernel that all programs share."""

from collections.abc import Iterable, Mapping

from msgspec.structs import asdict

from proxy.backends.ebpf import policy
from proxy.backends.ebpf.contents import MapChanges
from proxy.backends.ebpf.layout import PRESENT, pack_address
from proxy.backends.ebpf.libbpf import BpfMap, BpfObject, Libbpf
from proxy.backends.ebpf.mounts import MAPS
from proxy.backends.ebpf.room import MapRoom
from proxy.model.values import Address

_TABLES = (
    "settings",
    "frontends",
    "endpoints",
    "seats",
    "members",
    "ranges",
    "node_addresses",
    "connections",
    "traffic",
)
_MEMORIES = ("callees", "choices", "sent_on", "clients", "parties", "opened", "loads")
_LAYOUT = 2  # of the memories' structures; a proxy with another layout begins with new memories
_LEAST = 65536  # entries that each table has room for
_SPARE = 4  # a new table has room for this many times its first entries


class SharedMaps:
    """Tables are new with each load of the programs. Memories outlive the load."""

    def __init__(self) -> None:
        self._maps: dict[str, BpfMap] = {}

    def prepare(self, fresh: BpfObject, room: MapRoom) -> None:
        """Give an object's tables the room that they need, and let it use the pinned memories."""
        for name, entries in asdict(room).items():
            fresh.resize(name, max(_LEAST, entries * _SPARE))
        for name in _MEMORIES:
            fresh.share(name, MAPS / memory_pin(name))

    def open(self, loaded: BpfObject, library: Libbpf) -> None:
        """Write to the maps of a loaded object from now on."""
        for old in self._maps.values():
            old.close()
        names = (*_TABLES, *_MEMORIES)
        self._maps = {name: BpfMap(library, loaded.map_fd(name), name) for name in names}

    def lend(self, other: BpfObject) -> None:
        """Let the programs of another object, which is not loaded yet, use these maps."""
        for name, shared in self._maps.items():
            other.reuse(name, shared)

    def set_node(self, settings: bytes, addresses: Iterable[Address]) -> None:
        """Write what new tables hold beside Services. ``addresses`` serve NodePorts."""
        self._maps["settings"].update({bytes(4): settings})
        self._maps["node_addresses"].update(
            {pack_address(address): PRESENT for address in addresses}
        )

    def write(self, changes: MapChanges) -> None:
        """Apply changes in an order in which no frontend names entries that do not exist."""
        maps: Mapping[str, BpfMap] = self._maps
        maps["endpoints"].update(changes.endpoints)
        maps["seats"].update(changes.seats)
        maps["members"].update(changes.members)
        maps["ranges"].update(changes.ranges)
        maps["frontends"].update(changes.frontends)
        maps["frontends"].delete(changes.gone_frontends)
        maps["endpoints"].delete(changes.gone_endpoints)
        maps["seats"].delete(changes.gone_seats)
        maps["members"].delete(changes.gone_members)
        maps["ranges"].delete(changes.gone_ranges)

    def pin(self) -> None:
        """Pin the tables in the BPF file system, and unpin maps of earlier releases.

        libbpf pins the memories when it loads them.
        """
        for name in _TABLES:
            self._maps[name].pin(MAPS / name)
        ours = {*_TABLES, *map(memory_pin, _MEMORIES), *map(policy.pin_name, policy.NAMES)}
        for path in MAPS.iterdir():
            if path.name not in ours:
                path.unlink()


def memory_pin(name: str) -> str:
    """Return the name of a memory's pin."""
    return f"{name}-{_LAYOUT}"
