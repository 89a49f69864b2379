"""Notice that a file was renewed: a certificate that rotates, say."""

from collections.abc import Sequence
from pathlib import Path

Mark = tuple[tuple[int, int, int], ...]


class Renewed:
    """Remembers files as they were when it was made, or when it last said that they changed."""

    def __init__(self, files: Sequence[Path] | None) -> None:
        self._files = tuple(files or ())
        self._seen = self._look()

    def changed(self) -> bool:
        """Return True once for each change; a file that is missing has not changed yet."""
        now = self._look()
        if now is None or now == self._seen:
            return False
        self._seen = now
        return True

    def _look(self) -> Mark | None:
        try:
            found = [path.stat() for path in self._files]
        except OSError:
            return None
        return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)
