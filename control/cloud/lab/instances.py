"""The lab's machines, as files of the lab show them; implements the provider's Instances.

machines.json lists the machines that exist: a lab writes it when a node joins or leaves.
running.json has the names of those that run: the lab's first process writes it when one starts or
ends. Both are replaced as a whole, so a reader sees one state.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.api.node import Node, NodeAddress
from control.cloud.lab.rows import MACHINES, RUNNING, SCHEME
from control.cloud.provider import CloudError, Instance

MOST_BYTES = 1 << 20


@dataclass(slots=True)
class _File:
    """A file of JSON, read again when another has taken its place."""

    path: Path
    stamp: tuple[int, int] = (0, 0)
    content: Any = None

    def read(self) -> Any:
        """Return the content; raises CloudError."""
        try:
            found = self.path.stat()
            stamp = found.st_mtime_ns, found.st_ino
            if stamp != self.stamp:
                with self.path.open() as file:
                    self.content = json.loads(file.read(MOST_BYTES))
                self.stamp = stamp
        except (OSError, ValueError, RecursionError) as err:
            raise CloudError(
                f"{self.path} cannot be read: {err}; the lab writes it: start the lab again"
            ) from err
        return self.content


class LabInstances:
    """The machines of a lab; a Node is a machine's by its providerID, or by its name."""

    def __init__(self, folder: Path) -> None:
        self._machines, self._running = _File(folder / MACHINES), _File(folder / RUNNING)

    async def exists(self, node: Node) -> bool:
        """True if the lab has a Node's machine; a Node that was never the lab's is left alone."""
        provider_id = node.spec.provider_id or ""
        return not provider_id.startswith(SCHEME) or provider_id in self._instances()

    async def shut_down(self, node: Node) -> bool:
        """True if a Node's machine does not run."""
        instance = self._instances().get(node.spec.provider_id or "")
        running = self._running.read()
        if not isinstance(running, list):
            raise CloudError(f"{self._running.path}: want a list of names")
        return instance is not None and _name(instance.provider_id) not in running

    async def metadata(self, node: Node) -> Instance:
        """Return what the lab knows of a Node's machine; raises CloudError."""
        instances = self._instances()
        if found := instances.get(node.spec.provider_id or ""):
            return found
        for instance in instances.values():
            if not node.spec.provider_id and _name(instance.provider_id) == node.metadata.name:
                return instance
        names = ", ".join(map(_name, instances)) or "none"
        raise CloudError(
            f"instance not found: the lab has no machine for Node {node.metadata.name}; its "
            f"machines: {names}"
        )

    def all(self) -> dict[str, Instance]:
        """Return the machines by the names of their Nodes; raises CloudError."""
        return {_name(each.provider_id): each for each in self._instances().values()}

    def _instances(self) -> dict[str, Instance]:
        content = self._machines.read()
        try:
            found = [_instance(each) for each in content]
        except (KeyError, TypeError, ValueError) as err:
            raise CloudError(f"{self._machines.path}: {type(err).__name__}: {err}") from err
        return {instance.provider_id: instance for instance in found}


def _instance(row: dict[str, Any]) -> Instance:
    addresses = [NodeAddress(type="InternalIP", address=ip) for ip in row["ips"]]
    name = NodeAddress(type="Hostname", address=_name(row["id"]))
    return Instance(row["id"], (*addresses, name), "lab-machine", row["zone"], row["region"])


def _name(provider_id: str) -> str:
    return provider_id.rpartition("/")[2]
