"""The image store of a node.

    DIR/docker.io%2Fpodwire%2Ftools%3Alatest -> .data/8f…/     a link for each name
    DIR/.data/8f…/  rootfs/  config.json (ID, size, "config")  contents, which never change

A name's link is switched in one step, so that a container sees a whole image. A running container
keeps the content of its start, even if the name leads to another by now.

A store may stand on others, which it only reads (containers/storage calls them additional image
stores): a name that it has not itself is looked up there.
"""

import fcntl
import hashlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.linux import files, whole
from control.linux.errors import cause
from control.linux.usage import disk_usage
from control.reported import ReportedError
from control.runtime.base import ContainerRuntimeError
from control.runtime.builtin.spec import ImageConfig
from control.runtime.images import layout, names
from control.runtime.images.digest import image_id
from control.runtime.images.sources import ImageFormatError

_DATA = ".data"


class ImageError(ReportedError):
    """An image cannot be imported or removed; the text names image, cause and remedy."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the store."""

    name: str
    id: str
    folder: Path
    size: int


class ImageStore:
    """Imports, finds, lists and removes images below one folder; finds and lists others' too."""

    def __init__(self, folder: Path, *additional: Path) -> None:
        self.folder = self._folder = folder
        self._searched = (folder, *additional)

    def find(self, reference: str) -> tuple[str, ImageConfig]:
        """Return (image ID, configuration) of a local image.

        Raises ContainerRuntimeError with kubelet's reason: InvalidImageName, or ErrImagePull for
        an absent image. The caller handles ErrImageNeverPull and back-off.
        """
        try:
            full = names.normalize(reference)
        except names.ImageNameError as err:
            raise ContainerRuntimeError(
                names.complaint(reference, err), "InvalidImageName"
            ) from err
        for store in self._searched:
            folder = (store / names.to_folder(full)).resolve()
            config = files.read_json(folder / "config.json")
            if config is not None and (folder / "rootfs").is_dir():
                return _image_id(config), parse_config(config, str(folder / "rootfs"))
        raise ContainerRuntimeError(
            f'image "{full}" is not on this node, and its agent pulls from no registry: podwire '
            f"image pull {reference}, or podwire image import {reference} DIR-OR-ARCHIVE",
            "ErrImagePull",
        )

    def list(self) -> tuple[Image, ...]:
        """Return all images, by name."""
        found: dict[str, Image] = {}
        for store in reversed(self._searched):
            found |= {image.name: image for image in _images_in(store)}
        return tuple(found[name] for name in sorted(found))

    def add(self, reference: str, source: Path) -> Image:
        """Import a root folder, an OCI layout (folder or tar) or a docker-save tar.

        Raises ImageError; the store is then unchanged.
        """
        full = _full(reference)
        if self._folder.resolve().is_relative_to(source.resolve()):
            raise ImageError(
                f"image {full}: {source} holds the image store {self._folder} itself: copy what "
                "belongs to the image to a folder of its own, and import that"
            )
        try:
            with self._staging() as staging:
                config = layout.unpack(source, staging / "rootfs")
                return self._commit(full, staging, config)
        except ImageFormatError as err:
            raise ImageError(f"image {full}: {source}: {err}") from err
        except OSError as err:
            raise ImageError(f"image {full}: cannot import {source}: {cause(err)}") from err

    def add_tree(
        self, reference: str, make: Callable[[Path], None], config: dict[str, Any]
    ) -> Image:
        """Import the files that ``make(folder)`` makes in an empty folder; raises OSError."""

        def fill(root: Path) -> dict[str, Any]:
            make(root)
            return config

        return self.add_made(reference, fill)

    def add_made(self, reference: str, make: Callable[[Path], dict[str, Any]]) -> Image:
        """Import what ``make(folder)`` puts into an empty folder, with the settings it returns.

        Raises what ``make`` raises, ImageError, OSError.
        """
        full = _full(reference)
        with self._staging() as staging:
            (staging / "rootfs").mkdir()
            return self._commit(full, staging, make(staging / "rootfs"))

    def link(self, image: Image) -> Image:
        """Take over an image of another store on the same file system, by hard links.

        A content never changes, so that both may share its files. Raises ImageError, OSError.
        """

        def fill(root: Path) -> dict[str, Any]:
            command = ["cp", "--archive", "--link", f"{image.folder}/rootfs/.", str(root)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ImageError(f"image {image.name}: {done.stderr.partition(chr(10))[0]}")
            return files.read_json(image.folder / "config.json") or {}

        return self.add_made(image.name, fill)

    def remove(self, reference: str) -> bool:
        """Remove an image; False if there was none of that name. Raises ImageError, OSError."""
        with self._locked():
            name = self._folder / names.to_folder(_full(reference))
            existed = name.is_symlink()
            name.unlink(missing_ok=True)
            self._collect()
        return existed

    def _commit(self, full: str, staging: Path, config: dict[str, Any]) -> Image:
        root = staging / "rootfs"
        size = disk_usage(root)
        if not isinstance(config.get("id"), str):
            config = {**config, "id": image_id(config, root)}
        files.write_json(staging / "config.json", {**config, "size": size})
        (staging / "config.json").chmod(0o644)
        name = self._folder / names.to_folder(full)
        whole.link(name, f"{_DATA}/{staging.name}", ".name.new")
        return Image(full, _image_id(config), name, size)

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        """Make a folder among the contents; it is removed if no name leads to it in the end."""
        with self._locked():
            staging = self._folder / _DATA / secrets.token_hex(8)
            staging.mkdir(parents=True)
            try:
                yield staging
            finally:
                self._collect()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _collect(self) -> None:
        """Remove contents without a name, except those that a container still uses."""
        named = {entry.resolve() for entry in self._folder.iterdir() if entry.is_symlink()}
        data = self._folder / _DATA
        loose = [path for path in data.iterdir() if path.resolve() not in named]
        used = _mounted_roots() if loose else ""
        for path in loose:
            if path.name not in used:
                shutil.rmtree(path, ignore_errors=True)


def _images_in(store: Path) -> Iterator[Image]:
    for folder in store.iterdir() if store.is_dir() else ():
        config = files.read_json(folder / "config.json")
        if config is not None and folder.is_symlink():
            name = names.from_folder(folder.name)
            yield Image(name, _image_id(config), folder, int(config.get("size", 0)))


def _mounted_roots() -> str:
    """Return the mounts of every visible process; an overlay's line names its lower folders."""
    seen: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                space = (entry / "ns/mnt").stat().st_ino
                if space not in seen:
                    seen[space] = (entry / "mountinfo").read_text(errors="replace")
    return "\n".join(seen.values())


def parse_config(config: dict[str, Any], root: str) -> ImageConfig:
    """Return an OCI image configuration's defaults for containers; invalid values are ignored."""
    inner = config.get("config")
    inner = inner if isinstance(inner, dict) else {}

    def words(key: str) -> tuple[str, ...]:
        value = inner.get(key)
        return tuple(str(item) for item in value) if isinstance(value, list) else ()

    return ImageConfig(
        root,
        entrypoint=words("Entrypoint"),
        command=words("Cmd"),
        environment=words("Env"),
        directory=str(inner.get("WorkingDir") or ""),
        user=str(inner.get("User") or ""),
        stop_signal=str(inner.get("StopSignal") or ""),
    )


def _full(reference: str) -> str:
    try:
        return names.normalize(reference)
    except names.ImageNameError as err:
        raise ImageError(str(err)) from err


def _image_id(config: dict[str, Any]) -> str:
    """Return the image ID. What an earlier version imported from a root folder has none."""
    if isinstance(config.get("id"), str):
        return str(config["id"])
    plain = {key: value for key, value in config.items() if key != "size"}
    return f"sha256:{hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()}"
