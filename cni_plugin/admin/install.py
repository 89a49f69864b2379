"""Installs the plugin in the folders of a container runtime, and removes it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cni_plugin.admin.standalone import HOME, PROGRAM

LOOPBACK = "loopback"


def network_list(
    name: str, bridge: str, subnets: Sequence[str], *, ip_masq: bool, mtu: int
) -> dict[str, Any]:
    """A network configuration list for containerd 1.6 and 2, CRI-O and podman.

    It has both version fields, because containerd 1.6 does not read a list of version 1.1.0.
    """
    plugin: dict[str, Any] = {
        "type": PROGRAM,
        "bridge": bridge,
        "isGateway": True,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipMasq": ip_masq,
        "capabilities": {
            "portMappings": True,
            "bandwidth": True,
            "ips": True,
            "mac": True,
            "ipRanges": True,
            "dns": True,
        },
        "ipam": {"type": "podwire", "ranges": [[{"subnet": subnet}] for subnet in subnets]},
    }
    if mtu:
        plugin["mtu"] = mtu
    versions = ["1.0.0", "1.1.0"]
    return {"cniVersion": "1.0.0", "cniVersions": versions, "name": name, "plugins": [plugin]}


def put_loopback(bin_dir: Path) -> Path | None:
    """Make a link ``loopback`` to the program. Returns it, or None if that plugin exists.

    containerd up to 1.6 attaches each sandbox with that plugin, and does not start without it.
    """
    link = bin_dir / LOOPBACK
    try:
        link.symlink_to(PROGRAM)
    except FileExistsError:
        return None
    return link


def is_our_loopback(path: Path) -> bool:
    """Return true if a loopback plugin is a link to podwire-cni in the same folder."""
    return path.is_symlink() and path.readlink() == Path(PROGRAM)


def is_ours(path: Path) -> bool:
    """Return true if a plugin of a network configuration list is podwire-cni."""
    try:
        document = json.loads(path.read_bytes())
        return any(item.get("type") == PROGRAM for item in document.get("plugins", ()))
    except (OSError, ValueError, AttributeError, TypeError):
        return False


def remove(bin_dir: Path, conf_dir: Path) -> list[Path]:
    """Remove the program with its files, and every list that uses it. Returns the removed paths."""
    found = [path for path in sorted(conf_dir.glob("*.conflist")) if is_ours(path)]
    program, loopback = bin_dir / PROGRAM, bin_dir / LOOPBACK
    found += [loopback] if is_our_loopback(loopback) else []
    found += [program] if program.exists() or program.is_symlink() else []
    for path in found:
        path.unlink()
    if (home := bin_dir / HOME).is_dir():
        shutil.rmtree(home)
        found.append(home)
    return found
