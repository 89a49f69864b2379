"""Reservations in host-local's files, with an index that finds an owner's addresses at once.

The file ``DATADIR/NETWORK/ADDRESS`` contains ``container-id CR LF ifname``. ``last_reserved_ip.N``
contains the address that range set N allocated last. A writer holds the flock of ``lock``.
host-local can use the same folder, before, after and together with this store. It reads every file
to find a container's addresses.

``DATADIR/.podwire/NETWORK/`` is the index. It has a symbolic link for each owner, whose target
lists the owner's addresses. The target also has ``wired`` if this plugin made the owner's
interface: without its interface a wired owner is gone. The index's ``.stamp`` names the state of
the folder and the boot that the index is for. If the stamp differs, for example after a crash or a
change by host-local, the index is rebuilt.
"""

# pathlib takes longer than the kernel, and each ADD does this a dozen times:
# ruff: noqa: PTH104, PTH108, PTH115, PTH116, PTH208, PTH211

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from cni_plugin.digest import blake2b
from cni_plugin.linux.files import put_through
from cni_plugin.spec.ranges import parse_last
from cni_plugin.spec.result import Address

DEFAULT_DATA_DIR = "/var/lib/cni/networks"
_INDEX = ".podwire"
_STAMP, _ASIDE, _PROBE = ".stamp", ".new", ".probe"
_LAST, _WIRED = "last_reserved_ip.", "wired"
_LINE_BREAK = "\r\n"
_BLOCK = 1 << 12  # bytes; the files are much shorter
_MOST_STATS = 64  # after so many taken addresses, listing the folder is faster than more stats


class Owner(NamedTuple):
    """The holder of an address. ``ifname`` is empty in files of an old host-local."""

    container_id: str
    ifname: str

    def __str__(self) -> str:
        return _LINE_BREAK.join(self) if self.ifname else self.container_id

    def __bytes__(self) -> bytes:
        """The content of a reservation's file: the interface's name in the kernel's bytes."""
        return str(self).encode(errors="surrogateescape")


def index_of(data_dir: Path) -> Path:
    """The folder of the networks' indexes."""
    return data_dir / _INDEX  # no network can have this name


def is_wired(data_dir: Path, network: str, owner: Owner) -> bool:
    """Return true if this plugin made an owner's interface. Needs no lock."""
    return _WIRED in _entries(f"{data_dir}/{_INDEX}/{network}/{_digest(owner)}")


