"""The maps in the kernel that every program shares."""

from collections.abc import Iterable, Mapping

from proxy.backends.ebpf.group import MAPS
from proxy.backends.ebpf.layout import PRESENT, pack_address
from proxy.backends.ebpf.libbpf import BpfMap, BpfObject, Libbpf
from proxy.backends.ebpf.table import MapChanges
from proxy.model.values import Address

_TABLES = (
    "settings",
    "frontends",
    "endpoints",
    "seats",
    "members",
    "ranges",
    "places",
    "tallies",
    "traffics",
)
_MEMORIES = ("callees", "choices", "sent_on", "clients", "parties", "opened", "loads")
_LAYOUT = 2  # of the memories: a proxy with another one begins new ones
_LEAST = 65536  # entries for which each table has room
_SPARE = 4  # times what is there when it is made


class SharedMaps:
    """Tables are new with each load of the programs; memories outlive it."""

    def __init__(self) -> None:
        self._maps: dict[str, BpfMap] = {}

    def prepare(self, fresh: BpfObject, contents: MapChanges) -> None:
        """Give an object's tables the room that they need, and its memories their content."""
        for name, entries in (
            ("frontends", contents.frontends),
            ("endpoints", contents.endpoints),
            ("seats", contents.seats),
            ("members", contents.members),
            ("ranges", contents.ranges),
        ):
            fresh.resize(name, max(_LEAST, len(entries) * _SPARE))
        for name in _MEMORIES:
            fresh.share(name, MAPS / _memory(name))

    def open(self, loaded: BpfObject, library: Libbpf) -> None:
        """Write to the maps of a loaded object from now on."""
        for one in self._maps.values():
            one.close()
        names = (*_TABLES, *_MEMORIES)
        self._maps = {name: BpfMap(library, loaded.map_fd(name), name) for name in names}

    def lend(self, other: BpfObject) -> None:
        """Let the programs of an object that is not loaded yet use these maps."""
        for name, one in self._maps.items():
            other.reuse(name, one)

    def fill(self, settings: bytes, addresses: Iterable[Address], contents: MapChanges) -> None:
        """Write everything into new tables; ``addresses`` serve NodePorts."""
        self._maps["settings"].update({bytes(4): settings})
        self._maps["places"].update({pack_address(one): PRESENT for one in addresses})
        self.write(contents)

    def write(self, change: MapChanges) -> None:
        """Follow a change, so that no frontend ever names what is not there."""
        maps: Mapping[str, BpfMap] = self._maps
        maps["endpoints"].update(change.endpoints)
        maps["seats"].update(change.seats)
        maps["members"].update(change.members)
        maps["ranges"].update(change.ranges)
        maps["frontends"].update(change.frontends)
        maps["frontends"].delete(change.gone_frontends)
        maps["endpoints"].delete(change.gone_endpoints)
        maps["seats"].delete(change.gone_seats)
        maps["members"].delete(change.gone_members)
        maps["ranges"].delete(change.gone_ranges)

    def pin(self) -> None:
        """Show the tables in the BPF file system, where the memories are by themselves; and nothing
        that an earlier release left.
        """
        for name in _TABLES:
            self._maps[name].pin(MAPS / name)
        ours = {*_TABLES, *(_memory(name) for name in _MEMORIES)}
        for path in MAPS.iterdir():
            if path.name not in ours:
                path.unlink()


def _memory(name: str) -> str:
    return f"{name}-{_LAYOUT}"
