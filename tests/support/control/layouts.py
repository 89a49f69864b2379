"""OCI layouts, blob by blob, also such as no tool writes."""

import hashlib
import json
import platform

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
OCI = "application/vnd.oci.image"
KINDS = {
    "manifest": f"{OCI}.manifest.v1+json",
    "index": f"{OCI}.index.v1+json",
    "config": f"{OCI}.config.v1+json",
    "layer": f"{OCI}.layer.v1.tar",
}
DOCKER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
PLATFORM = {"os": "linux", "architecture": ARCH}


def digest_of(data):
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob(folder, kind, data, **changes):
    """Write a blob, and return its descriptor."""
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    path = folder / "blobs" / digest_of(data).replace(":", "/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    size = len(data)
    return {"mediaType": KINDS[kind], "digest": digest_of(data), "size": size} | changes


def config_of(*layers, **changes):
    differences = [digest_of(layer) for layer in layers]
    rootfs = {"type": "layers", "diff_ids": differences}
    return {**PLATFORM, "rootfs": rootfs, "config": {"Cmd": ["/bin/x"]}} | changes


def manifest_of(folder, *layers, config=None, of_config=(), of_layer=()):
    return {
        "schemaVersion": 2,
        "config": blob(folder, "config", config or config_of(*layers), **dict(of_config)),
        "layers": [blob(folder, "layer", layer, **dict(of_layer)) for layer in layers],
    }


def blob_of(folder, layer, **config):
    """Write an image of one layer, and return the descriptor of its manifest."""
    manifest = manifest_of(folder, layer, config=config_of(layer, **config))
    return blob(folder, "manifest", manifest | {"mediaType": KINDS["manifest"]})


def write_index(folder, *manifests):
    folder.mkdir(exist_ok=True)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"manifests": list(manifests)}))
    return folder


def oci(folder, *layers):
    """Write a layout: an index in the index, with a manifest for another machine and for ours."""
    other = blob(folder, "manifest", {"config": {}, "layers": []})
    ours = blob(folder, "manifest", manifest_of(folder, *layers))
    inner = {
        "manifests": [
            other | {"platform": {"os": "linux", "architecture": "other"}},
            ours | {"platform": PLATFORM},
        ]
    }
    return write_index(folder, blob(folder, "index", inner))
