"""Unpacks an image from what it is exchanged in: root folder, OCI layout, docker archive."""

import os
import stat
import subprocess
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

from control.linux import usage
from control.linux.architecture import architecture
from control.runtime.images import archive
from control.runtime.images.manifests import (
    Image,
    Layer,
    Platform,
    open_checked,
    own_platform,
    read_image,
    read_images,
)
from control.runtime.images.sources import Files, ImageFormatError, open_files
from control.runtime.images.tape import Budget, HostileArchiveError

_MARKS = ("oci-layout", "index.json", "manifest.json")
_ELF = b"\x7fELF"
_MOST_LOOKED_AT = 100_000  # files, until a folder is said to have no program


def unpack(source: Path, target: Path) -> dict[str, Any]:
    """Unpack an image's root into ``target``; return its ID and its defaults for containers.

    The ID is absent for a root folder. Raises ImageFormatError, OSError.
    """
    is_root = source.is_dir() and not (source / "oci-layout").exists() and has_program(source)
    if is_root:
        return _copy_folder(source, target)
    if source.is_dir() and not any((source / mark).exists() for mark in _MARKS):
        raise ImageFormatError(
            "is no root file system, because there is no program in it (an executable ELF file): "
            "name the folder in which the image's bin or usr is, or an OCI layout, or an archive"
        )
    target.mkdir()
    return unpack_image(source, target, own_platform())


def has_program(folder: Path) -> bool:
    """True if a folder has an executable ELF file, at any depth."""
    waiting, left = deque([os.fspath(folder)]), _MOST_LOOKED_AT
    while waiting and left > 0:
        with os.scandir(waiting.popleft()) as entries:
            for entry in entries:
                left -= 1
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif _is_program(entry):
                    return True
    return False


def _is_program(entry: "os.DirEntry[str]") -> bool:
    mode = entry.stat(follow_symlinks=False).st_mode
    if not stat.S_ISREG(mode) or not mode & 0o111:
        return False
    with Path(entry.path).open("rb") as file:
        return file.read(len(_ELF)) == _ELF


def _copy_folder(source: Path, target: Path) -> dict[str, Any]:
    """Copy a root file system; it has no command, so the Pod must name one."""
    # With "/." the target of a link is copied, not the link.
    command = ["cp", "--archive", "--reflink=auto", f"{source}/.", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageFormatError(done.stderr.partition("\n")[0])  # cp prints a line for each file
    for path, found in usage.walk(target):  # as of layers, devices are left out
        if stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode):
            Path(path).unlink()
    return {"architecture": architecture(), "os": "linux", "config": {"Env": [], "Cmd": []}}


def unpack_image(source: Path, target: Path, platform: Platform) -> dict[str, Any]:
    """Unpack the only image of a layout or an archive for a platform, as ``unpack`` does."""
    budget = Budget()
    with _damage_as_format(), closing(open_files(source, target, budget)) as contents:
        image = read_image(contents, platform)
        return _unpack_layers(contents, image, target, budget)


def _unpack_layers(contents: Files, image: Image, target: Path, budget: Budget) -> dict[str, Any]:
    for layer in image.layers:
        _unpack_layer(contents, layer, target, budget)
    return _described(image)


@contextmanager
def _damage_as_format() -> Iterator[None]:
    try:
        yield
    except HostileArchiveError as err:
        raise ImageFormatError(str(err)) from err


class Bundle:
    """An open archive or layout of one or several images, which can be unpacked one by one."""

    def __init__(self, source: Path, scratch: Path) -> None:
        """Read which images there are; raises ImageFormatError, OSError."""
        with _damage_as_format():
            self._contents = open_files(source, scratch, Budget())
            try:
                self.images = read_images(self._contents, own_platform())
            except BaseException:
                self._contents.close()
                raise

    def unpack(self, image: Image, target: Path) -> dict[str, Any]:
        """Unpack one of ``images``, as ``unpack`` does; raises ImageFormatError, OSError."""
        with _damage_as_format():
            return _unpack_layers(self._contents, image, target, Budget())

    def close(self) -> None:
        """Close the archive."""
        self._contents.close()


def _unpack_layer(contents: Files, layer: Layer, target: Path, budget: Budget) -> None:
    """Unpack a layer, and check it while it is read; what is unpacked of a wrong one is void."""
    algorithm, _, wanted = layer.difference.partition(":")
    with contents.open(layer.file) as stream:
        checked = open_checked(stream, layer)
        try:
            reader = BufferedReader(cast("Any", checked), 1 << 20)
            found = archive.unpack_layer(reader, target, budget, algorithm)
            checked.finish()
        except HostileArchiveError as err:
            raise ImageFormatError(f"layer {layer.file}: {err}") from err
    if found != wanted:
        raise ImageFormatError(
            f"layer {layer.file} is damaged: uncompressed its content is {algorithm}:{found}, and "
            f"by the configuration's diff_ids {layer.difference}"
        )


def _described(image: Image) -> dict[str, Any]:
    defaults = image.config.config
    found = defaults.model_dump(by_alias=True, exclude_none=True) if defaults else {}
    return {"id": image.id, "config": found}
