"""Unpacks a saved lab into a folder of its own. The file may be cut, foreign or hostile.

Nothing of it is used before all of it has been checked: a lab's folder is read and written by root
on the host, so it must have no link, and no name that leads elsewhere.
"""

import dataclasses
import json
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from pydantic import ValidationError

from control.linux.errors import cause
from control.reported import ReportedError
from control.runtime.images.archive import unpack_tree
from control.runtime.images.tape import (
    Budget,
    HostileArchiveError,
    Tape,
    damage_named,
    decompress,
    members,
)
from lab import published
from lab.file.model import LabFile
from lab.file.plan import describe, plan
from lab.file.read import LabFileError, read
from lab.parts import machines
from lab.publish import PublishError
from lab.saved import head
from lab.spec import LabSpec
from lab.state import LabDir

_GZIP = b"\x1f\x8b"
_MOST_HEAD = 1 << 20
_MALFORMED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_NEEDED = ("pki/ca.crt", "pki/ca.key", head.STORE)


class SavedLabError(ReportedError):
    """A saved lab cannot be restored; the text names the file, the cause, and the remedy."""


def read_head(file: Path) -> head.Head:
    """Return what a saved lab says of itself; raises SavedLabError."""
    try:
        with _opened(file) as stream:
            document = json.loads(_first(stream))
    except (HostileArchiveError, ValueError, RecursionError) as err:
        raise _damaged(file, err) from err
    version = document.get("version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > head.VERSION:
        raise SavedLabError(
            f"{file}: it has version {version}, of podwire {document.get('podwire')}; this podwire "
            f"reads up to {head.VERSION}: use a newer one"
        )
    try:
        return head.Head.model_validate(document)
    except ValidationError as err:
        raise SavedLabError(f"{file}: it is no saved lab: {err.errors()[0]['msg']}") from err


def unpack(file: Path, target: Path) -> LabSpec:
    """Unpack a saved lab's folder into ``target``/lab, and check it; raises SavedLabError."""
    free = os.statvfs(target)
    budget = Budget(free.f_bavail * free.f_frsize)
    try:
        with _opened(file) as stream:
            unpack_tree(stream, target, budget)
    except HostileArchiveError as err:
        raise _damaged(file, err) from err
    except OSError as err:
        raise SavedLabError(f"{file}: it cannot be unpacked: {cause(err)}") from err
    if fault := next(_faults(target / head.FOLDER), ""):
        raise SavedLabError(f"{file}: {fault}; it was not written by podwire lab save")
    return _checked_spec(file, LabDir(target / head.FOLDER))


def _opened(file: Path) -> BufferedReader:
    try:
        stream = file.open("rb")
    except OSError as err:
        raise SavedLabError(f"{file}: {cause(err)}") from err
    if stream.peek(2)[:2] != _GZIP:
        stream.close()
        raise SavedLabError(f"{file}: it is no saved lab: it is not compressed by gzip")
    return stream


def _first(stream: BufferedReader) -> bytes:
    """Return the content of the first member; raises HostileArchiveError, ValueError."""
    budget = Budget(2 * _MOST_HEAD, 1)
    with damage_named():
        tar, member = next(members(Tape(decompress(stream, budget), budget), budget), (None, None))
        if tar is None or member is None or member.name != head.NAME or member.size > _MOST_HEAD:
            raise ValueError(f"its first member is not {head.NAME}")
        content = tar.extractfile(member)
        return content.read(_MOST_HEAD) if content is not None else b""


def _damaged(file: Path, err: Exception) -> SavedLabError:
    return SavedLabError(f"{file}: it is no saved lab, or damaged: {err}; copy or save it again")


def _faults(lab: Path) -> Iterator[str]:
    """Yield what must not be in a lab's folder, and what is missing."""
    for name in (*head.FILES[:1], *_NEEDED):
        if not stat.S_ISREG(_mode(lab / name)):
            yield f"{name} is missing"
    for entry in _entries(lab):
        inside = str(entry.relative_to(lab))
        top = inside.partition("/")[0]
        mode = _mode(entry)
        if top not in (*head.FILES, *head.FOLDERS):
            yield f"{inside[:200]} is no part of a lab"
        if not head.OF_PODS.match(f"{inside}") and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            yield f"{inside[:200]} is a link, where a lab has files and folders"


def _entries(lab: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(lab):
        for name in (*folders, *files):
            yield Path(path, name)


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _checked_spec(file: Path, lab: LabDir) -> LabSpec:
    """Return the settings, if a lab file could say the same; raises SavedLabError."""
    try:
        spec = lab.spec()
        assert spec is not None  # noqa: S101  # the file is there
        text = json.dumps(describe(spec, None).model_dump(mode="json", by_alias=True))
        again = plan(read(text.encode(), "lab.json"))
        if (lab.path / "file.json").exists():
            LabFile.model_validate_json((lab.path / "file.json").read_bytes())
        published.kept(lab)
    except PublishError as err:
        raise SavedLabError(f"{file}: {err}") from err
    except (LabFileError, *_MALFORMED) as err:
        raise SavedLabError(f"{file}: lab.json: {err}; it was not written by podwire") from err
    running = tuple(dataclasses.replace(node, stopped=False) for node in spec.nodes)
    if dataclasses.replace(spec, nodes=running, stopped=False, stopped_controls=()) != again:
        raise SavedLabError(f"{file}: lab.json has values that no lab has")
    known = {machine.name for machine in machines(spec)}
    if {path.name for path in (lab.path / "machines").iterdir()} - known:
        raise SavedLabError(f"{file}: it has machines that are not in its lab.json")
    return spec
