"""Files that others may read or execute at any moment.

Half a configuration would be an error, and writing to a running program is one ("text file busy"),
so each is renamed into its place.
"""

import os
from pathlib import Path


def put(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole, in one step; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(data)
        fresh.chmod(mode)
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)
