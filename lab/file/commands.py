"""Carries out what the lab file says, and prints the present lab as one."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from control.linux.errors import cause
from control.runtime.base import ContainerRuntimeError
from control.runtime.images.store import ImageError, ImageStore
from lab import publish, published
from lab.file import manifests
from lab.file.model import ImageEntry, LabFile, schema
from lab.file.plan import describe, plan
from lab.file.read import MOST_BYTES, LabFileError, read
from lab.report import Steps
from lab.spec import SQLITE, LabSpec
from lab.state import IMAGES, LabDir
from lab.status import published as running
from lab.up import ensure_tools

_RECORD = "file.json"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a lab file says, with whole paths, and all that can be checked before a lab is made."""

    file: LabFile
    spec: LabSpec
    manifests: tuple[manifests.Manifest, ...]
    publish: tuple[publish.Request, ...]


def load(path: str, name: str | None) -> Wanted:
    """Read a lab file, ``-`` for standard input, and the manifests that it names.

    Raises LabFileError, ManifestError.
    """
    folder = Path.cwd() if path == "-" else Path(path).absolute().parent
    text = read(_content(path), "standard input" if path == "-" else path)
    spec = plan(text, name)
    requests = []
    for index, each in enumerate(text.file.publish):
        try:
            requests.append(publish.parse(each))
        except publish.PublishError as err:
            raise text.fault(("publish", index), str(err)) from err
    for index, image in enumerate(text.file.images):
        if image.source is not None and not (folder / image.source).exists():
            what = f"{folder / image.source}: no such file or folder; correct source"
            raise text.fault(("images", index), what)
    found = manifests.read([folder / each for each in text.file.manifests])
    return Wanted(_absolute(text.file, folder), spec, tuple(found), tuple(requests))


def _content(path: str) -> bytes:
    if path == "-":
        return sys.stdin.buffer.read(MOST_BYTES + 1)
    try:
        with Path(path).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except OSError as err:
        raise LabFileError(f"{path}: {cause(err)}") from err


def _absolute(file: LabFile, folder: Path) -> LabFile:
    """Return a file whose paths mean the same in every folder."""
    images = tuple(
        image.model_copy(update={"source": str(folder / image.source)}) if image.source else image
        for image in file.images
    )
    named = tuple(str(folder / each) for each in file.manifests)
    return file.model_copy(update={"images": images, "manifests": named})


def import_images(wanted: Wanted, steps: Steps) -> None:
    """Import images that have a source; others must be there. Raises ImageError, OSError."""
    ensure_tools()
    store = ImageStore(IMAGES)
    for image in wanted.file.images:
        with steps.step(f"image {image.name}", animated=False):
            _import(store, image)


def _import(store: ImageStore, image: ImageEntry) -> None:
    if image.source is not None:
        store.add(image.name, Path(image.source))
        return
    try:
        store.find(image.name)
    except ContainerRuntimeError as err:
        raise ImageError(str(err)) from err


def record(lab: LabDir, wanted: Wanted) -> None:
    """Keep what the lab was made of, for ``lab config``; raises OSError."""
    lab.write(_RECORD, wanted.file.model_dump(mode="json", by_alias=True))


def finish(lab: LabDir, wanted: Wanted, steps: Steps) -> None:
    """Apply the manifests to a lab whose nodes are ready, and publish its ports.

    Raises ManifestError, ClientError, PublishError.
    """
    if wanted.manifests:
        with steps.step("manifests") as say:
            manifests.apply(lab.kubeconfig, wanted.manifests, say)
    for request in wanted.publish:
        with steps.step("published", animated=False) as say, lab.changing():
            made = publish.publish(lab, request)
            published.remember(lab, made)
            say(f"published: {made}")


def recorded(lab: LabDir) -> LabFile | None:
    """Return the file of which a lab was made, or None; raises OSError, ValueError."""
    path = lab.path / _RECORD
    return LabFile.model_validate_json(path.read_text()) if path.exists() else None


def show_config(lab: LabDir, spec: LabSpec, output: str) -> None:
    """Print the lab as a file that makes it again; raises PublishError, OSError."""
    ports = {publish.written(one) for one in published.kept(lab)}
    ports |= {publish.written(one) for one in running(lab).values()}
    document = _short(describe(spec, recorded(lab), sorted(ports)))
    if output == "json":
        return click.echo(json.dumps(document, indent=2))
    return click.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)


def _short(file: LabFile) -> dict[str, Any]:
    """Return a file's fields but those that say nothing."""
    document = file.model_dump(mode="json", by_alias=True, exclude_none=True)
    usual = {"count": 1, "labels": {}, "taints": []}
    document["nodes"] = [
        {key: value for key, value in node.items() if usual.get(key) != value}
        for node in document["nodes"]
    ]
    if not document["hollow"]:
        del document["hollow"]
    if document["controlPlane"] == {"machines": 1, "store": SQLITE}:
        del document["controlPlane"]
    document["dns"] = {key: value for key, value in document["dns"].items() if value}
    return {key: value for key, value in document.items() if value not in ([], {})}


def show_schema() -> None:
    """Print the JSON schema of a lab file."""
    click.echo(json.dumps(schema(), indent=2))
