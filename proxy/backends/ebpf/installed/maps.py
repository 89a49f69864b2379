"""Reads from the pinned maps what the programs serve; nftables' table is beside them."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from proxy.backends.ebpf.layout import (
    ADMITTED,
    FORWARD,
    ROW,
    SETTINGS,
    SLOT,
    TARGET,
    ForwardEntry,
    PodRanges,
    Pool,
    pack_end,
    unpack_admitted,
    unpack_forward,
    unpack_row,
    unpack_settings,
    unpack_slot,
    unpack_target,
)
from proxy.backends.ebpf.libbpf import BpfMap, Libbpf, pinned
from proxy.backends.ebpf.maps import memory_pin
from proxy.backends.ebpf.mounts import LINKS, MAPS
from proxy.backends.ebpf.sockets import PROGRAMS
from proxy.backends.installed import Installed, InstalledKind, Layer, Shares, even
from proxy.desired.portals import Frontend, RefusalAction
from proxy.model.errors import KernelRefusedError
from proxy.model.values import PROTOCOL_NUMBERS, Address, Family, Network, Protocol, Target

BY = "ebpf"
_PROTOCOLS = {code: one for one, code in PROTOCOL_NUMBERS.items()}
_FAMILIES = {4: Family.V4, 6: Family.V6}

Beside = Mapping[Frontend, Installed]  # what nftables' table has, which knows names


def installed(beside: Beside, root: Path = Path("/")) -> Layer | None:
    """Return what the programs serve that are pinned below a node's ``root``; None if none are.

    Names and kinds are those of the table beside them; so is all that a frontend leaves to it.
    Raises KernelRefusedError.
    """
    maps = root / MAPS.relative_to("/")
    if not (maps / "frontends").exists():
        return None
    with MapReader(maps) as reader:
        found = {one.frontend: one for one in reader.frontends(beside)}
    return Layer(BY, found, tuple(_faults(root / LINKS.relative_to("/"))))


def _faults(links: Path) -> Iterator[str]:
    there = {path.name.partition("-")[2] for path in links.iterdir()} if links.exists() else set()
    for program in PROGRAMS:
        if program not in there:
            yield f"ebpf: the program {program} is not attached to the node's cgroup"


class MapReader:
    """The maps of one node, read when they are needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = Libbpf()
        self._open = ExitStack()
        self._slots: Mapping[tuple[int, int], Target] = {}
        self._rows: Mapping[tuple[int, int], tuple[int, ...]] = {}
        self._ranges: Mapping[int, list[Network]] = {}

    def __enter__(self) -> "MapReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def frontends(self, beside: Beside) -> Iterator[Installed]:
        """Yield every frontend. Raises KernelRefusedError."""
        found = self._entries("frontends", TARGET, FORWARD)
        self._slots = {
            unpack_slot(key): Target.of(*unpack_target(value)[:2])
            for key, value in self._entries("endpoints", SLOT, TARGET)
        }
        self._rows = {
            unpack_slot(key): unpack_row(value)
            for key, value in self._entries("seats", SLOT, 2 * ROW)
        }
        self._ranges = self._admitted()
        for key, value in found:
            frontend = _frontend(key)
            forward, known = unpack_forward(value), beside.get(frontend)
            if not forward.by_nftables:
                yield self._installed(frontend, forward, known)
            elif known is not None:
                yield known

    def pod_ranges(self) -> PodRanges:
        """Return how the programs know Pods. Raises KernelRefusedError."""
        return unpack_settings(self._map("settings").lookup(bytes(4), SETTINGS))

    def _installed(
        self, frontend: Frontend, forward: ForwardEntry, known: Installed | None
    ) -> Installed:
        inside = forward.inside if not forward.direct else None
        rejects = not forward.pool.count and forward.rejects
        refusal = None if forward.pool.count else RefusalAction.DROP
        return Installed(
            frontend,
            known.kind if known else _kind(frontend),
            known.name if known else "",
            self._pool(forward.pool),
            None if inside is None or rejects else self._pool(inside),
            RefusalAction.REJECT if rejects else refusal,
            (forward.affinity or None) if forward.pool.count or (inside and inside.count) else None,
            forward.masquerade if forward.pool.count or (inside and inside.count) else None,
            self._sources(forward) if not rejects else None,
        )

    def _pool(self, pool: Pool) -> Shares:
        """Return the endpoints of a pool, which packets choose by hash if it has rows of seats."""
        if (pool.number, 0) not in self._rows:
            return even(self._slots.get((pool.number, slot)) for slot in range(pool.count))
        rows = (self._rows.get((pool.number, row), ()) for row in range(-(-pool.count // ROW)))
        seats = [slot for row in rows for slot in row][: pool.count]
        return even(self._slots.get((pool.number, slot)) for slot in seats)

    def _sources(self, forward: ForwardEntry) -> tuple[Network, ...] | None:
        return tuple(self._ranges.get(forward.ranges, ())) if forward.ranges else None

    def _admitted(self) -> dict[int, list[Network]]:
        found: dict[int, list[Network]] = {}
        for key in self._map("ranges").keys(ADMITTED):
            number, network = unpack_admitted(key)
            found.setdefault(number, []).append(network)
        return found

    def _entries(self, name: str, key: int, value: int) -> list[tuple[bytes, bytes]]:
        return list(self._map(name).entries(key, value))

    def find(self, name: str, key: bytes, size: int) -> bytes | None:
        """Return the value of a key, of ``size`` bytes; None if there is none."""
        return self._map(name).find(key, size)

    def _map(self, name: str) -> BpfMap:
        fd = pinned(self._library, self._folder / name)
        if fd is None:
            raise KernelRefusedError(
                f"ebpf: there is no {self._folder / name}; a proxy that starts or ends replaces "
                "it: try again"
            )
        opened = BpfMap(self._library, fd, name, own=True)
        self._open.callback(opened.close)
        return opened


End = tuple[str, int]  # an address and a port


def flow_sent_on(maps: Path, protocol: str, client: End, called: End) -> tuple[Address, int] | None:
    """Return the endpoint on another node to which a node sends a flow as it is.

    Raises KernelRefusedError.
    """
    number = PROTOCOL_NUMBERS[Protocol(protocol)]
    key = pack_end(*client, 0) + pack_end(*called, number)
    with MapReader(maps) as reader:
        value = reader.find(memory_pin("sent_on"), key, TARGET)
    return unpack_target(value)[:2] if value else None


def _frontend(key: bytes) -> Frontend:
    address, port, protocol = unpack_target(key)
    where = None if address.is_unspecified else address
    return Frontend(_FAMILIES[address.version], where, port, _PROTOCOLS[protocol])


def _kind(frontend: Frontend) -> InstalledKind:
    at_node = frontend.address is None
    return InstalledKind.NODE_PORT if at_node else InstalledKind.EXTERNAL
