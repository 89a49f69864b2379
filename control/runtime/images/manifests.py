"""Reads an image's documents: OCI layout, and what ``docker save`` writes.

Sources: OCI image-spec (image-layout.md, image-index.md, manifest.md, config.md), and moby's image
archive format v1.2. Each document has a bounded size and upstream's types; digests and sizes are
checked while the bytes are read (descriptor.md, "Verification").
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from typing import Annotated, Any, TypeVar, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from control.linux.architecture import architecture
from control.runtime.images.sources import Files, ImageFormatError
from control.runtime.images.tape import HostileArchiveError

# As containers/image (MaxManifestBodySize, MaxConfigBodySize).
_MOST_DOCUMENT = 4 * 1024 * 1024
_MOST_NESTED = 4
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_CONFIGS = (
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
)
_LAYERS = re.compile(
    r"application/vnd\.oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?"
    r"|application/vnd\.docker\.image\.rootfs\.(diff|foreign\.diff)\.tar(\.gzip|\.zstd)?"
)
# Names of files that say their content's digest: in a layout, and in what docker save writes.
_NAMED = re.compile(r"(?:blobs/(sha256|sha512)/)?([0-9a-f]{64}|[0-9a-f]{128})(?:\.json)?")


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL character")
    return text


Text = Annotated[str, AfterValidator(_without_nul)]
Digest = Annotated[str, Field(pattern=r"^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$")]
Parsed = TypeVar("Parsed")


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Platform(_Document):
    """What a manifest is for; variants of an architecture are not told apart."""

    os: str = ""
    architecture: str = ""

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


def own_platform() -> Platform:
    """Return what this machine runs."""
    return Platform(os="linux", architecture=architecture())


class Descriptor(_Document):
    """The name of a content, with its size in bytes."""

    kind: str = Field(alias="mediaType", max_length=255)
    digest: Digest
    size: int = Field(ge=0)
    platform: Platform | None = None
    annotations: dict[str, str] | None = None

    @property
    def file(self) -> str:
        """The content's file in a layout."""
        return f"blobs/{self.digest.replace(':', '/')}"


class Index(_Document):
    """The manifests of several platforms, or of a layout."""

    kind: str | None = Field(None, alias="mediaType")
    manifests: list[Descriptor] = Field(max_length=10_000)
    config: None = None  # a document that is both says different things to different readers
    layers: None = None


class Manifest(_Document):
    """One image for one platform."""

    kind: str | None = Field(None, alias="mediaType")
    config: Descriptor
    layers: list[Descriptor] = Field(max_length=1000)
    manifests: None = None


class Saved(_Document):
    """An image in what docker save writes."""

    config: str = Field(alias="Config")
    layers: list[str] | None = Field(None, alias="Layers", max_length=1000)
    names: list[str] | None = Field(None, alias="RepoTags", max_length=1000)


class RootFS(_Document):
    """The digests of the layers' uncompressed bytes."""

    diff_ids: list[Digest] | None = Field(None, max_length=1000)


class Defaults(_Document):
    """What containers of an image do unless told otherwise."""

    entrypoint: list[Text] | None = Field(None, alias="Entrypoint")
    command: list[Text] | None = Field(None, alias="Cmd")
    environment: list[Text] | None = Field(None, alias="Env")
    directory: Text | None = Field(None, alias="WorkingDir")
    user: Text | None = Field(None, alias="User")
    stop_signal: Text | None = Field(None, alias="StopSignal")


class Config(_Document):
    """An image's configuration."""

    os: str = ""
    architecture: str = ""
    rootfs: RootFS
    config: Defaults | None = None


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's file, what its bytes must be, and the digest of them uncompressed."""

    file: str
    digest: str
    size: int | None
    difference: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image's ID, its configuration, its layers, the lowest first, and its names."""

    id: str
    config: Config
    layers: tuple[Layer, ...]
    names: tuple[str, ...] = ()


