"""Builds an image of a root folder and a small configuration: an OCI layout in one archive.

Sources: OCI image-spec 1.1 (image-layout.md, manifest.md, config.md). The same folder and
configuration make the same bytes: names are sorted, and no time of the build is in them.
"""

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from control.linux.architecture import architecture
from control.linux.errors import cause
from control.runtime.images import layout
from control.runtime.images.manifests import Text

_MOST_BYTES = 1 << 20  # of a configuration
_DEEPEST = 8
_PIECE = 1 << 20
_OCI = "application/vnd.oci.image"
MANIFEST = f"{_OCI}.manifest.v1+json"
_REFERENCE = "org.opencontainers.image.ref.name"  # what skopeo and containerd read


class BuildError(Exception):
    """An image cannot be built; the text names the file, the cause, and the remedy."""


def _words(value: object) -> object:
    """Return the words of a command; a text alone is a command of the image's shell."""
    return ["/bin/sh", "-c", value] if isinstance(value, str) else value


Command = Annotated[list[Text], BeforeValidator(_words)]


class BuildConfig(BaseModel):
    """What containers of the image do unless a Pod says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    entrypoint: Command | None = None
    command: Command | None = None
    environment: dict[str, Text] = {}
    directory: Annotated[Text, Field(pattern="^/")] = "/"
    user: Text | None = None
    stop_signal: Annotated[Text | None, Field(alias="stopSignal")] = None
    labels: dict[str, Text] = {}

    def wire(self) -> dict[str, Any]:
        """Return the part ``config`` of an OCI configuration."""
        found = {
            "Entrypoint": self.entrypoint,
            "Cmd": self.command,
            "Env": [f"{name}={value}" for name, value in sorted(self.environment.items())],
            "WorkingDir": self.directory,
            "User": self.user,
            "StopSignal": self.stop_signal,
            "Labels": dict(sorted(self.labels.items())),
        }
        return {key: value for key, value in found.items() if value}


def read_config(path: Path) -> BuildConfig:
    """Read a configuration (YAML or JSON); raises BuildError, which names the wrong fields."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise BuildError(f"{path}: it has over {_MOST_BYTES >> 20} MiB")
        value = _load(raw)
        return BuildConfig.model_validate({} if value is None else value)
    except OSError as err:
        raise BuildError(f"{path}: {cause(err)}") from err
    except (yaml.YAMLError, UnicodeError) as err:
        raise BuildError(f"{path}: {' '.join(str(err).split())[:300]}") from err
    except ValidationError as err:
        known = [field.alias or name for name, field in BuildConfig.model_fields.items()]
        faults = "; ".join(
            f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}"
            for each in err.errors()[:10]
        )
        raise BuildError(f"{path}: {faults}; known are {', '.join(known)}") from err


def _load(raw: bytes) -> Any:
    """Return the value of a YAML text, which is not larger than the text; raises YAMLError."""
    depth = 0
    for event in yaml.parse(raw, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"it is nested over {_DEEPEST} levels deep")
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*NAME): write the value out")
    return yaml.load(raw, Loader=yaml.CSafeLoader)  # it makes plain values


@dataclass(frozen=True, slots=True)
class Blob:
    """A content of an image; ``digest`` is in hexadecimal, ``size`` in bytes."""

    kind: str
    digest: str
    size: int

    def descriptor(self, **more: Any) -> dict[str, Any]:
        """Return the content's descriptor."""
        return {
            "mediaType": self.kind,
            "digest": f"sha256:{self.digest}",
            "size": self.size,
            **more,
        }


def build(folder: Path, config: BuildConfig, name: str, archive: Path) -> str:
    """Write the archive of an image, whole or not at all; return the image's ID.

    Raises BuildError, OSError.
    """
    if not folder.is_dir() or not layout.has_program(folder):
        raise BuildError(
            f"{folder}: it is no root file system, because there is no program in it (an "
            "executable ELF file): name the folder in which the image's bin or usr is"
        )
    if archive.resolve().is_relative_to(folder.resolve()):
        raise BuildError(f"{archive}: it would be a part of the image; write it outside")
    fresh = archive.with_name(f"{archive.name}.new")
    try:
        with tempfile.TemporaryFile(dir=archive.parent) as layer, fresh.open("wb") as out:
            blob = write_layer(folder, layer)
            found = _write(out, layer, blob, config, name)
        fresh.rename(archive)
    except BaseException:
        with suppress(OSError):
            fresh.unlink()
        raise
    return found


def write_layer(folder: Path, layer: IO[bytes]) -> Blob:
    """Write a root folder as a layer into a file, and go back to its begin; raises OSError."""
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for path in _entries(folder):
            info = tar.gettarinfo(path, str(path.relative_to(folder)))
            if info is None or info.isblk() or info.ischr():  # None: a socket
                continue
            info.uname = info.gname = ""  # names of this machine's users
            if info.isfile():
                with path.open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)
    size = layer.tell()
    layer.seek(0)
    digest = hashlib.sha256()
    while piece := layer.read(_PIECE):
        digest.update(piece)
    layer.seek(0)
    return Blob(f"{_OCI}.layer.v1.tar", digest.hexdigest(), size)


def _entries(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted((*folders, *files)):
            yield Path(path, name)


def documents(blob: Blob, wire: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return (configuration, manifest) of an image with one layer; ``wire`` is its ``config``."""
    described = {
        "architecture": architecture(),
        "os": "linux",
        "config": wire,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{blob.digest}"]},
    }
    content = json.dumps(described, sort_keys=True).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _blob(f"{_OCI}.config.v1+json", content).descriptor(),
        "layers": [blob.descriptor()],
    }
    return content, json.dumps(manifest, sort_keys=True).encode()


def _blob(kind: str, content: bytes) -> Blob:
    return Blob(kind, hashlib.sha256(content).hexdigest(), len(content))


def _write(out: IO[bytes], layer: IO[bytes], blob: Blob, config: BuildConfig, name: str) -> str:
    described, manifest = documents(blob, config.wire())
    with tarfile.open(fileobj=out, mode="w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        info = tarfile.TarInfo(f"blobs/sha256/{blob.digest}")
        info.size = blob.size
        tar.addfile(info, layer)
        _add_blob(tar, described)
        one = _blob(MANIFEST, manifest)
        _add_blob(tar, manifest)
        entry = one.descriptor(annotations={_REFERENCE: name})
        index = {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": [entry]}
        _add(tar, "index.json", json.dumps(index).encode())
    return f"sha256:{hashlib.sha256(described).hexdigest()}"


def _add_blob(tar: tarfile.TarFile, content: bytes) -> None:
    _add(tar, f"blobs/sha256/{hashlib.sha256(content).hexdigest()}", content)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
