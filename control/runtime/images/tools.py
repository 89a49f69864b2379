"""Makes ``podwire/tools``, an image for demos, tests and debugging, from Debian's static busybox.

It has every applet of busybox, and ``/bin/serve``: a small HTTP server that answers with its Pod's
name.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import Any

from control.runtime.images.names import PAUSE, normalize
from control.runtime.images.store import Image, ImageStore

NAME = "podwire/tools"
_FOLDERS = (
    "bin",
    "dev",
    "etc",
    "home",
    "mnt",
    "proc",
    "root",
    "run",
    "sys",
    "tmp",
    "usr/bin",
    "var/tmp",
)
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
# Lame duck: after SIGTERM the Pod is still in other nodes' rules for a moment, so the server
# serves for DRAIN seconds more, then ends with code 0. `wait` reaps children, also as process 1.
_SERVE = """\
#!/bin/sh
# serve [PORT]: answer every HTTP request for / with this Pod's name (IPv4 and IPv6).
# DRAIN: how many seconds to go on serving after SIGTERM (default 2).
port=${1:-${PORT:-8080}}
www=$(mktemp -d) || exit 1
hostname >"$www/index.html"
httpd -f -p "$port" -h "$www" &
server=$!
trap 'sleep "${DRAIN:-2}"; kill "$server"; rm -rf "$www"; exit 0' TERM INT
wait "$server"
"""
# The first process of a Pod whose containers share one process namespace: it reaps what they leave.
_PAUSE = """\
#!/bin/sh
trap 'exit 0' TERM INT
while :; do sleep 1000000 & wait $!; done
"""
_CONFIG: dict[str, Any] = {
    "os": "linux",
    "config": {
        "Cmd": ["/bin/serve"],
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "WorkingDir": "/",
    },
}


class BusyboxError(OSError):
    """The given file is not a usable busybox; the text names the file and the cause."""


def make(store: ImageStore, busybox: Path) -> Image:
    """Build the image from a static busybox and import it; raises BusyboxError, OSError."""
    return store.add_tree(NAME, lambda root: fill(root, busybox), _CONFIG)


def make_pause(store: ImageStore, busybox: Path) -> Image:
    """Build the image of a sandbox that a container runtime makes; raises OSError.

    Runtimes keep a Pod's namespaces by a container that only waits, and have no image for it.
    """

    def fill_pause(root: Path) -> None:
        (root / "bin").mkdir()
        (root / "bin/busybox").write_bytes(busybox.read_bytes())
        for name in ("sh", "sleep"):
            (root / "bin" / name).symlink_to("busybox")
        (root / "bin/pause").write_text(_PAUSE)
        for name in ("busybox", "pause"):
            (root / "bin" / name).chmod(0o755)

    path = {"Env": ["PATH=/bin"], "Entrypoint": ["/bin/pause"]}
    return store.add_tree(PAUSE, fill_pause, {"os": "linux", "config": path})


def write(archive: Path, busybox: Path) -> str:
    """Write the image as an OCI archive; return its name. Raises BusyboxError, OSError."""
    from control.runtime.images import build  # only who writes one needs it

    config = _CONFIG["config"]
    settings = {
        "command": config["Cmd"],
        "environment": dict(text.split("=", 1) for text in config["Env"]),
        "directory": config["WorkingDir"],
    }
    name = normalize(NAME)
    with tempfile.TemporaryDirectory(prefix="podwire-tools-") as folder:
        root = Path(folder)
        fill(root, busybox)
        build.build(root, build.BuildConfig.model_validate(settings), name, archive)
    return name


def fill(root: Path, busybox: Path) -> None:
    """Make the image's root folder; raises BusyboxError, OSError."""
    applets = _applets(busybox)
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "sbin").symlink_to("bin")
    for folder in ("tmp", "var/tmp"):
        (root / folder).chmod(0o1777)
    target = root / "bin/busybox"
    target.write_bytes(busybox.read_bytes())
    target.chmod(0o755)
    for applet in applets:
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    for name, text in _FILES.items():
        (root / name).write_text(text)
    (root / "bin/serve").write_text(_SERVE)
    (root / "bin/serve").chmod(0o755)


def _applets(busybox: Path) -> list[str]:
    try:
        done = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True)
    except OSError as err:
        raise BusyboxError(f"{busybox} cannot be run: {err.strerror}") from err
    except subprocess.CalledProcessError as err:
        raise BusyboxError(f"{busybox} is not busybox: it does not list applets") from err
    return done.stdout.split()