class Checked(RawIOBase):
    """Bytes that must have a digest and a size; ``finish`` says whether they had."""

    def __init__(self, stream: BufferedReader, digest: str, size: int | None) -> None:
        self._stream, self._digest, self._size = stream, digest, size
        self._found = hashlib.new(digest.partition(":")[0] or "sha256")
        self._count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._stream.readinto(buffer)
        self._found.update(memoryview(buffer)[:count])
        self._count += count
        if self._size is not None and self._count > self._size:
            raise HostileArchiveError(f"is damaged: more than {self._size} bytes")
        return count

    def finish(self) -> str:
        """Read the rest, and return the digest; raises HostileArchiveError if it is another."""
        buffer = bytearray(1 << 20)
        while self.readinto(buffer):
            pass
        if self._size is not None and self._count != self._size:
            raise HostileArchiveError(f"is damaged: {self._count} bytes instead of {self._size}")
        found = f"{self._found.name}:{self._found.hexdigest()}"
        if self._digest and found != self._digest:
            raise HostileArchiveError(f"is damaged: its content is {found}")
        return found


def open_checked(stream: BufferedReader, layer: Layer) -> Checked:
    """Return a layer's bytes, which are checked while they are read."""
    return Checked(stream, layer.digest, layer.size)


def read_image(files: Files, platform: Platform) -> Image:
    """Return the only image for a platform. Raises ImageFormatError, OSError."""
    if files.has("oci-layout"):
        return _oci(files, _only(_fitting(_index(files), "index.json", platform)), platform)
    saved = _saved(files)
    if len(saved) != 1:
        raise ImageFormatError(
            f"manifest.json describes {len(saved)} images instead of exactly one: save each alone"
        )
    return _docker(files, saved[0], platform)


def read_images(files: Files, platform: Platform) -> tuple[Image, ...]:
    """Return all images for a platform, with their names. Raises ImageFormatError, OSError."""
    if not files.has("oci-layout"):
        return tuple(_docker(files, each, platform) for each in _saved(files))
    fitting = _fitting(_index(files), "index.json", platform)
    return tuple(_oci(files, each, platform) for each in fitting)


def _index(files: Files) -> Index:
    version = _parse(dict[str, Any], _read(files, "oci-layout")[0], "oci-layout")
    if version.get("imageLayoutVersion") != "1.0.0":
        raise ImageFormatError(f"oci-layout: version {version.get('imageLayoutVersion')!r}")
    return _parse(Index, _read(files, "index.json")[0], "index.json")


def _saved(files: Files) -> list[Saved]:
    if not files.has("manifest.json"):
        raise ImageFormatError(
            "neither an OCI layout (oci-layout, index.json) nor a docker archive (manifest.json); "
            "for a root file system, pass its folder"
        )
    return _parse(list[Saved], _read(files, "manifest.json")[0], "manifest.json")


def _oci(files: Files, descriptor: Descriptor, platform: Platform) -> Image:
    manifest = _descend(files, descriptor, platform, _MOST_NESTED)
    if manifest.config.kind not in _CONFIGS:
        raise ImageFormatError(f"is no container image, but has {manifest.config.kind!r}")
    for layer in manifest.layers:
        if not _LAYERS.fullmatch(layer.kind):
            raise ImageFormatError(f"layer {layer.digest} has the unknown type {layer.kind!r}")
    content, digest = _read(files, manifest.config.file, manifest.config)
    config = _config(content, manifest.config.file, platform)
    layers = [(layer.file, layer.digest, layer.size) for layer in manifest.layers]
    return Image(digest, config, _with_differences(config, layers), _annotated(descriptor))


def _annotated(descriptor: Descriptor) -> tuple[str, ...]:
    """Return the name that an index gives an image; a tag alone is none."""
    notes = descriptor.annotations or {}
    name = notes.get("io.containerd.image.name") or notes.get("org.opencontainers.image.ref.name")
    return (name,) if name and ("/" in name or ":" in name) else ()


def _docker(files: Files, saved: Saved, platform: Platform) -> Image:
    content, digest = _read(files, saved.config)
    config = _config(content, saved.config, platform)
    layers = [(name, _named_digest(name), None) for name in saved.layers or ()]
    return Image(digest, config, _with_differences(config, layers), tuple(saved.names or ()))


