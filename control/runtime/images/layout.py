"""Reads images in their exchange formats: root folder, OCI layout, ``docker save`` archive.

Sources: OCI image-spec (image-layout.md, manifest.md), and moby's image archive format v1.2.
"""

import hashlib
import json
import subprocess
import tarfile
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from control.linux.architecture import architecture
from control.runtime.images import archive

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MOST_METADATA = 8 * 1024 * 1024


class ImageFormatError(ValueError):
    """A source is not an image, or is damaged; the text names the fault."""


class _Files(Protocol):
    """The files of a layout, in a folder or in a tar."""

    def has(self, name: str) -> bool:
        """True if there is such a file."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file; raises ImageFormatError if there is none."""

    def close(self) -> None:
        """Close the layout."""


def unpack(source: Path, target: Path) -> dict[str, Any]:
    """Unpack an image's root into ``target``; return the image's configuration.

    Raises ImageFormatError, OSError.
    """
    if source.is_dir() and not (source / "oci-layout").exists():
        return _copy_folder(source, target)
    with closing(_open(source)) as files:
        target.mkdir()
        if files.has("index.json"):
            config, layers = _oci(files)
        elif files.has("manifest.json"):
            config, layers = _docker(files)
        else:
            raise ImageFormatError(
                "neither an OCI layout (index.json) nor a docker archive "
                "(manifest.json); for a root file system, pass its folder"
            )
        for layer in layers:
            try:
                with files.open(layer) as stream:
                    archive.unpack_layer(stream, target)
            except (archive.HostileArchiveError, tarfile.TarError) as err:
                raise ImageFormatError(f"layer {layer}: {err}") from err
    return config


def _copy_folder(source: Path, target: Path) -> dict[str, Any]:
    """Copy a root file system; it has no command, so the Pod must name one."""
    # With "/." the target of a link is copied, not the link.
    command = ["cp", "--archive", "--reflink=auto", f"{source}/.", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageFormatError(done.stderr.partition("\n")[0])  # cp prints a line for each file
    return {"architecture": architecture(), "os": "linux", "config": {"Env": [], "Cmd": []}}


def _open(source: Path) -> _Files:
    if source.is_dir():
        return _Folder(source)
    if not source.exists():
        raise ImageFormatError("no such file or folder")
    try:
        return _Tar(source)
    except tarfile.ReadError as err:  # its text lists the errors of every reader
        raise ImageFormatError("neither a folder nor a tar archive") from err


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def has(self, name: str) -> bool:
        return (self._root / _inside(name)).is_file()

    def open(self, name: str) -> IO[bytes]:
        try:
            return (self._root / _inside(name)).open("rb")
        except OSError as err:
            raise ImageFormatError(f"{name} is missing: {err.strerror}") from err

    def close(self) -> None:
        return


class _Tar:
    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path)  # noqa: SIM115  closed by close()
        self._members = {str(PurePosixPath(item.name)): item for item in self._tar}

    def has(self, name: str) -> bool:
        return name in self._members

    def open(self, name: str) -> IO[bytes]:
        member = self._members.get(str(PurePosixPath(name)))
        stream = self._tar.extractfile(member) if member else None
        if stream is None:
            raise ImageFormatError(f"{name} is missing")
        return stream

    def close(self) -> None:
        self._tar.close()


def _inside(name: str) -> str:
    if name.startswith("/") or ".." in name.split("/"):
        raise ImageFormatError(f"{name!r} leads out of the image")
    return name


def _oci(files: _Files) -> tuple[dict[str, Any], list[str]]:
    """Return the configuration and the layer files for this machine's architecture."""
    manifest = _pick(_object(files, "index.json"), files)
    config = _blob_object(files, manifest.get("config"))
    return config, [_blob(files, layer) for layer in _list(manifest, "layers")]


def _pick(index: dict[str, Any], files: _Files) -> dict[str, Any]:
    entries = [entry for entry in _list(index, "manifests") if isinstance(entry, dict)]
    fitting = [entry for entry in entries if _fits(entry.get("platform"))]
    if not fitting:
        raise ImageFormatError(f"no manifest for linux/{architecture()}")
    document = _blob_object(files, fitting[0])
    if fitting[0].get("mediaType") in _INDEXES or "manifests" in document:
        return _pick(document, files)
    return document


def _fits(wanted: Any) -> bool:
    if not isinstance(wanted, dict):
        return True
    return wanted.get("os") == "linux" and wanted.get("architecture") == architecture()


def _docker(files: _Files) -> tuple[dict[str, Any], list[str]]:
    entries = json.loads(_read(files, "manifest.json"))
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise ImageFormatError("manifest.json does not describe exactly one image")
    config = _object(files, str(entries[0].get("Config")))
    return config, [str(layer) for layer in _list(entries[0], "Layers")]


def _blob(files: _Files, descriptor: Any) -> str:
    """Return the file of a blob, after comparing its digest."""
    digest = str(descriptor.get("digest", "")) if isinstance(descriptor, dict) else ""
    kind, _, value = digest.partition(":")
    if kind != "sha256" or len(value) != 64 or not value.isalnum():
        raise ImageFormatError(f"digest {digest!r} is not one of sha256")
    name = f"blobs/sha256/{value}"
    with files.open(name) as stream:
        found = hashlib.sha256()
        while piece := stream.read(1 << 20):
            found.update(piece)
    if found.hexdigest() != value:
        raise ImageFormatError(
            f"blob {digest} is damaged: its content is sha256:{found.hexdigest()}"
        )
    return name


def _blob_object(files: _Files, descriptor: Any) -> dict[str, Any]:
    return _object(files, _blob(files, descriptor))


def _object(files: _Files, name: str) -> dict[str, Any]:
    try:
        value = json.loads(_read(files, name))
    except ValueError as err:
        raise ImageFormatError(f"{name} is not JSON: {err}") from err
    if not isinstance(value, dict):
        raise ImageFormatError(f"{name} is not a JSON object")
    return value


def _read(files: _Files, name: str) -> bytes:
    with files.open(name) as stream:
        return stream.read(_MOST_METADATA)


def _list(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key) or []
    if not isinstance(found, list):
        raise ImageFormatError(f"{key} is not a list")
    return found
