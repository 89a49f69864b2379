"""Reservations on disk, in host-local's format, found again in constant time.

``DATADIR/NETWORK/ADDRESS`` holds ``container-id CR LF ifname``; ``last_reserved_ip.N`` the address
that range set N gave out last; ``lock`` is flocked by whoever changes anything. host-local, which
finds a container's addresses by reading every file, works on the same directory before, after
and beside this store.

``DATADIR/.podwire/NETWORK/`` is this store's index: a symbolic link for each owner, whose target
lists the owner's addresses, and says ``wired`` when we made the owner's interface too: then its
absence shows that the owner is gone. The index's ``stamp`` says which state of the directory, and
which boot, it was made for: anything that changed behind its back, a crash included, makes it be
read anew.
"""

# pathlib takes longer than the kernel, a dozen times in each ADD:
# ruff: noqa: PTH104, PTH108, PTH115, PTH116, PTH208, PTH211

import errno
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
from cni_plugin.spec.ranges import parse_last
from cni_plugin.spec.result import Address

DEFAULT_DATA_DIR = "/var/lib/cni/networks"
_INDEX = ".podwire"
_STAMP, _FRESH = ".stamp", ".new"
_LAST, _WIRED = "last_reserved_ip.", "wired"
_LINE_BREAK = "\r\n"
_BLOCK = 1 << 12  # bytes; most of our files are far shorter
# So many taken neighbours in a row, and one look at the whole directory costs less than more stats.
_IMPATIENCE = 64


class Owner(NamedTuple):
    """Who holds an address; ``ifname`` is empty in files that an old host-local wrote."""

    container_id: str
    ifname: str

    def __str__(self) -> str:
        return _LINE_BREAK.join(self) if self.ifname else self.container_id


def lock_file(data_dir: Path) -> Path:
    """The file that the attachments' locks are in."""
    return data_dir / _INDEX / ".lock"  # no network is called so


def is_wired(data_dir: Path, network: str, owner: Owner) -> bool:
    """Whether we made an owner's interface, asked without the network's lock."""
    return _WIRED in _entries(f"{data_dir}/{_INDEX}/{network}/{_digest(owner)}")


