"""libbpf in this process, as far as the backend needs it; each call raises KernelRefusedError."""

import ctypes
import errno
import os
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType

from proxy.model.errors import KernelRefusedError

_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_WARN = 0
_AT_ONCE = 4096  # entries that are read in one call
# bin/compile's programs: in the package in a wheel, in build/ in a checkout.
_PACKAGED = Path(__file__).resolve().with_name("built")
BUILT = _PACKAGED if _PACKAGED.exists() else _PACKAGED.parents[3] / "build"


class _BatchOptions(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("each", ctypes.c_uint64), ("all", ctypes.c_uint64)]


_format = ctypes.CDLL(None).vsnprintf
_said: deque[str] = deque(maxlen=400)  # lines of complaints; the verifier has many


def _hear(level: int, text: bytes, arguments: int) -> int:
    if level == _WARN:
        buffer = ctypes.create_string_buffer(4096)
        _format(buffer, 4096, text, ctypes.c_void_p(arguments))
        _said.append(buffer.value.decode(errors="replace"))
    return 0


_listener = _PRINT(_hear)  # one for the process: libbpf has its address for as long as that lives


class Libbpf:
    """The functions, with their types and their complaints."""

    def __init__(self) -> None:
        self.bpf = _load()
        self.bpf.libbpf_set_print(_listener)

    def hush(self) -> None:
        """Forget what was said: it was no error."""
        _said.clear()

    def check(self, result: int, doing: str) -> int:
        """``result``, unless it is an error."""
        said = "".join(_said).strip()
        _said.clear()
        if result < 0:
            why = os.strerror(-result)
            raise KernelRefusedError(
                f"ebpf: {doing}: {why}" + (f": {said[-1500:]}" if said else "")
            )
        return result


class BpfObject:
    """An object file, opened, to be sized and pinned, then loaded."""

    def __init__(self, library: Libbpf, path: Path) -> None:
        self._library = library
        self._bpf = library.bpf
        if not path.exists():
            raise KernelRefusedError(
                f"ebpf: {path} is missing: install clang and libbpf-dev, then run bin/setup"
            )
        self._object = self._bpf.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise KernelRefusedError(
                f"ebpf: {path} cannot be opened: {os.strerror(ctypes.get_errno())}"
            )

    def __enter__(self) -> "BpfObject":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bpf.bpf_object__close(self._object)

    def resize(self, name: str, entries: int) -> None:
        """Give a map room for ``entries``."""
        found = self._bpf.bpf_map__set_max_entries(self._map(name), entries)
        self._library.check(found, f"sizing {name}")

    def share(self, name: str, path: Path) -> None:
        """Use the map that is pinned at ``path``, or pin this one there."""
        found = self._bpf.bpf_map__set_pin_path(self._map(name), os.fsencode(path))
        self._library.check(found, f"pinning {name}")

    def reuse(self, name: str, other: "BpfMap") -> None:
        """Use a map that is there, if this object knows one of that name."""
        found = self._bpf.bpf_object__find_map_by_name(self._object, name.encode())
        if found:
            self._library.check(self._bpf.bpf_map__reuse_fd(found, other.fd), f"sharing {name}")

    def load(self) -> None:
        """Have the kernel verify the programs."""
        self._library.check(self._bpf.bpf_object__load(self._object), "loading the programs")

    def map_fd(self, name: str) -> int:
        """A loaded map, as long as the object is open."""
        return self._library.check(self._bpf.bpf_map__fd(self._map(name)), f"map {name}")

    def program_fd(self, name: str) -> int:
        """A loaded program, as long as the object is open."""
        program = self._bpf.bpf_object__find_program_by_name(self._object, name.encode())
        return self._library.check(self._bpf.bpf_program__fd(program), f"program {name}")

    def _map(self, name: str) -> int:
        found: int | None = self._bpf.bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise KernelRefusedError(f"ebpf: the object file has no map {name}: run bin/setup")
        return found


