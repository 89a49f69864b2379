"""Pulls an image from a registry into the store: one platform, every digest checked twice.

skopeo writes the manifest as the registry has it, and the contents beside it. An OCI layout around
these files is what the store imports, so that an image from a registry passes the same checks as an
archive, and has the ID and the digest that other tools say.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control.runtime.images import names, skopeo
from control.runtime.images.layout import unpack_image
from control.runtime.images.manifests import MANIFESTS, Platform, own_platform
from control.runtime.images.sources import ImageFormatError
from control.runtime.images.store import Image, ImageStore

_BLOB = re.compile(r"[0-9a-f]{64}")
_PLATFORM = re.compile(r"([a-z0-9]{1,32})/([a-z0-9]{1,32})(?:/([a-z0-9]{1,32}))?")
MOST_BYTES = 64 << 30  # as an image may have unpacked
_STALLED = 120.0  # skopeo itself gives up a connection after 30 s


class PullError(Exception):
    """An image was not pulled; the text names the image, the cause and the remedy."""


@dataclass(frozen=True, slots=True)
class PullOptions:
    """Which platform is pulled (``OS/ARCH[/VARIANT]``), how, and how many bytes at most."""

    platform: str = ""
    access: skopeo.Access = field(default_factory=skopeo.Access)
    most_bytes: int = MOST_BYTES
    stalled: float = _STALLED


@dataclass(frozen=True, slots=True)
class Pulled:
    """An image of the store, and the digest of its manifest in the registry."""

    image: Image
    digest: str


def pull(
    reference: str, options: PullOptions, store: ImageStore, say: Callable[[str], None]
) -> Pulled:
    """Pull an image into the store; ``say`` gets the progress in words.

    Raises PullError, ImageError, OSError; the store is then unchanged.
    """
    try:
        full = names.normalize(reference)
        platform, variant = parse_platform(options.platform)
    except ValueError as err:
        raise PullError(str(err)) from err
    wanted = skopeo.Wanted(
        full, platform.os, platform.architecture, variant, options.most_bytes, options.stalled
    )
    # As skopeo's own: /tmp may be a small file system in memory.
    where = os.environ.get("TMPDIR", "/var/tmp")  # noqa: S108  # the folder's name is random
    with tempfile.TemporaryDirectory(prefix="podwire-pull-", dir=where) as temporary:
        folder = Path(temporary) / "image"
        try:
            skopeo.copy(wanted, options.access, folder, lambda size: say(f"{size / 1e6:.1f} MB"))
        except skopeo.SkopeoError as err:
            raise PullError(f"image {full}: cannot be pulled: {err}") from err
        digest = as_layout(folder)
        say("unpacking")
        try:
            image = store.add_made(full, lambda root: unpack_image(folder, root, platform))
        except ImageFormatError as err:
            raise PullError(f"image {full}: it was pulled, and is no valid image: {err}") from err
        return Pulled(image, digest)


def parse_platform(text: str) -> tuple[Platform, str]:
    """Return a platform and its variant, such as linux/arm/v7; this machine's for "".

    Raises ValueError.
    """
    if not text:
        return own_platform(), ""
    found = _PLATFORM.fullmatch(text)
    if not found:
        raise ValueError(f"platform {text!r}: want OS/ARCH[/VARIANT], such as linux/arm64")
    return Platform(os=found[1], architecture=found[2]), found[3] or ""


def as_layout(folder: Path) -> str:
    """Turn what skopeo's transport ``dir`` wrote into an OCI layout; return the manifest's digest.

    Sources: containers/image (docs/containers-transports.5.md), OCI image-spec image-layout.md.
    """
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)
    content = (folder / "manifest.json").read_bytes()
    for path in folder.iterdir():
        if _BLOB.fullmatch(path.name):
            path.rename(blobs / path.name)
    (folder / "manifest.json").unlink()
    digest = hashlib.sha256(content).hexdigest()
    (blobs / digest).write_bytes(content)
    entry = {"mediaType": _kind(content), "digest": f"sha256:{digest}", "size": len(content)}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return f"sha256:{digest}"


def _kind(content: bytes) -> str:
    """Return a manifest's media type; only OCI's may leave it out (manifest.md)."""
    try:
        document: Any = json.loads(content)
    except ValueError:
        document = None  # the store says what is wrong with it
    kind = document.get("mediaType") if isinstance(document, dict) else None
    return kind if isinstance(kind, str) else MANIFESTS[0]
