"""Applies the objects of manifests to a lab, as ``kubectl apply --server-side`` does."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.api.kind import Kind
from control.api.meta import Object
from control.client import ApiError, Client
from control.client.backoff import Backoff
from control.linux.errors import cause
from control.reported import ReportedError
from control.server.wire.yaml.read import YamlError, load_yaml
from lab.report import Say

MANAGER = "podwire-lab"
_ENDINGS = (".yaml", ".yml", ".json")
_MOST_BYTES = 16 << 20
_DEEPEST = 100
_DOCUMENT = re.compile(rb"^---(?=\s|$)[^\n]*$", re.MULTILINE)
_PATIENCE = 60.0  # seconds, for what the cluster makes by itself: a kind, a ServiceAccount
_FORBIDDEN, _MISSING = 403, 404


class ManifestError(ReportedError):
    """A manifest cannot be read or applied; the text names file, object, cause and remedy."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """An object, and the file in which it is."""

    path: Path
    wire: dict[str, Any]

    def __str__(self) -> str:
        name = self.wire["metadata"].get("name")
        return f"{self.path}: {self.wire['kind']} {name}"


def read(paths: Sequence[Path]) -> list[Manifest]:
    """Return the objects of files and of folders, in their order; raises ManifestError."""
    return [one for path in paths for file in _files(path) for one in _objects(file)]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.iterdir() if each.suffix in _ENDINGS)
    if not found:
        raise ManifestError(f"{path}: the folder has no file that ends with {', '.join(_ENDINGS)}")
    return found


def _objects(path: Path) -> Iterator[Manifest]:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except OSError as err:
        raise ManifestError(f"{path}: {cause(err)}") from err
    if len(raw) > _MOST_BYTES:
        raise ManifestError(f"{path}: it has over {_MOST_BYTES >> 20} MiB: split it")
    for text in _DOCUMENT.split(raw):
        try:
            wire, _ = load_yaml(text, _MOST_BYTES, _DEEPEST)
        except YamlError as err:
            raise ManifestError(f"{path}: {err}") from err
        if wire is not None:
            yield from _listed(path, wire)


def _listed(path: Path, wire: Any) -> Iterator[Manifest]:
    """Yield an object, or those of a List."""
    if not isinstance(wire, dict) or not all(
        isinstance(wire.get(name), str) for name in ("apiVersion", "kind")
    ):
        raise ManifestError(f"{path}: want objects with apiVersion and kind, found {wire!r:.60}")
    if wire["kind"] == "List" and isinstance(wire.get("items"), list):
        for item in wire["items"]:
            yield from _listed(path, item)
        return
    meta = wire.get("metadata")
    if not isinstance(meta, dict) or not isinstance(meta.get("name"), str):
        raise ManifestError(f"{path}: {wire['kind']}: it needs a metadata.name")
    yield Manifest(path, wire)


def apply(kubeconfig: Path, manifests: Sequence[Manifest], say: Say) -> None:
    """Apply objects, one after the other; raises ManifestError, ClientError."""
    asyncio.run(_apply(kubeconfig, manifests, say))


async def _apply(kubeconfig: Path, manifests: Sequence[Manifest], say: Say) -> None:
    async with Client.from_kubeconfig(kubeconfig) as client:
        for number, each in enumerate(manifests, 1):
            try:
                await _one(client, each)
            except ApiError as err:
                raise ManifestError(f"{each}: {err.status.message or err}") from err
            say(f"manifests: {number} of {len(manifests)} objects")


async def _one(client: Client, manifest: Manifest) -> None:
    """Apply an object; wait for what the cluster has to make before it. Raises ApiError."""
    pause, loop = Backoff(), asyncio.get_running_loop()
    deadline = loop.time() + _PATIENCE
    while True:
        try:
            kind = await _kind(client, manifest)
            return await _send(client, kind, manifest.wire)
        except (ApiError, _UnknownKindError) as err:
            if not _may_come(err, manifest) or loop.time() > deadline:
                if isinstance(err, ApiError):
                    raise
                raise ManifestError(f"{manifest}: {err}") from err
        await asyncio.sleep(pause.next())


async def _send(client: Client, kind: Kind, wire: dict[str, Any]) -> None:
    if kind.namespaced and not wire["metadata"].get("namespace"):
        wire = wire | {"metadata": wire["metadata"] | {"namespace": "default"}}
    await client.apply(kind, wire, MANAGER)


def _may_come(err: Exception, manifest: Manifest) -> bool:
    """True if a definition of the kind, or a namespace's ServiceAccount, may be in the making."""
    if isinstance(err, ApiError):
        return err.code == _FORBIDDEN and manifest.wire["kind"] == "Pod"
    return "." in manifest.wire["apiVersion"]


class _UnknownKindError(Exception):
    """The API server has no such kind."""


async def _kind(client: Client, manifest: Manifest) -> Kind:
    """Ask the API server how a kind is called in paths; raises _UnknownKindError, ApiError."""
    group, _, version = manifest.wire["apiVersion"].rpartition("/")
    name = manifest.wire["kind"]
    probe: Kind = Kind(group, version, name, "", Object)
    try:
        found = json.loads(await client.raw(probe.path().rstrip("/")))
    except ApiError as err:
        if err.code != _MISSING:
            raise
        found = {"resources": []}
    for row in found["resources"]:
        if row["kind"] == name and "/" not in row["name"]:
            return Kind(group, version, name, row["name"], Object, row["namespaced"])
    raise _UnknownKindError(
        f"this cluster has no kind {name} of {manifest.wire['apiVersion']}; apply its "
        "CustomResourceDefinition before it, or see: kubectl api-resources"
    )