class ReservationStore:
    """The reservations of one network. As a context manager it holds the network's lock."""

    def __init__(self, data_dir: Path, network: str, boot_id: str) -> None:
        self._directory = data_dir / network
        self._index = data_dir / _INDEX / network
        self._aside = str(self._index / _ASIDE)
        self._boot_id = boot_id
        self._taken: set[str] | None = None

    def __enter__(self) -> Self:
        try:
            self._lock = self._open_lock()
        except FileNotFoundError:
            self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._lock = self._open_lock()
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            self._refresh()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._lock)

    def _open_lock(self) -> int:
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC
        return os.open(f"{self._directory}/lock", flags, 0o600)

    def held_by(self, owner: Owner) -> tuple[Address, ...]:
        """The addresses that an owner holds."""
        return tuple(item for item in self._indexed(owner) if self._is_held(item, owner))

    def _is_held(self, address: Address, owner: Owner) -> bool:
        # the index may list more than the files hold: it is written first
        found = read_owner(f"{self._directory}/{address}")
        return found in {owner, Owner(owner.container_id, "")}

    def _indexed(self, owner: Owner) -> tuple[Address, ...]:
        for name in (_digest(owner), _digest(Owner(owner.container_id, ""))):
            if entries := _entries(f"{self._index}/{name}"):
                return tuple(ip_address(entry) for entry in entries if entry != _WIRED)
        return ()

    def is_wired(self, owner: Owner) -> bool:
        """Return true if this plugin made the owner's interface."""
        return _WIRED in _entries(f"{self._index}/{_digest(owner)}")

    def is_free(self, address: Address) -> bool:
        """Return true if nobody holds an address. An empty file is no reservation."""
        if self._taken is not None:
            return str(address) not in self._taken
        try:
            return os.stat(f"{self._directory}/{address}").st_size == 0
        except FileNotFoundError:
            return True

    def first_free(self, addresses: Iterable[Address]) -> Address | None:
        """The first address that nobody holds; None if all are taken."""
        for count, address in enumerate(addresses):
            if count == _MOST_STATS and self._taken is None:
                self._taken = {str(taken) for taken, _ in self.reservations()}
            if self.is_free(address):
                return address
        return None

    def reservations(self) -> Iterator[tuple[Address, Owner]]:
        """Every reserved address with its owner."""
        return ((address, owner) for address, owner in self._files() if owner is not None)

    def _files(self) -> Iterator[tuple[Address, Owner | None]]:
        for name in os.listdir(self._directory):
            with suppress(ValueError):
                yield ip_address(name), read_owner(f"{self._directory}/{name}")

    def age(self, owner: Owner) -> float:
        """The seconds since an owner's reservation."""
        times = [(self._directory / str(item)).stat().st_mtime for item in self.held_by(owner)]
        return max(0.0, time.time() - max(times, default=0.0))

    def last(self, index: int) -> Address | None:
        """The address that range set ``index`` allocated last; None if there is none."""
        text = _read(f"{self._directory}/{_LAST}{index}")
        return None if text is None else parse_last(text.decode(errors="replace"))

    def reserve(
        self, owner: Owner, addresses: Iterable[tuple[int, Address]], *, wired: bool = False
    ) -> None:
        """Reserve free ``addresses`` for an owner, each with the index of its range set.

        The index is written first, so that a release also finds what a crash left.
        """
        wanted = list(addresses)
        self._write_index(owner, [address for _, address in wanted], wired=wired)
        for index, address in wanted:
            self._put(str(address), bytes(owner))
            self._put(f"{_LAST}{index}", str(address).encode())
        self._write_stamp()

    def probe(self) -> None:
        """Write a file as ``reserve`` does, and remove it. Raises OSError, for a full disk too."""
        put_through(self._aside, f"{self._index}/{_PROBE}", bytes(_BLOCK), 0o600)
        os.unlink(f"{self._index}/{_PROBE}")

    def release(self, owner: Owner) -> tuple[Address, ...]:
        """Release an owner's addresses, if there are any. Returns them."""
        indexed = self._indexed(owner)
        if not indexed:
            return ()
        held = self.held_by(owner)
        for address in held:
            (self._directory / str(address)).unlink(missing_ok=True)
        for name in (_digest(owner), _digest(Owner(owner.container_id, ""))):
            (self._index / name).unlink(missing_ok=True)
        with suppress(OSError):  # a full disk; without its stamp the index is made anew
            self._write_stamp()
        return held

    def _refresh(self) -> None:
        """Rebuild the index unless its stamp is current."""
        stamp = _target(f"{self._index}/{_STAMP}")
        if stamp == self._current_stamp():
            return
        if stamp and stamp.split(" ")[0] != self._boot_id:
            self._expire()
        self.rebuild()

    def _expire(self) -> None:
        """Release all addresses of the index: no container outlives a reboot.

        Files that are not in the index stay: host-local may have written them since the boot.
        """
        for address, owner in list(self.reservations()):
            if os.path.lexists(self._index / _digest(owner)):
                (self._directory / str(address)).unlink(missing_ok=True)

    def rebuild(self) -> None:
        """Rebuild the index from the files. Removes files without an owner."""
        wired = set()
        self._index.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in list(self._index.iterdir()):
            if _WIRED in _entries(str(entry)):
                wired.add(entry.name)
            entry.unlink()
        held: dict[Owner, list[Address]] = {}
        for address, owner in list(self._files()):
            if owner is None:  # its writer was killed: it reserves nothing
                (self._directory / str(address)).unlink(missing_ok=True)
            else:
                held.setdefault(owner, []).append(address)
        for owner, addresses in held.items():
            self._write_index(owner, addresses, wired=_digest(owner) in wired)
        self._write_stamp()

    def _write_index(self, owner: Owner, addresses: Iterable[Address], *, wired: bool) -> None:
        entries = [*map(str, addresses), *([_WIRED] if wired else [])]
        self._put_link(_digest(owner), ",".join(entries))

    def _put(self, name: str, content: bytes) -> None:
        put_through(self._aside, f"{self._directory}/{name}", content, 0o600)

    def _write_stamp(self) -> None:
        self._put_link(_STAMP, self._current_stamp())

    def _current_stamp(self) -> str:
        state = os.stat(self._directory)
        return f"{self._boot_id} {state.st_ino} {state.st_mtime_ns}"

    def _put_link(self, name: str, target: str) -> None:
        """Create or replace an entry of the index in one step."""
        try:
            os.symlink(target, self._aside)
        except FileExistsError:  # a killed writer left it
            os.unlink(self._aside)
            os.symlink(target, self._aside)
        os.rename(self._aside, f"{self._index}/{name}")


def _target(path: str) -> str:
    """The target of a symbolic link; empty if there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _entries(path: str) -> list[str]:
    """The parts of an entry of the index; empty if there is none."""
    return [entry for entry in _target(path).split(",") if entry]


def _read(path: str) -> bytes | None:
    """The beginning of a file; None if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, _BLOCK)
    finally:
        os.close(descriptor)


def _digest(owner: Owner) -> str:
    # a container ID may be longer than a file name, and must not become a path
    return blake2b(bytes(owner), digest_size=16).hexdigest()


def holds_any(directory: Path, owner: Owner) -> bool:
    """Return true if an owner holds an address of a network. It only reads, and reads all files."""
    try:
        files = os.listdir(directory)
    except FileNotFoundError:
        return False
    owners = {owner, Owner(owner.container_id, "")}
    return any(read_owner(f"{directory}/{name}") in owners for name in files if name[0].isdigit())


def read_owner(path: str) -> Owner | None:
    """The owner in a reservation's file; None if the file is missing, empty or torn.

    A container ID is ASCII. An interface's name may be any bytes, for host-local writes them too.
    """
    text = (_read(path) or b"").decode(errors="surrogateescape").strip()
    container_id, _, ifname = text.partition(_LINE_BREAK)
    whole = container_id.isascii() and container_id.strip("\0")
    return Owner(container_id, ifname) if whole else None