class Store:
    """The reservations of one network; a context manager that holds the network's lock."""

    def __init__(self, data_dir: Path, network: str, boot_id: str) -> None:
        self._directory = data_dir / network
        self._index = data_dir / _INDEX / network
        self._fresh = str(self._index / _FRESH)
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

    # -- reading

    def held_by(self, owner: Owner) -> tuple[Address, ...]:
        """The addresses that an owner holds."""
        return tuple(item for item in self._indexed(owner) if self._is_held(item, owner))

    def _is_held(self, address: Address, owner: Owner) -> bool:
        # the index may say more than is true: it is written first
        found = read_owner(f"{self._directory}/{address}")
        return found in {owner, Owner(owner.container_id, "")}

    def _indexed(self, owner: Owner) -> tuple[Address, ...]:
        for name in (_digest(owner), _digest(Owner(owner.container_id, ""))):
            if entries := _entries(f"{self._index}/{name}"):
                return tuple(ip_address(entry) for entry in entries if entry != _WIRED)
        return ()

    def is_wired(self, owner: Owner) -> bool:
        """Whether we made the owner's interface, and not only gave it addresses."""
        return _WIRED in _entries(f"{self._index}/{_digest(owner)}")

    def is_free(self, address: Address) -> bool:
        """Whether nobody holds an address; an empty file is a reservation that never was."""
        if self._taken is not None:
            return str(address) not in self._taken
        try:
            return os.stat(f"{self._directory}/{address}").st_size == 0
        except FileNotFoundError:
            return True

    def first_free(self, addresses: Iterable[Address]) -> Address | None:
        """The first of ``addresses`` that nobody holds."""
        for count, address in enumerate(addresses):
            if count == _IMPATIENCE and self._taken is None:
                self._taken = {str(taken) for taken, _ in self.reservations()}
            if self.is_free(address):
                return address
        return None

    def reservations(self) -> Iterator[tuple[Address, Owner]]:
        """Every address that is held, and by whom."""
        return ((address, owner) for address, owner in self._files() if owner is not None)

    def _files(self) -> Iterator[tuple[Address, Owner | None]]:
        for name in os.listdir(self._directory):
            with suppress(ValueError):
                yield ip_address(name), read_owner(f"{self._directory}/{name}")

    def age(self, owner: Owner) -> float:
        """For how many seconds an owner has held its addresses."""
        times = [(self._directory / str(item)).stat().st_mtime for item in self.held_by(owner)]
        return max(0.0, time.time() - max(times, default=0.0))

    def last(self, index: int) -> Address | None:
        """The address that range set ``index`` gave out last."""
        text = _read(f"{self._directory}/{_LAST}{index}")
        return None if text is None else parse_last(text.decode(errors="replace"))

    # -- changing

    def reserve(
        self, owner: Owner, addresses: Iterable[tuple[int, Address]], *, wired: bool = False
    ) -> None:
        """Let ``owner`` hold free ``addresses``, each with the index of its range set.

        The index is written first: whatever a crash leaves, a release finds.
        """
        wanted = list(addresses)
        self._write_index(owner, [address for _, address in wanted], wired=wired)
        for index, address in wanted:
            self._put(f"{self._directory}/{address}", str(owner))
            self._put(f"{self._directory}/{_LAST}{index}", str(address))
        self._write_stamp()

    def release(self, owner: Owner) -> tuple[Address, ...]:
        """Free what an owner holds; nothing is fine. Returns what was freed."""
        indexed = self._indexed(owner)
        if not indexed:
            return ()
        held = self.held_by(owner)
        for address in held:
            (self._directory / str(address)).unlink(missing_ok=True)
        for name in (_digest(owner), _digest(Owner(owner.container_id, ""))):
            (self._index / name).unlink(missing_ok=True)
        self._write_stamp()
        return held

    # -- the index

    def _refresh(self) -> None:
        """Make the index anew unless it was made for what is there, in this boot."""
        stamp = _target(f"{self._index}/{_STAMP}")
        if stamp == self._current_stamp():
            return
        if stamp and stamp.split(" ")[0] != self._boot_id:
            self._expire()
        self.rebuild()

    def _expire(self) -> None:
        """No container outlived the boot: what the index knew of is free.

        Only what this store reserved: host-local may have written other files since the boot.
        """
        for address, owner in list(self.reservations()):
            if os.path.lexists(self._index / _digest(owner)):
                (self._directory / str(address)).unlink(missing_ok=True)

    def rebuild(self) -> None:
        """Make the index anew from the files, and drop those that hold nothing."""
        wired = set()
        self._index.mkdir(mode=0o700, parents=True, exist_ok=True)
        for entry in list(self._index.iterdir()):
            if _WIRED in _entries(str(entry)):
                wired.add(entry.name)
            entry.unlink()
        held: dict[Owner, list[Address]] = {}
        for address, owner in list(self._files()):
            if owner is None:  # torn when its writer died: it holds nothing
                (self._directory / str(address)).unlink(missing_ok=True)
            else:
                held.setdefault(owner, []).append(address)
        for owner, addresses in held.items():
            self._write_index(owner, addresses, wired=_digest(owner) in wired)
        self._write_stamp()

    def _write_index(self, owner: Owner, addresses: Iterable[Address], *, wired: bool) -> None:
        entries = [*map(str, addresses), *([_WIRED] if wired else [])]
        self._put_link(_digest(owner), ",".join(entries))

    def _write_stamp(self) -> None:
        self._put_link(_STAMP, self._current_stamp())

    def _current_stamp(self) -> str:
        state = os.stat(self._directory)
        return f"{self._boot_id} {state.st_ino} {state.st_mtime_ns}"

    def _put_link(self, name: str, target: str) -> None:
        """Make or change an entry of the index: a link is there whole or not at all."""
        try:
            os.symlink(target, self._fresh)
        except FileExistsError:  # of one who died here
            os.unlink(self._fresh)
            os.symlink(target, self._fresh)
        os.rename(self._fresh, f"{self._index}/{name}")

    def _put(self, path: str, text: str) -> None:
        """Write a file so that it is there whole or not at all."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(self._fresh, flags, 0o600)
        except OSError as err:
            if err.errno != errno.ELOOP:  # a link, of one who died
                raise
            os.unlink(self._fresh)
            descriptor = os.open(self._fresh, flags, 0o600)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        os.rename(self._fresh, path)


def _target(path: str) -> str:
    """What a link says; nothing when there is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _entries(path: str) -> list[str]:
    """What an entry of the index says; nothing when there is none."""
    return [entry for entry in _target(path).split(",") if entry]


def _read(path: str) -> bytes | None:
    """The beginning of a file, more than we write to any; None when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return os.read(descriptor, _BLOCK)
    finally:
        os.close(descriptor)


def _digest(owner: Owner) -> str:
    # A container ID may be longer than a file name, and is not ours to make a path of.
    return blake2b(str(owner).encode(), digest_size=16).hexdigest()


def read_owner(path: str) -> Owner | None:
    """The owner that a reservation names; None for a file that is gone, empty or torn."""
    try:
        text = (_read(path) or b"").decode("ascii").strip()
    except UnicodeDecodeError:
        return None
    container_id, _, ifname = text.partition(_LINE_BREAK)
    return Owner(container_id, ifname) if container_id.strip("\0") else None
