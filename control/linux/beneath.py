"""Opens and makes paths below a folder, wherever links in it lead. The shims import it."""

import os
import stat
from contextlib import suppress

from control.linux import syscalls


def open_sub_path(folder: int, path: str) -> int:
    """Open a volume's subPath; make a folder if it is absent, as kubelet does. Raises OSError.

    RESOLVE_BENEATH: a link that a container makes in its own volume leads to no file of the node.
    """
    try:
        return syscalls.openat2(folder, path, os.O_PATH, syscalls.RESOLVE_BENEATH)
    except FileNotFoundError:
        return make(folder, path, is_directory=True, resolve=syscalls.RESOLVE_BENEATH)
    except OSError as error:
        raise OSError(error.errno, f"subPath {path!r} leads out of its volume") from error


def make(base: int, path: str, is_directory: bool, resolve: int) -> int:
    """Make the missing parts of ``path`` one by one, each looked up inside ``base``; open it."""
    parts = [part for part in path.split("/") if part]
    for count, name in enumerate(parts, 1):
        here = "/".join(parts[:count])
        try:
            os.close(syscalls.openat2(base, here, os.O_PATH, resolve))
            continue
        except FileNotFoundError:
            parent = syscalls.openat2(base, "/".join(parts[: count - 1]) or ".", os.O_PATH, resolve)
        try:
            with suppress(FileExistsError):  # another container has made it meanwhile
                if count < len(parts) or is_directory:
                    os.mkdir(name, 0o755, dir_fd=parent)
                else:
                    os.mknod(name, stat.S_IFREG | 0o644, dir_fd=parent)
        finally:
            os.close(parent)
    return syscalls.openat2(base, path, os.O_PATH, resolve)
