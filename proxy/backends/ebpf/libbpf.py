"""libbpf's functions, called in this process (libbpf.h, bpf.h)."""

import ctypes
import errno
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from proxy.model.errors import KernelRefusedError

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_WARN = 0
_AT_ONCE = 4096  # entries that are read in one call
# bin/compile's programs: in the package in a wheel, in build/ in a checkout.
_PACKAGED = Path(__file__).resolve().with_name("built")
BUILT = _PACKAGED if _PACKAGED.exists() else _PACKAGED.parents[3] / "build"


NAME = "libbpf.so.1"
REMEDY = "install libbpf1"
# How to get the object files.
BUILD_REMEDY = "install clang and libbpf-dev, then run bin/setup"


class _BatchOptions(ctypes.Structure):
    """``struct bpf_map_batch_opts``."""

    _fields_ = [("size", ctypes.c_size_t), ("each", ctypes.c_uint64), ("all", ctypes.c_uint64)]


_MOST = 4096  # bytes of a warning that are kept
_c = ctypes.CDLL(None)
_messages: deque[str] = deque(maxlen=400)  # warnings


def _on_message(level: int, text: bytes, arguments: int) -> int:
    """Keep the end of a warning of libbpf's (``libbpf_print_fn_t``).

    The verifier's log is one warning, which may have megabytes. Its last lines say what it refused.
    """
    if level == _WARN:
        made = ctypes.c_char_p()
        size = _c.vasprintf(ctypes.byref(made), text, ctypes.c_void_p(arguments))
        if size >= 0:
            _messages.append((made.value or b"")[-_MOST:].decode(errors="replace"))
            _c.free(made)
    return 0


_listener = _PRINT(_on_message)  # libbpf keeps its address for as long as the process lives


class Libbpf:
    """The loaded library. Its errors and the warnings before them become KernelRefusedError."""

    def __init__(self) -> None:
        self.bpf = _load()
        self.bpf.libbpf_set_print(_listener)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Keep no warnings meanwhile.

        libbpf calls the listener for messages of every level, a hundred in a load. Each call waits
        until the other threads let the interpreter go, 5 ms where they are busy.
        """
        self.bpf.libbpf_set_print(None)
        try:
            yield
        finally:
            self.bpf.libbpf_set_print(_listener)

    def forget_messages(self) -> None:
        """Forget the warnings so far: the call that failed was a question, not an error."""
        _messages.clear()

    def check(self, result: int, action: str) -> int:
        """Return ``result`` if it is not negative; else raise KernelRefusedError, which names
        ``action``.
        """
        messages = "".join(_messages).strip()
        _messages.clear()
        if result < 0:
            why = os.strerror(-result)
            raise KernelRefusedError(
                f"ebpf: {action}: {why}" + (f": {messages[-1500:]}" if messages else "")
            )
        return result


class BpfObject:
    """An object file. ``load_object`` makes it; the methods raise KernelRefusedError."""

    def __init__(self, library: Libbpf, path: Path) -> None:
        """Open the file at ``path``."""
        self._library = library
        self._bpf = library.bpf
        if not path.exists():
            raise KernelRefusedError(f"ebpf: {path} is missing; {BUILD_REMEDY}")
        self._object = self._bpf.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise KernelRefusedError(
                f"ebpf: {path} cannot be opened: {os.strerror(ctypes.get_errno())}"
            )

    def close(self) -> None:
        """Close the file. Loaded programs and maps stay while a descriptor or a pin holds them."""
        self._bpf.bpf_object__close(self._object)

    def resize(self, name: str, entries: int) -> None:
        """Give a map room for ``entries``."""
        found = self._bpf.bpf_map__set_max_entries(self._map(name), entries)
        self._library.check(found, f"sizing {name}")

    def share(self, name: str, path: Path) -> None:
        """Use the map that is pinned at ``path``. If there is none, pin this object's map there."""
        found = self._bpf.bpf_map__set_pin_path(self._map(name), os.fsencode(path))
        self._library.check(found, f"pinning {name}")

    def reuse(self, name: str, other: "BpfMap") -> None:
        """Use the existing map ``other`` for the map ``name``, if this object declares it."""
        found = self._bpf.bpf_object__find_map_by_name(self._object, name.encode())
        if found:
            self._library.check(self._bpf.bpf_map__reuse_fd(found, other.fd), f"sharing {name}")

    def set_constants(self, data: bytes) -> None:
        """Give the object's constants (``const volatile``) their values, packed in their order."""
        size = ctypes.c_size_t()
        found = self._bpf.bpf_map__initial_value(self._map(".rodata"), ctypes.byref(size))
        if not found or size.value != len(data):
            raise KernelRefusedError("ebpf: the object file has other constants; run bin/setup")
        ctypes.memmove(found, data, len(data))

    def load(self) -> None:
        """Create the maps and let the kernel verify the programs."""
        self._library.check(self._bpf.bpf_object__load(self._object), "loading the programs")

    def map_fd(self, name: str) -> int:
        """Return a loaded map's descriptor, valid until ``close``."""
        return self._library.check(self._bpf.bpf_map__fd(self._map(name)), f"map {name}")

    def program_fd(self, name: str) -> int:
        """Return a loaded program's descriptor, valid until ``close``."""
        program = self._bpf.bpf_object__find_program_by_name(self._object, name.encode())
        return self._library.check(self._bpf.bpf_program__fd(program), f"program {name}")

    def _map(self, name: str) -> int:
        found: int | None = self._bpf.bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise KernelRefusedError(f"ebpf: the object file has no map {name}; run bin/setup")
        return found


