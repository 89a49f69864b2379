"""podman with its CNI back end in a machine; containers run from a folder, not an image."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.e2e.runtimes.images import make_rootfs
from tests.support.e2e.runtimes.machine import Machine

_CONFIG = """
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
"""


class Podman:
    """The command."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        files = machine.files
        (files / "containers.conf").write_text(_CONFIG)
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
        """What ``podman ARGS`` prints; it must succeed."""
        return self._machine.run(*self._command, *args)

    @contextmanager
    def container(self, name: str, *options: str) -> Iterator[None]:
        """A container that sleeps for the block; it is gone afterwards."""
        sleep = (str(self._rootfs), "/bin/busybox", "sleep", "600")
        self("run", "-d", "--name", name, "--oom-score-adj=0", *options, "--rootfs", *sleep)
        try:
            yield
        finally:
            self("rm", "-f", "-t", "0", name)

    def serve(self, name: str, text: str) -> None:
        """Answer HTTP requests from a container with ``text``, as long as it lives."""
        script = f"mkdir -p /www && echo {text} > /www/index.html && busybox httpd -h /www -p 80"
        self("exec", name, "/bin/busybox", "sh", "-c", script)

    def busybox(self, name: str, *argv: str) -> str:
        """What an applet prints in a container."""
        return self("exec", name, "/bin/busybox", *argv)

    def networks(self, name: str) -> dict[str, Any]:
        """What podman knows of a container's networks, by their names."""
        return json.loads(self("inspect", name, "--format", "{{json .NetworkSettings.Networks}}"))
