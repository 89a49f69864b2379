"""A containerd of the test's own, with images that the test has made and a network of one address.

bin/test seals it off: its mounts, sockets and processes are in the run's own namespaces.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from control.runtime.images import build, tools
from tests.support.e2e.harness import eventually

OFTEN = 0.1  # seconds between two lists: a test need not wait for kubelet's period
PAUSE = "podwire.test/pause:1"
TOOLS = "docker.io/podwire/tools:latest"
# The plugins that no test needs take a second of its start, and warn.
_CONFIG = """
version = 2
root = "{root}/root"
state = "{root}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.tracing.processor.v1.otlp"{more}]
[grpc]
  address = "{root}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{bin_dir}"
    conf_dir = "{conf_dir}"
"""
_PLUGIN = """#!/bin/sh
cat >/dev/null
echo "$CNI_COMMAND $CNI_IFNAME" >>{log}
case $CNI_COMMAND in
ADD) echo '{{"cniVersion": "1.0.0",
  "interfaces": [{{"name": "'$CNI_IFNAME'", "sandbox": "'$CNI_NETNS'"}}],
  "ips": [{{"address": "'$ADDRESS'/24", "interface": 0}}]}}' ;;
VERSION) echo '{{"cniVersion": "1.0.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0"]}}' ;;
esac
"""
_NETWORK = '{"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "one"}]}'


class Containerd:
    """A containerd below a folder."""

    def __init__(self, root: Path, conf_dir: Path, bin_dir: Path, *, without: str = "") -> None:
        """``without`` is the ID of a plugin that it does not start."""
        self.root = root
        self.process: subprocess.Popen[bytes] | None = None
        more = f', "{without}"' if without else ""
        text = _CONFIG.format(root=root, pause=PAUSE, bin_dir=bin_dir, conf_dir=conf_dir, more=more)
        (root / "config.toml").write_text(text)

    @property
    def endpoint(self) -> str:
        return f"unix://{self.root}/containerd.sock"

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of an agent that uses it."""
        endpoint = f"--container-runtime-endpoint={self.endpoint}"
        return (endpoint, f"--cni-conf-dir={self.root}/net.d")

    def start(self, prefix: tuple[str, ...] = ()) -> None:
        """Start it, perhaps behind another command, and wait until it answers."""
        with (self.root / "containerd.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, "containerd", "--config", self.root / "config.toml"],
                stdout=log,
                stderr=log,
            )
        eventually(lambda: self.ctr("version").returncode == 0, 60)

    def kill(self) -> None:
        """End it as a crash does; containers keep running."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def ctr(self, *argv: str | Path) -> subprocess.CompletedProcess[bytes]:
        address = f"{self.root}/containerd.sock"
        return subprocess.run(
            ["ctr", "--address", address, "--namespace", "k8s.io", *argv], capture_output=True
        )

    def load(self, *archives: Path) -> None:
        """Import images."""
        for archive in archives:
            done = self.ctr("images", "import", archive)
            assert done.returncode == 0, done.stderr


def archives(folder: Path) -> tuple[Path, Path]:
    """Make the archives of the pause image and of podwire/tools."""
    root, made = folder / "tree", []
    root.mkdir()
    tools.fill(root, Path("/bin/busybox"))
    for name, command in ((PAUSE, ["/bin/sleep", "1000000"]), (TOOLS, ["/bin/serve"])):
        archive = folder / f"{len(made)}.tar"
        config = {
            "command": command,
            "environment": {"PATH": "/usr/local/bin:/usr/bin:/sbin:/bin"},
        }
        build.build(root, build.BuildConfig.model_validate(config), name, archive)
        made.append(archive)
    return made[0], made[1]


def one_address(folder: Path, address: str) -> tuple[Path, Path]:
    """Make (configurations, plugins) of a network that gives every Pod the same address."""
    conf_dir, bin_dir = folder / "net.d", folder / "bin"
    conf_dir.mkdir()
    bin_dir.mkdir()
    (conf_dir / "10-test.conflist").write_text(_NETWORK)
    text = _PLUGIN.format(log=folder / "cni.log").replace("$ADDRESS", address)
    for name in ("one", "loopback"):
        (bin_dir / name).write_text(text)
        (bin_dir / name).chmod(0o755)
    return conf_dir, bin_dir


@contextmanager
def running(made: Containerd, *images: Path) -> Iterator[Containerd]:
    """Run a containerd for the block, with images."""
    try:
        made.start()
        made.load(*images)
        yield made
    finally:
        made.kill()
