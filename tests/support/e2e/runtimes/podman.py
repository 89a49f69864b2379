"""podman with its CNI backend in a machine. Containers run from a folder, not from an image."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.e2e.runtimes.images import make_rootfs
from tests.support.e2e.runtimes.machine import Machine

CONFIG = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin", "/usr/lib/cni"]
network_config_dir = "/etc/cni/net.d"
"""


class Podman:
    """The command."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        files = machine.files
        (files / "containers.conf").write_text(CONFIG)
        self._rootfs = make_rootfs(files / "rootfs")
        self._command = (
            "env",
            f"CONTAINERS_CONF={files}/containers.conf",
            "podman",
            "--root",
            files / "podman",
            "--runroot",
            "/run/containers",
            "--storage-driver=vfs",
        )

    def __call__(self, *args: str) -> str:
        """The output of ``podman ARGS``. It must succeed."""
        return self._machine.run(*self._command, *args)

    @contextmanager
    def container(self, name: str, *options: str) -> Iterator[None]:
        """Run a container that sleeps, for the block."""
        sleep = (str(self._rootfs), "/bin/busybox", "sleep", "600")
        self("run", "-d", "--name", name, "--oom-score-adj=0", *options, "--rootfs", *sleep)
        try:
            yield
        finally:
            self("rm", "-f", "-t", "0", name)

    def serve(self, name: str, text: str) -> None:
        """Answer HTTP requests in a container with ``text``, as long as the container runs."""
        script = f"mkdir -p /www && echo {text} > /www/index.html && busybox httpd -h /www -p 80"
        self("exec", name, "/bin/busybox", "sh", "-c", script)

    def busybox(self, name: str, *argv: str) -> str:
        """The output of a busybox applet in a container."""
        return self("exec", name, "/bin/busybox", *argv)

    def networks(self, name: str) -> dict[str, Any]:
        """podman's description of a container's networks, by their names."""
        return json.loads(self("inspect", name, "--format", "{{json .NetworkSettings.Networks}}"))