def _config(content: bytes, name: str, ours: Platform) -> Config:
    config = _parse(Config, content, name)
    theirs = Platform(
        os=config.os or ours.os, architecture=config.architecture or ours.architecture
    )
    if theirs != ours:
        raise ImageFormatError(f"is for {theirs}, and wanted is {ours}")
    return config


def _with_differences(
    config: Config, layers: Sequence[tuple[str, str, int | None]]
) -> tuple[Layer, ...]:
    differences = config.rootfs.diff_ids or []
    if len(differences) != len(layers):
        raise ImageFormatError(
            f"has {len(layers)} layers, and {len(differences)} by its configuration's diff_ids"
        )
    return tuple(Layer(*layer, it) for layer, it in zip(layers, differences, strict=True))


def _fitting(index: Index, name: str, ours: Platform) -> list[Descriptor]:
    """Return an index's manifests for a platform; those that tell none may be for it."""
    found = [it for it in index.manifests if it.platform in (None, ours)]
    if not found:
        others = sorted({str(it.platform) for it in index.manifests if it.platform})
        raise ImageFormatError(
            f"{name}: no manifest for {ours}, only for: {', '.join(others) or 'none'}"
        )
    return found


def _only(fitting: list[Descriptor]) -> Descriptor:
    """Return the image of a layout; raises ImageFormatError if it has several."""
    digests = {it.digest for it in fitting}
    if len(digests) > 1:
        raise ImageFormatError(
            f"index.json describes {len(digests)} images instead of exactly one: copy one of them "
            "to a layout of its own (skopeo copy oci:DIR:NAME oci:OTHER)"
        )
    return fitting[0]


def _descend(files: Files, descriptor: Descriptor, platform: Platform, levels: int) -> Manifest:
    """Return the manifest that a descriptor leads to, through indexes in indexes."""
    content, _ = _read(files, descriptor.file, descriptor)
    if descriptor.kind in MANIFESTS:
        return _same_kind(_parse(Manifest, content, descriptor.file), descriptor)
    if descriptor.kind not in _INDEXES:
        raise ImageFormatError(f"{descriptor.digest} has the unknown type {descriptor.kind!r}")
    if not levels:
        raise ImageFormatError(f"has more than {_MOST_NESTED} indexes in each other")
    index = _same_kind(_parse(Index, content, descriptor.file), descriptor)
    return _descend(files, _fitting(index, descriptor.file, platform)[0], platform, levels - 1)


_Kinded = TypeVar("_Kinded", Index, Manifest)


def _same_kind(document: _Kinded, descriptor: Descriptor) -> _Kinded:
    """Refuse a document that says to be another kind than its descriptor (CVE-2021-41190)."""
    if document.kind not in (None, descriptor.kind):
        raise ImageFormatError(
            f"{descriptor.file} says to be {document.kind!r}, its descriptor {descriptor.kind!r}"
        )
    return document


def _read(files: Files, name: str, wanted: Descriptor | None = None) -> tuple[bytes, str]:
    """Return a document and its digest, after comparing it with the wanted one."""
    digest, size = (wanted.digest, wanted.size) if wanted else (_named_digest(name), None)
    if size is not None and size > _MOST_DOCUMENT:
        raise ImageFormatError(f"{name} has {size} bytes, more than {_MOST_DOCUMENT}")
    with files.open(name) as stream:
        checked = Checked(stream, digest, size)
        try:
            content = BufferedReader(cast("Any", checked)).read(_MOST_DOCUMENT + 1)
            if len(content) > _MOST_DOCUMENT:
                raise HostileArchiveError(f"has more than {_MOST_DOCUMENT} bytes")
            return content, checked.finish()
        except HostileArchiveError as err:
            raise ImageFormatError(f"{name} {err}") from err


def _named_digest(name: str) -> str:
    """Return the digest that a file's name says; "" for other names."""
    found = _NAMED.fullmatch(name)
    if not found:
        return ""
    return f"{'sha512' if len(found[2]) == 128 else 'sha256'}:{found[2]}"


def _parse(kind: type[Parsed], content: bytes, name: str) -> Parsed:
    try:
        return TypeAdapter(kind).validate_json(content)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ImageFormatError(f"{name}{': ' * bool(where)}{where}: {first['msg']}") from err
