"""What the agent keeps of its sandboxes on disk, because no runtime can be asked for it.

    ROOT/sandboxes/ID/config.pb      the sandbox's message, which every new container needs
    ROOT/sandboxes/ID/hosts          /etc/hosts of its containers
    ROOT/sandboxes/ID/pod.json       the resources of the Pod as a whole
    ROOT/sandboxes/ID/containers/ID.json    image, terminal and resources

A sandbox without ``config.pb`` was not finished, and cannot be used.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from control.linux import files, whole
from control.runtime.base import ContainerConfig, Resources
from control.runtime.cri.v1 import api_pb2 as pb


class Records:
    """The folders of the sandboxes."""

    def __init__(self, root: Path) -> None:
        self._root = root / "sandboxes"

    def hosts(self, sandbox_id: str) -> Path:
        """Return the path of a sandbox's /etc/hosts."""
        return self._root / sandbox_id / "hosts"

    def save(
        self, sandbox_id: str, config: pb.PodSandboxConfig, hosts: str, limits: Resources | None
    ) -> None:
        """Write a sandbox's record, ``config.pb`` last; raises OSError."""
        folder = self._root / sandbox_id
        (folder / "containers").mkdir(parents=True, exist_ok=True)
        whole.write(folder / "hosts", hosts)
        self.limit(sandbox_id, limits)
        fresh = folder / "config.pb.new"
        fresh.write_bytes(config.SerializeToString())
        fresh.rename(folder / "config.pb")

    def limit(self, sandbox_id: str, limits: Resources | None) -> None:
        """Write the resources of the Pod as a whole; raises OSError."""
        value = {"resources": limits and asdict(limits)}
        files.write_json(self._root / sandbox_id / "pod.json", value)

    def config(self, sandbox_id: str) -> pb.PodSandboxConfig | None:
        """Return a sandbox's message; None if there is no whole one."""
        try:
            data = (self._root / sandbox_id / "config.pb").read_bytes()
            return pb.PodSandboxConfig.FromString(data)
        except (OSError, DecodeError):
            return None

    def pod_limits(self, sandbox_id: str) -> Resources | None:
        """Return the resources of the Pod as a whole, if they are known."""
        return _resources(files.read_json(self._root / sandbox_id / "pod.json"))

    def save_container(self, sandbox_id: str, container_id: str, config: ContainerConfig) -> None:
        """Write the record of a container; raises OSError."""
        value = {
            "image": config.image,
            "terminal": config.terminal,
            "resources": asdict(config.resources),
        }
        files.write_json(self._container(sandbox_id, container_id), value)

    def limit_container(self, sandbox_id: str, container_id: str, limits: Resources) -> None:
        """Write other resources of a container; raises OSError."""
        value = {**self._saved(sandbox_id, container_id), "resources": asdict(limits)}
        files.write_json(self._container(sandbox_id, container_id), value)

    def image(self, sandbox_id: str, container_id: str) -> str:
        """Return the image of a container as its Pod names it; empty if that is not known."""
        return str(self._saved(sandbox_id, container_id).get("image", ""))

    def terminal(self, sandbox_id: str, container_id: str) -> bool:
        """True if a container has a terminal."""
        return self._saved(sandbox_id, container_id).get("terminal") is True

    def limits(self, sandbox_id: str, container_id: str) -> Resources | None:
        """Return the resources of a container, if they are known."""
        return _resources(self._saved(sandbox_id, container_id))

    def _saved(self, sandbox_id: str, container_id: str) -> dict[str, Any]:
        return files.read_json(self._container(sandbox_id, container_id)) or {}

    def _container(self, sandbox_id: str, container_id: str) -> Path:
        return self._root / sandbox_id / "containers" / f"{container_id}.json"

    def remove_container(self, sandbox_id: str, container_id: str) -> None:
        """Remove the record of a container."""
        self._container(sandbox_id, container_id).unlink(missing_ok=True)

    def remove(self, sandbox_id: str) -> None:
        """Remove all that is kept of a sandbox."""
        files.remove_tree(self._root / sandbox_id)

    def ids(self) -> Iterator[str]:
        """Yield the ID of every sandbox of which something is kept."""
        if self._root.is_dir():
            yield from sorted(path.name for path in self._root.iterdir())


def _resources(saved: dict[str, Any] | None) -> Resources | None:
    values = (saved or {}).get("resources")
    try:
        return Resources(**values) if values else None
    except TypeError:
        return None  # of another version: as if it were not noted
