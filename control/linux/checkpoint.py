"""A checkpoint of many entries, of which a change costs the same however many there are.

    {"pods": {"u1": ..., "u2": ...}}    the whole, as ``files.write_json`` writes it
    ["pods", "u3", ...]                 what was set since
    ["pods", "u1", null]                what was removed since

A line that is not whole, as a crash may leave it, ends the file. When the changes are many the file
is written anew. As with every checkpoint here there is no fsync: see ``whole``.
"""

import errno
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from control.linux import whole

Section = dict[str, Any]  # by key
Change = tuple[str, str, Any]  # section, key, value; None removes

_FEW = 1000  # changes for which no file is written anew


class Checkpoint:
    """Sections of entries, and the file that has them; only ``write`` may change them."""

    def __init__(self, path: Path, *sections: str) -> None:
        """Read the file; one that is absent, torn or of another form has no entries."""
        self._path = path
        self._sections: dict[str, Section] = {name: {} for name in sections}
        self._changes: int | None = None  # in the file; None: it has to be written anew
        try:
            text = path.read_text()
        except (OSError, ValueError):
            return
        first, *rest = text.split("\n")
        saved = _parsed(first)
        if isinstance(saved, dict):
            for name, section in self._sections.items():
                section.update(_entries(saved.get(name)))
            self._replay(rest)

    def _replay(self, lines: list[str]) -> None:
        *changes, end = lines or ["", "not ended"]
        for line in filter(None, changes):
            change = _parsed(line)
            if not (isinstance(change, list) and len(change) == 3 and change[0] in self._sections):
                return
            self._set(change[0], str(change[1]), change[2])
        if not end:
            self._changes = len(changes)

    def section(self, name: str) -> Section:
        """Return the entries of a section, by key."""
        return self._sections[name]

    def write(self, changes: Iterable[Change]) -> None:
        """Set or remove entries, here and in the file; raises OSError, and is right here then."""
        changes = list(changes)
        for name, key, value in changes:
            self._set(name, key, value)
        entries = sum(map(len, self._sections.values()))
        known, self._changes = self._changes, None
        grown = None if known is None else known + len(changes)
        if grown is None or grown > max(_FEW, 2 * entries) or not _appended(self._path, changes):
            whole.write(self._path, f"{json.dumps(self._sections)}\n", 0o600)
            grown = 0
        self._changes = grown

    def _set(self, name: str, key: str, value: Any) -> None:
        if value is None:
            self._sections[name].pop(key, None)
        else:
            self._sections[name][key] = value


def _appended(path: Path, changes: Iterable[Change]) -> bool:
    """Add lines to a file; False if there is none. Raises OSError."""
    lines = "".join(f"{json.dumps(each)}\n" for each in changes).encode()
    try:
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if os.write(file, lines) < len(lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
    finally:
        os.close(file)
    return True


def _entries(saved: Any) -> Section:
    """Return the entries of a section; a list, as older agents wrote it, has keys alone."""
    if isinstance(saved, list):
        return {str(key): True for key in saved}
    return dict(saved) if isinstance(saved, dict) else {}


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
