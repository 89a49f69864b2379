"""The containerd of a node: its files, its settings, and what it needs of this machine.

It has the default paths of a real machine. What it keeps is below the node's folder on the host,
because an overlay cannot stand on the overlays of which a machine's root is made.
"""

import os
import subprocess
from pathlib import Path, PurePosixPath

from control.runtime.images.names import PAUSE
from lab.needs import Package, require_of
from lab.spec import CONFIG, CONTAINERD_SOCKET, IMAGES_PORT
from lab.state import LabDir

FOLDER = "containerd"  # of a machine's folder
ROOT = PurePosixPath("/var/lib/containerd")
_REGISTRIES = CONFIG / "registries"
_PACKAGES = (
    Package("containerd", "containerd", "a lab with --runtime containerd"),
    Package("runc", "runc", "a lab with --runtime containerd"),
)
_OVERLAYS = ("overlayfs", "overlay")
# What no lab needs of it takes a second of its start.
_SETTINGS = """\
version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{registries}"
"""
# Of every registry. containerd asks the host first, then the server: there is no other way out.
_HOSTS = """\
server = "http://127.0.0.1:{port}"
[host."http://127.0.0.1:{port}"]
  capabilities = ["pull", "resolve"]
"""


def require() -> None:
    """Raise MissingPackagesError if this machine lacks containerd or runc."""
    require_of(_PACKAGES)


def make_folder(lab: LabDir, machine: str) -> None:
    """Make the folder of what a node's containerd keeps; raises OSError."""
    (lab.machine(machine) / FOLDER).mkdir(mode=0o711, exist_ok=True)


def configure(root: Path) -> None:
    """Write the settings below a machine's root; raises OSError."""
    folder = root / str(_REGISTRIES)[1:] / "_default"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hosts.toml").write_text(_HOSTS.format(port=IMAGES_PORT))
    text = _SETTINGS.format(
        root=ROOT,
        socket=CONTAINERD_SOCKET.removeprefix("unix://"),
        pause=PAUSE,
        snapshotter=_snapshotter(root / str(ROOT)[1:]),
        registries=_REGISTRIES,
    )
    (root / str(CONFIG)[1:] / "containerd.toml").write_text(text)


def _snapshotter(folder: Path) -> str:
    """Return how containerd is to make containers' roots: overlays do not stand on an overlay."""
    done = subprocess.run(
        ["/usr/bin/stat", "--file-system", "--format=%T", os.fspath(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    return "native" if done.stdout.strip() in _OVERLAYS else "overlayfs"
