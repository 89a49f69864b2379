"""An image with one file, /bin/busybox, in the form of ``docker save``."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

BUSYBOX = Path("/bin/busybox")


def write_image(archive: Path, reference: str) -> None:
    """An image whose default command sleeps. Its shell is busybox."""
    layer = _tar({"bin/busybox": (BUSYBOX.read_bytes(), 0o755)})
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/bin/busybox", "sleep", "86400"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    ).encode()
    manifest = [{"Config": "config.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]
    files = {"layer.tar": layer, "config.json": config, "manifest.json": json.dumps(manifest)}
    archive.write_bytes(
        _tar(
            {
                name: (data if isinstance(data, bytes) else data.encode(), 0o644)
                for name, data in files.items()
            }
        )
    )


def make_rootfs(folder: Path) -> Path:
    """The image's files as a folder."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (folder / "bin/busybox").chmod(0o755)
    return folder


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
