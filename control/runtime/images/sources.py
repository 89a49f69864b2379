"""The files of an image's exchange format: those of a folder, or those of a tar."""

import os
import posixpath
import stat
import tempfile
from contextlib import ExitStack
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import IO, Any, Protocol, cast

from control.linux import syscalls
from control.runtime.images.tape import Budget, Tape, damage_named, decompress, members

_MOST_LINKS = 8  # from link to link; docker save makes one


class ImageFormatError(ValueError):
    """A source is not an image, or is damaged; the text names the fault."""


class Files(Protocol):
    """The files of an image's exchange format, by name."""

    def has(self, name: str) -> bool:
        """True if there is such a file."""

    def open(self, name: str) -> BufferedReader:
        """Open a file; raises ImageFormatError if there is none."""

    def close(self) -> None:
        """Close all of them."""


def open_files(source: Path, scratch: Path, budget: Budget) -> Files:
    """Open a folder or a tar; a compressed tar is unpacked to a file in ``scratch`` meanwhile.

    Raises HostileArchiveError, OSError.
    """
    return FolderFiles(source) if source.is_dir() else TarFiles(source, scratch, budget)


class FolderFiles:
    """Files below a folder. Links lead nowhere else, and only regular files are opened."""

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def has(self, name: str) -> bool:
        try:
            self.open(name).close()
        except ImageFormatError:
            return False
        return True

    def open(self, name: str) -> BufferedReader:
        try:  # O_NONBLOCK: a FIFO would wait for a writer
            flags = os.O_RDONLY | os.O_NONBLOCK
            file = os.fdopen(
                syscalls.openat2(self._root, name, flags, syscalls.RESOLVE_IN_ROOT), "rb"
            )
        except OSError as err:
            raise ImageFormatError(f"{name} is missing: {os.strerror(err.errno or 0)}") from err
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise ImageFormatError(f"{name} is not a file")
        return file

    def close(self) -> None:
        os.close(self._root)


class TarFiles:
    """Regular files of a tar, found in one pass; where a name comes twice, the last counts."""

    def __init__(self, path: Path, scratch: Path, budget: Budget) -> None:
        self._places: dict[str, tuple[int, int]] = {}  # name -> offset, size
        self._links: dict[str, str] = {}
        self._file = path.open("rb")
        try:
            with damage_named():
                self._file = _plain(self._file, scratch, budget)
                self._read_names(budget)
        except BaseException:
            self._file.close()
            raise

    def _read_names(self, budget: Budget) -> None:
        for _, member in members(_Skipping(self._file, budget), budget):
            name = posixpath.normpath(member.name)
            if member.isfile():
                self._places[name] = (member.offset_data, member.size)
            elif member.issym():
                self._links[name] = posixpath.join(posixpath.dirname(name), member.linkname)
            elif member.islnk():
                self._links[name] = member.linkname

    def has(self, name: str) -> bool:
        return self._resolve(name) in self._places

    def open(self, name: str) -> BufferedReader:
        place = self._places.get(self._resolve(name))
        if place is None:
            raise ImageFormatError(f"{name} is missing")
        return BufferedReader(cast("Any", _Slice(self._file.fileno(), *place)))

    def _resolve(self, name: str) -> str:
        """Return where links lead; docker save has one where two images share a layer."""
        name = posixpath.normpath(name)
        for _ in range(_MOST_LINKS):
            if name in self._places or name not in self._links:
                break
            name = posixpath.normpath(self._links[name])
        return name

    def close(self) -> None:
        self._file.close()


def _plain(file: BufferedReader, scratch: Path, budget: Budget) -> BufferedReader:
    """Return a seekable tar: the file, or its decompressed bytes in a file without a name."""
    stream = decompress(file, budget)
    if stream is file:
        return file
    with ExitStack() as undo, file:
        plain = undo.enter_context(tempfile.TemporaryFile(dir=scratch))
        while piece := stream.read(1 << 20):
            budget.take(len(piece))
            plain.write(piece)
        plain.seek(0)
        undo.pop_all()  # TarFiles closes it
    return cast("BufferedReader", plain)


class _Skipping(Tape):
    """A tape over a seekable file, whose contents are skipped and not read."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        super().__init__(file, budget)
        self._file, self._size = file, os.fstat(file.fileno()).st_size

    def seek(self, position: int) -> None:
        skipped = min(position, self._size) - self.tell()
        if skipped > 0:
            self._file.seek(skipped, os.SEEK_CUR)
            self._position += skipped
        else:
            super().seek(position)


class _Slice(RawIOBase):
    """A part of an open file, with a position of its own."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd, self._next, self._end = fd, offset, offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = os.pread(self._fd, min(len(buffer), self._end - self._next), self._next)
        buffer[: len(data)] = data
        self._next += len(data)
        return len(data)