class BpfMap:
    """A loaded map; keys and values are packed."""

    def __init__(self, library: Libbpf, fd: int, name: str) -> None:
        self._library = library
        self.fd = os.dup(fd)
        self._name = name

    def close(self) -> None:
        """Let go of it; whoever else uses or pins it still has it."""
        os.close(self.fd)

    def pin(self, path: Path) -> None:
        """Show it at ``path``, in the place of another."""
        pin(self._library, self.fd, path)

    def update(self, entries: Mapping[bytes, bytes]) -> None:
        """Put entries, each of them at once or not at all."""
        if entries:
            self._many(self._library.bpf.bpf_map_update_batch, list(entries), entries.values())

    def delete(self, keys: Sequence[bytes]) -> None:
        """Remove entries that are there."""
        if keys:
            self._many(self._library.bpf.bpf_map_delete_batch, keys)

    def entries(self, key: int, value: int) -> Iterator[tuple[bytes, bytes]]:
        """Every key and value, of so many bytes each; one that is written meanwhile may be missing,
        or there twice.
        """
        cursor, more = ctypes.create_string_buffer(4), True
        first: ctypes.Array[ctypes.c_char] | None = None
        while more:
            keys = ctypes.create_string_buffer(key * _AT_ONCE)
            values = ctypes.create_string_buffer(value * _AT_ONCE)
            count, options = ctypes.c_uint32(_AT_ONCE), _batch()
            found = self._library.bpf.bpf_map_lookup_batch(
                self.fd, first, cursor, keys, values, ctypes.byref(count), ctypes.byref(options)
            )
            more, first = found != -errno.ENOENT, cursor
            if more:
                self._library.check(found, f"reading map {self._name}")
            read = zip(_cut(keys.raw, key), _cut(values.raw, value), strict=True)
            yield from islice(read, count.value)

    def _many(self, call: Callable[..., int], *columns: Collection[bytes]) -> None:
        packed = [b"".join(column) for column in columns]
        count = ctypes.c_uint32(len(columns[0]))
        options = _batch()
        done = call(self.fd, *packed, ctypes.byref(count), ctypes.byref(options))
        self._library.check(done, f"writing map {self._name}")


def _cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def _batch() -> _BatchOptions:
    return _BatchOptions(ctypes.sizeof(_BatchOptions), 0, 0)


def attach(library: Libbpf, program: int, group: int, kind: int) -> int:
    """A link of a program to a cgroup; returns its descriptor."""
    made = library.bpf.bpf_link_create(program, group, kind, None)
    return library.check(made, "attaching to the cgroup")


def replace(library: Libbpf, link: int, program: int) -> bool:
    """Let a link run another program from now on; False if somebody has detached the link."""
    done = library.bpf.bpf_link_update(link, program, None)
    if done == -errno.ENOLINK:
        return False
    library.check(done, "replacing a program")
    return True


def program_id(library: Libbpf, program: int) -> int:
    """The number by which the kernel lists a program."""
    info, size = (ctypes.c_uint32 * 2)(), ctypes.c_uint32(8)  # struct bpf_prog_info: type, id
    done = library.bpf.bpf_obj_get_info_by_fd(program, info, ctypes.byref(size))
    library.check(done, "asking for a program's number")
    return info[1]


def pinned(library: Libbpf, path: Path) -> int | None:
    """The descriptor of what is pinned there."""
    if not path.exists():
        return None
    return library.check(library.bpf.bpf_obj_get(os.fsencode(path)), f"opening {path}")


def pin(library: Libbpf, fd: int, path: Path) -> None:
    """Pin at ``path``, in one step in the place of what was there."""
    part = path.with_name(f"{path.name}-new")
    part.unlink(missing_ok=True)
    library.check(library.bpf.bpf_obj_pin(fd, os.fsencode(part)), f"pinning {part}")
    part.rename(path)


def _load() -> ctypes.CDLL:
    try:
        bpf = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as err:
        raise KernelRefusedError(f"{err}; install libbpf1") from err
    for name in (
        "bpf_object__open_file",
        "bpf_object__find_map_by_name",
        "bpf_object__find_program_by_name",
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
        "bpf_map__reuse_fd": [pointer, ctypes.c_int],
        "bpf_map__set_pin_path": [pointer, ctypes.c_char_p],
        "bpf_program__fd": [pointer],
        "bpf_map_update_batch": [ctypes.c_int, *[ctypes.c_char_p] * 2, pointer, pointer],
        "bpf_map_lookup_batch": [ctypes.c_int, *[pointer] * 6],
        "bpf_map_delete_batch": [ctypes.c_int, ctypes.c_char_p, pointer, pointer],
    }.items():
        getattr(bpf, name).argtypes = types
    return bpf
