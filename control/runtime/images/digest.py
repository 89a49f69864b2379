"""The digest of a root file system that came without one: by names, modes, owners and contents."""

import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from control.linux import usage


def image_id(config: dict[str, Any], root: Path) -> str:
    """Return an image ID of a configuration and a root folder, ``sha256:…``. Raises OSError.

    The same files and the same configuration have the same ID; times do not count.
    """
    known = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for path, found in sorted(usage.walk(root)):
        head = (os.path.relpath(path, root), found.st_mode, found.st_uid, found.st_gid)
        known.update(repr(head).encode() + _content(path, found.st_mode))
    return f"sha256:{known.hexdigest()}"


def _content(path: str, mode: int) -> bytes:
    if stat.S_ISLNK(mode):
        return os.fsencode(Path(path).readlink())
    if stat.S_ISREG(mode):
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    return b""
