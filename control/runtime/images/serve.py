"""Serves the images of this machine's store to container runtimes, as a read-only registry.

A runtime such as containerd has a store of its own, and takes images only from registries. So
``podwire image serve`` speaks what it needs of the registry's protocol, on loopback, and containerd
asks it for every registry's images (``config_path``). An image has one layer, the root folder,
which is packed again each time that it is asked for: the same folder makes the same bytes.

Source: OCI distribution-spec 1.1, "Pull"; containerd's docs/hosts.md for ``?ns=``
"""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from aiohttp import web

from control.linux import files
from control.runtime.images import build, names
from control.runtime.images.store import ImageStore

_PIECE = 1 << 20
_REGISTRY = "docker.io"  # of who does not say whose image is asked for
_STORE: web.AppKey["Packed"] = web.AppKey("store")


@dataclass(frozen=True, slots=True)
class _Image:
    root: Path
    layer: str  # the digest, in hexadecimal
    config: bytes
    manifest: bytes


class Packed:
    """The images of a store as a registry has them; each content is looked at once."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._made: dict[Path, _Image] = {}

    def named(self, name: str) -> bytes | None:
        """Return the manifest of a full name; None if the store has none. Raises OSError."""
        folder = next((image.folder for image in self._store.list() if image.name == name), None)
        if folder is None:
            return None
        content = folder.resolve()
        if content not in self._made:
            self._made[content] = _pack(content)
        return self._made[content].manifest

    def manifest(self, digest: str) -> bytes | None:
        """Return a manifest that was given out before."""
        return next((it.manifest for it in self._images() if _is(it.manifest, digest)), None)

    def config(self, digest: str) -> bytes | None:
        """Return the configuration of an image whose manifest was given out before."""
        return next((it.config for it in self._images() if _is(it.config, digest)), None)

    def layer(self, digest: str) -> IO[bytes] | None:
        """Return a layer as a temporary file; raises OSError."""
        for image in self._images():
            if image.layer == digest and image.root.is_dir():
                file = tempfile.TemporaryFile()  # noqa: SIM115  # who asks closes it
                if build.write_layer(image.root, file).digest == digest:
                    return file
                file.close()
        return None

    def _images(self) -> tuple[_Image, ...]:
        """Return those that are packed now: other threads pack more meanwhile."""
        return tuple(self._made.values())


def _is(content: bytes, digest: str) -> bool:
    return hashlib.sha256(content).hexdigest() == digest


def _pack(content: Path) -> _Image:
    saved = files.read_json(content / "config.json") or {}
    wire = saved.get("config")
    with tempfile.TemporaryFile() as file:
        blob = build.write_layer(content / "rootfs", file)
    config, manifest = build.documents(blob, wire if isinstance(wire, dict) else {})
    return _Image(content / "rootfs", blob.digest, config, manifest)


def app(store: ImageStore) -> web.Application:
    """Return the registry of a store."""
    made = web.Application()
    made[_STORE] = Packed(store)
    made.router.add_get("/v2/", _version)
    made.router.add_get("/v2/{name:.+}/manifests/{reference}", _manifest)
    made.router.add_get("/v2/{name:.+}/blobs/sha256:{digest:[0-9a-f]{64}}", _blob)
    return made


@asynccontextmanager
async def serving(store: ImageStore, host: str, port: int) -> AsyncIterator[None]:
    """Serve a store at an address for the block; raises OSError."""
    runner = web.AppRunner(app(store), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


async def _version(_: web.Request) -> web.Response:
    return web.json_response({})


async def _manifest(request: web.Request) -> web.Response:
    store, reference = request.app[_STORE], request.match_info["reference"]
    kind, _, digest = reference.rpartition(":")
    if kind == "sha256":
        found = store.manifest(digest)
    else:
        named = f"{request.query.get('ns', _REGISTRY)}/{request.match_info['name']}:{reference}"
        found = await asyncio.to_thread(store.named, _full(named))
    if found is None:
        raise _missing("MANIFEST_UNKNOWN", reference)
    return web.Response(body=found, content_type=build.MANIFEST, headers=_digest(found))


def _full(name: str) -> str:
    try:
        return names.normalize(name)
    except names.ImageNameError:
        return ""


def _digest(content: bytes) -> dict[str, str]:
    return {"Docker-Content-Digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}


def _missing(code: str, what: str) -> web.HTTPNotFound:
    text = web.json_response({"errors": [{"code": code, "message": f"no {what} here"}]}).text
    return web.HTTPNotFound(text=text, content_type="application/json")


async def _blob(request: web.Request) -> web.StreamResponse:
    store, digest = request.app[_STORE], request.match_info["digest"]
    config = store.config(digest)
    if config is not None:
        return web.Response(body=config, content_type="application/octet-stream")
    layer = await asyncio.to_thread(store.layer, digest)
    if layer is None:
        raise _missing("BLOB_UNKNOWN", f"sha256:{digest}")
    with layer:
        return await _send(request, layer)


async def _send(request: web.Request, layer: IO[bytes]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
    response.content_length = layer.seek(0, 2)
    layer.seek(0)
    await response.prepare(request)
    while request.method != "HEAD" and (piece := await asyncio.to_thread(layer.read, _PIECE)):
        await response.write(piece)
    await response.write_eof()
    return response
