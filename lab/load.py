"""Carries out ``podwire lab load``: brings images to the nodes of a running lab.

Every node has the images of this machine (/var/lib/podwire/images) and, before them, a store of its
own (labs/NAME/machines/NODE/images), which it sees read-only. The first node gets an image
unpacked; the others get hard links to its files.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import click

from control.linux.errors import cause
from control.runtime.base import ContainerRuntimeError
from control.runtime.images.layout import Bundle
from control.runtime.images.manifests import Image as Archived
from control.runtime.images.names import ImageNameError, normalize
from control.runtime.images.sources import ImageFormatError
from control.runtime.images.store import Image, ImageError, ImageStore
from lab.shared import need_root, plain_errors, running
from lab.state import IMAGES, LabDir


@dataclass(slots=True)
class Loaded:
    """One image: the nodes that got it, and those that had it."""

    name: str
    id: str
    loaded: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = (("loaded on", self.loaded), ("already on", self.present))
        said = "; ".join(f"{words} {', '.join(nodes)}" for words, nodes in parts if nodes)
        return f"{self.name}  {self.id[:19]}  {said}"


def load(name: str, wanted: Sequence[str], sources: Sequence[str], alias: str, output: str) -> None:
    """Load images, and say which node got which."""
    need_root()
    lab, _ = running(name)
    found: list[Loaded] = []
    with plain_errors(), lab.changing():
        spec = running(name)[1]
        nodes = [spec.node(each).name for each in wanted] or [node.name for node in spec.nodes]
        for source in sources:
            for one in load_one(lab, source, list(dict.fromkeys(nodes)), alias):
                found.append(one)
                if output == "table":
                    click.echo(str(one))
    if output == "json":
        click.echo(json.dumps([asdict(one) for one in found], indent=2))


def load_one(lab: LabDir, source: str, nodes: list[str], alias: str) -> Iterator[Loaded]:
    """Load what one word names; raises ImageError, OSError."""
    if source == "-" or Path(source).exists():
        yield from _load_archive(lab, source, nodes, alias)
    elif alias:
        raise ImageError(f"{source}: --as names an image of an archive; there is no such file")
    else:
        yield _load_own(lab, source, nodes)


def _load_own(lab: LabDir, reference: str, nodes: list[str]) -> Loaded:
    """Let nodes have an image of this machine: they have, but for one of the same name."""
    found = _find(ImageStore(IMAGES), reference)
    if found is None:
        raise ImageError(
            f"image {reference}: this machine has neither such an image nor such a file: podwire "
            f"image pull {reference}, or podwire image import {reference} DIR-OR-ARCHIVE"
        )
    result = Loaded(normalize(reference), found)
    for node in nodes:
        own = ImageStore(lab.loaded_images(node), IMAGES)
        had = _find(own, reference) == found
        if not had:
            own.remove(reference)
        (result.present if had else result.loaded).append(node)
    return result


def _load_archive(lab: LabDir, source: str, nodes: list[str], alias: str) -> Iterator[Loaded]:
    try:
        with (
            tempfile.TemporaryDirectory(prefix=".load-", dir=lab.path) as scratch,
            _file(source, Path(scratch)) as file,
            closing(Bundle(file, Path(scratch))) as bundle,
        ):
            for name, image in _named(bundle.images, alias):
                yield _place(lab, bundle, name, image, nodes)
    except (ImageFormatError, ImageNameError) as err:
        raise ImageError(f"{_title(source)}: {err}") from err
    except OSError as err:
        raise ImageError(f"{_title(source)}: cannot be loaded: {cause(err)}") from err


def _title(source: str) -> str:
    return "standard input" if source == "-" else source


@contextmanager
def _file(source: str, scratch: Path) -> Iterator[Path]:
    """Give the archive's file; standard input is copied: an archive is not read in its order."""
    if source != "-":
        yield Path(source)
        return
    copy = scratch / "archive.tar"
    with copy.open("wb") as out:
        shutil.copyfileobj(_standard_input(), out, 1 << 20)
    yield copy


def _standard_input() -> IO[bytes]:
    if sys.stdin.isatty():
        raise ImageError("standard input is a terminal: give an archive, docker save IMAGE | …")
    return sys.stdin.buffer


def _named(images: Sequence[Archived], alias: str) -> Iterator[tuple[str, Archived]]:
    """Yield each image by each of its full names; raises ImageFormatError, ImageNameError."""
    if alias:
        if len({image.id for image in images}) != 1:
            raise ImageFormatError(f"has {len(images)} images, and --as names one")
        yield normalize(alias), images[0]
        return
    for image in images:
        if not image.names:
            raise ImageFormatError(f"has an image without a name, {image.id[:19]}: use --as NAME")
        for name in image.names:
            yield normalize(name), image


def _place(lab: LabDir, bundle: Bundle, name: str, image: Archived, nodes: list[str]) -> Loaded:
    result = Loaded(name, image.id)
    first: Image | None = None
    for node in nodes:
        own = ImageStore(lab.loaded_images(node))
        if _find(ImageStore(lab.loaded_images(node), IMAGES), name) == image.id:
            result.present.append(node)
            continue
        if first is None:
            first = own.add_made(name, lambda root: bundle.unpack(image, root))
        else:
            own.link(first)
        result.loaded.append(node)
    return result


def _find(store: ImageStore, reference: str) -> str | None:
    """Return the ID of an image, None if it is not in the store; raises ImageError."""
    try:
        return store.find(reference)[0]
    except ContainerRuntimeError as err:
        if err.reason == "InvalidImageName":
            raise ImageError(f"{reference}: no such file, and it is no image's name") from err
        return None
