"""An image as a file: an interpreter of its own makes it; it fits the plugin, or is outdated."""

import marshal
import subprocess
import sys
import tempfile
from pathlib import Path

_BUILDER = Path(__file__).with_name("__main__.py")
# Without docstrings and columns of tracebacks; from source, since compiled files would have them.
_OPTIONS = ("-OO", "-IS", "-X", "no_debug_ranges", "-X", "frozen_modules=off")


class ImageError(Exception):
    """An image cannot hold the objects of this interpreter."""


def built() -> bytes:
    """Return an image of the plugin for the interpreter that runs this. Raises ImageError."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "image"
        options = [*_OPTIONS, "-X", f"pycache_prefix={folder}"]
        done = subprocess.run(
            [sys.executable, *options, _BUILDER, target], capture_output=True, check=False
        )
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise ImageError(f"no image of the CNI plugin for Python {sys.version}: {said}")
        return target.read_bytes()


def fits(data: bytes) -> bool:
    """Return true if an image is of this plugin as it is now, and for this interpreter."""
    version = sys.version.encode() + b"\0"
    if not data.startswith(version):
        return False
    sources, *_ = marshal.loads(data[len(version) :])  # noqa: S302  # it is of this interpreter
    ours = _BUILDER.parents[1]
    return all(Path(path).is_relative_to(ours) for path, *_ in sources) and not any(
        map(_is_changed, sources)
    )


def _is_changed(source: tuple[str, int, int]) -> bool:
    path, time, size = source
    try:
        state = Path(path).stat()
    except FileNotFoundError:
        return True
    return (state.st_mtime_ns, state.st_size) != (time, size)