def load_object(
    library: Libbpf, path: Path, prepare: Callable[[BpfObject], None], modules: Sequence[str] = ()
) -> BpfObject:
    """Load an object file; ``prepare`` sizes and pins its maps before. Raises KernelRefusedError.

    The first attempt is silent. If it fails, the second one learns why. Before that, the kernel
    gets the ``modules`` whose functions the programs call: it may not have loaded them yet.
    """
    try:
        with library.silent():
            return _load_object(library, path, prepare)
    except KernelRefusedError:
        if modules and (command := shutil.which("modprobe")):
            subprocess.run([command, "--quiet", "--all", *modules], check=False)
        return _load_object(library, path, prepare)


def _load_object(library: Libbpf, path: Path, prepare: Callable[[BpfObject], None]) -> BpfObject:
    with ExitStack() as undo:
        made = BpfObject(library, path)
        undo.callback(made.close)
        prepare(made)
        made.load()
        undo.pop_all()
    return made


class BpfMap:
    """A loaded map with packed keys and values; methods raise KernelRefusedError.

    It has its own descriptor.
    """

    def __init__(self, library: Libbpf, fd: int, name: str, *, own: bool = False) -> None:
        """Use a copy of the descriptor ``fd``, or that itself if it is its own."""
        self._library = library
        self.fd = fd if own else os.dup(fd)
        self._name = name

    def close(self) -> None:
        """Close the descriptor. Programs and pins that use the map keep it."""
        os.close(self.fd)

    def pin(self, path: Path) -> None:
        """Pin the map at ``path``, in the place of an older one."""
        pin(self._library, self.fd, path)

    def update(self, entries: Mapping[bytes, bytes]) -> None:
        """Write entries. Each entry is written whole; the batch is not one transaction."""
        if entries:
            self._many(self._library.bpf.bpf_map_update_batch, list(entries), entries.values())

    def delete(self, keys: Sequence[bytes]) -> None:
        """Remove entries, which must exist."""
        if keys:
            self._many(self._library.bpf.bpf_map_delete_batch, keys)

    def discard(self, key: bytes) -> None:
        """Remove an entry, if it is there."""
        done = self._library.bpf.bpf_map_delete_elem(self.fd, key)
        if done != -errno.ENOENT:
            self._library.check(done, f"removing from map {self._name}")

    def lookup(self, key: bytes, size: int) -> bytes:
        """Return the value of ``key``, of ``size`` bytes."""
        value = ctypes.create_string_buffer(size)
        done = self._library.bpf.bpf_map_lookup_elem(self.fd, key, value)
        self._library.check(done, f"reading map {self._name}")
        return value.raw

    def find(self, key: bytes, size: int) -> bytes | None:
        """Return the value of ``key``, of ``size`` bytes; None if there is none."""
        value = ctypes.create_string_buffer(size)
        done = self._library.bpf.bpf_map_lookup_elem(self.fd, key, value)
        if done == -errno.ENOENT:
            self._library.forget_messages()
            return None
        self._library.check(done, f"reading map {self._name}")
        return value.raw

    def keys(self, size: int) -> list[bytes]:
        """Return every key, of ``size`` bytes. Nobody else may write meanwhile."""
        found: list[bytes] = []
        key = ctypes.create_string_buffer(size)
        while not self._library.bpf.bpf_map_get_next_key(
            self.fd, found[-1] if found else None, key
        ):
            found.append(key.raw)
        self._library.forget_messages()
        return found

    def entries(self, key_size: int, value_size: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key and value; sizes are in bytes.

        An entry that is written meanwhile may be missing, or be there twice.
        """
        cursor, more = ctypes.create_string_buffer(4), True
        first: ctypes.Array[ctypes.c_char] | None = None
        while more:
            keys = ctypes.create_string_buffer(key_size * _AT_ONCE)
            values = ctypes.create_string_buffer(value_size * _AT_ONCE)
            count, options = ctypes.c_uint32(_AT_ONCE), _batch()
            found = self._library.bpf.bpf_map_lookup_batch(
                self.fd, first, cursor, keys, values, ctypes.byref(count), ctypes.byref(options)
            )
            more, first = found != -errno.ENOENT, cursor
            if more:
                self._library.check(found, f"reading map {self._name}")
            read = zip(_cut(keys.raw, key_size), _cut(values.raw, value_size), strict=True)
            yield from islice(read, count.value)

    def _many(self, call: Callable[..., int], *columns: Collection[bytes]) -> None:
        """Call a batch function with packed columns: keys, and for an update values."""
        packed = [b"".join(column) for column in columns]
        count = ctypes.c_uint32(len(columns[0]))
        options = _batch()
        done = call(self.fd, *packed, ctypes.byref(count), ctypes.byref(options))
        self._library.check(done, f"writing map {self._name}")


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def _batch() -> _BatchOptions:
    return _BatchOptions(ctypes.sizeof(_BatchOptions), 0, 0)


def attach(library: Libbpf, program: int, cgroup: int, kind: int) -> int:
    """Attach a program to a cgroup; return the link's descriptor. Raises KernelRefusedError."""
    made = library.bpf.bpf_link_create(program, cgroup, kind, None)
    return library.check(made, "attaching to the cgroup")


def replace(library: Libbpf, link: int, program: int) -> bool:
    """Let a link run another program from now on; return False if the link was detached.

    Raises KernelRefusedError.
    """
    done = library.bpf.bpf_link_update(link, program, None)
    if done == -errno.ENOLINK:
        return False
    library.check(done, "replacing a program")
    return True


def program_id(library: Libbpf, program: int) -> int:
    """Return the ID by which the kernel lists a program. Raises KernelRefusedError."""
    info, size = (ctypes.c_uint32 * 2)(), ctypes.c_uint32(8)  # struct bpf_prog_info: type, id
    done = library.bpf.bpf_obj_get_info_by_fd(program, info, ctypes.byref(size))
    library.check(done, "reading a program's ID")
    return info[1]


def pinned(library: Libbpf, path: Path) -> int | None:
    """Return a new descriptor of the object pinned at ``path``, None if there is none.

    Raises KernelRefusedError.
    """
    if not path.exists():
        return None
    return library.check(library.bpf.bpf_obj_get(os.fsencode(path)), f"opening {path}")


def pin(library: Libbpf, fd: int, path: Path) -> None:
    """Pin an object at ``path``, in one step in the place of an older one.

    Raises KernelRefusedError.
    """
    part = path.with_name(f"{path.name}-new")
    part.unlink(missing_ok=True)
    library.check(library.bpf.bpf_obj_pin(fd, os.fsencode(part)), f"pinning {part}")
    part.rename(path)


def unpin_link(library: Libbpf, path: Path) -> None:
    """Detach the program of the link pinned at ``path``, then remove the pin.

    Unpinning alone lets a worker of the kernel detach the program some time later. Raises
    KernelRefusedError.
    """
    link = pinned(library, path)
    if link is not None:
        try:
            library.check(library.bpf.bpf_link_detach(link), f"detaching the program of {path}")
        finally:
            os.close(link)
        path.unlink(missing_ok=True)


def can_load() -> bool:
    """Return True if the library is installed."""
    try:
        ctypes.CDLL(NAME)
    except OSError:
        return False
    return True


def _load() -> ctypes.CDLL:
    try:
        bpf = ctypes.CDLL(NAME, use_errno=True)
    except OSError as err:
        raise KernelRefusedError(f"ebpf: {err}; {REMEDY}") from err
    for name in (
        "bpf_object__open_file",
        "bpf_object__find_map_by_name",
        "bpf_object__find_program_by_name",
        "bpf_map__initial_value",
    ):
        getattr(bpf, name).restype = ctypes.c_void_p
    pointer = ctypes.c_void_p
    for name, types in {
        "bpf_object__open_file": [ctypes.c_char_p, pointer],
        "bpf_object__close": [pointer],
        "bpf_object__load": [pointer],
        "bpf_object__find_map_by_name": [pointer, ctypes.c_char_p],
        "bpf_object__find_program_by_name": [pointer, ctypes.c_char_p],
        "bpf_map__fd": [pointer],
        "bpf_map__set_max_entries": [pointer, ctypes.c_uint32],
        "bpf_map__initial_value": [pointer, pointer],
        "bpf_map__reuse_fd": [pointer, ctypes.c_int],
        "bpf_map__set_pin_path": [pointer, ctypes.c_char_p],
        "bpf_program__fd": [pointer],
        "bpf_map_update_batch": [ctypes.c_int, *[ctypes.c_char_p] * 2, pointer, pointer],
        "bpf_map_lookup_batch": [ctypes.c_int, *[pointer] * 6],
        "bpf_map_lookup_elem": [ctypes.c_int, ctypes.c_char_p, pointer],
        "bpf_map_get_next_key": [ctypes.c_int, ctypes.c_char_p, pointer],
        "bpf_map_delete_elem": [ctypes.c_int, ctypes.c_char_p],
        "bpf_map_delete_batch": [ctypes.c_int, ctypes.c_char_p, pointer, pointer],
    }.items():
        getattr(bpf, name).argtypes = types
    return bpf
