"""libcni's result cache: ``DIR/results/NETWORK-CONTAINERID-IFNAME``, kind ``cniCacheV1``.

DEL gets the configuration and the result of the ADD, even if the file in /etc/cni/net.d has changed
or gone since. The format is libcni's, so that other runtimes can read it.
"""

import base64
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control.linux import files
from control.runtime.cni.plugin import Attachment

logger = logging.getLogger(__name__)

_KIND = "cniCacheV1"


@dataclass(frozen=True, slots=True)
class CachedAttachment:
    """One attachment, with the configuration and the result of its ADD."""

    network: str
    attachment: Attachment
    config: bytes
    capabilities: dict[str, Any]
    result: dict[str, Any]


class AttachmentCache:
    """The cached attachments of a node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "results"

    def save(self, entry: CachedAttachment) -> None:
        """Write an attachment; raises OSError."""
        value = {
            "kind": _KIND,
            "containerId": entry.attachment.container_id,
            "config": base64.b64encode(entry.config).decode(),
            "ifName": entry.attachment.ifname,
            "networkName": entry.network,
            "netns": entry.attachment.netns,
            "cniArgs": [list(pair) for pair in entry.attachment.args],
            "capabilityArgs": entry.capabilities,
            "result": entry.result,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        files.write_json(self._path(entry.network, entry.attachment), value)

    def find(self, network: str, attachment: Attachment) -> CachedAttachment | None:
        """Read an attachment; None if there is none, or the file is torn."""
        return _read(self._path(network, attachment))

    def of(self, container_id: str) -> tuple[CachedAttachment, ...]:
        """Return all attachments of a container, of every network."""
        return tuple(entry for entry in self.all() if entry.attachment.container_id == container_id)

    def all(self) -> tuple[CachedAttachment, ...]:
        """Return all attachments."""
        paths = sorted(self._folder.iterdir()) if self._folder.is_dir() else []
        return tuple(entry for entry in map(_read, paths) if entry is not None)

    def forget(self, network: str, attachment: Attachment) -> None:
        """Delete an attachment."""
        self._path(network, attachment).unlink(missing_ok=True)

    def _path(self, network: str, attachment: Attachment) -> Path:
        name = f"{network}-{attachment.container_id}-{attachment.ifname}"
        return self._folder / name.replace("/", "_")


def _read(path: Path) -> CachedAttachment | None:
    value = files.read_json(path)
    if value is None or value.get("kind") != _KIND:
        return None
    try:
        pairs = tuple((str(key), str(text)) for key, text in value.get("cniArgs") or ())
        attachment = Attachment(
            value["containerId"], value.get("netns") or "", value["ifName"], pairs
        )
        config = base64.b64decode(value["config"])
        capabilities = value.get("capabilityArgs") or {}
        return CachedAttachment(
            value["networkName"], attachment, config, capabilities, value["result"]
        )
    except (KeyError, TypeError, ValueError) as err:
        logger.warning("%s: not a cache entry: %r", path, err)
        return None
