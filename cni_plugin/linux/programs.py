"""Finds and executes other programs.

Without ``subprocess``: its import takes 10 ms, and needs signals, which a Python that runs an image
(cni_plugin/image) has not set up. A program reads and writes files in memory instead of pipes, so
that nobody has to wait at several of them at once.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

_SIGPIPE, _SIGXFSZ = 13, 25  # Python ignores these signals; its programs must not
_STDIN, _STDOUT, _STDERR = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that has ended. ``code`` is its exit code, or the negative of its signal."""

    code: int
    stdout: bytes
    stderr: bytes


def find(name: str, folders: str) -> Path | None:
    """The program of a name, in the first of ``folders`` (as in PATH) that has it."""
    paths = (Path(folder) / name for folder in folders.split(":") if folder)
    return next((path for path in paths if os.access(path, os.X_OK) and path.is_file()), None)


def execute(
    argv: Sequence[str | Path],
    stdin: bytes,
    *,
    environment: Mapping[str, str] | None = None,
    shows_errors: bool = False,
    descriptors: Sequence[int] = (),
) -> Finished:
    """Execute a program, given by its path, and wait for its end.

    It inherits ``descriptors``. Its standard error is captured, or, with ``shows_errors``, the
    caller's own. Raises OSError.
    """
    with _memory() as given, _memory() as stdout, _memory() as stderr:
        given.write(stdin)
        given.seek(0)
        files = {_STDIN: given, _STDOUT: stdout} | ({} if shows_errors else {_STDERR: stderr})
        places = {place: file.fileno() for place, file in files.items()}
        places |= {each: each for each in descriptors}  # a copy onto itself is inherited
        process = os.posix_spawn(
            argv[0],
            [*map(str, argv)],
            os.environ if environment is None else environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, source, place) for place, source in places.items()],
            setsigmask=[],  # the server blocks some
            setsigdef=[_SIGPIPE, _SIGXFSZ],
        )
        _, status = os.waitpid(process, 0)
        return Finished(os.waitstatus_to_exitcode(status), _content(stdout), _content(stderr))


def _memory() -> FileIO:
    return FileIO(os.memfd_create("podwire-cni"), "r+")


def _content(memory: FileIO) -> bytes:
    memory.seek(0)
    return memory.readall()
