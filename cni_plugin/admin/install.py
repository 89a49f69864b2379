"""Installs the plugin in the folders of a container runtime, and removes it."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Network, ip_network
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


def read_list(path: Path) -> dict[str, Any]:
    """A network configuration; empty if the file has none."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def is_ours(document: Mapping[str, Any]) -> bool:
    """Return true if a plugin of a network configuration list is podwire-cni."""
    plugins = document.get("plugins")
    items = plugins if isinstance(plugins, list) else []
    return any(isinstance(item, dict) and item.get("type") == PROGRAM for item in items)


def own_lists(conf_dir: Path) -> dict[Path, str]:
    """The network configuration lists that use podwire-cni, with the names of their networks."""
    found = {path: read_list(path) for path in sorted(conf_dir.glob("*.conflist"))}
    return {path: str(item.get("name")) for path, item in found.items() if is_ours(item)}


def overlapping(subnets: Sequence[str], conf_dir: Path, network: Path) -> Iterator[str]:
    """Describe each of ``subnets`` that overlaps one of another file of the folder.

    ``network`` is the file that is written. Subnets that cannot be read are left out.
    """
    files = sorted(path for path in conf_dir.glob("*.conf*") if path != network)
    for path in files:
        document = read_list(path)
        for theirs in _subnets(document):
            for ours in map(ip_network, subnets):
                if ours.version == theirs.version and ours.overlaps(theirs):
                    yield f"{ours} overlaps {theirs} of network {document.get('name')} in {path}"


def _subnets(document: Any) -> Iterator[IPv4Network | IPv6Network]:
    """All subnets anywhere in a network configuration: each IPAM plugin has them elsewhere."""
    items = document.items() if isinstance(document, dict) else ()
    for key, value in items:
        if key == "subnet" and isinstance(value, str):
            with suppress(ValueError):
                yield ip_network(value, strict=False)
        yield from _subnets(value)
    for value in document if isinstance(document, list) else ():
        yield from _subnets(value)


def remove(bin_dir: Path, conf_dir: Path) -> list[Path]:
    """Remove the program with its files, and every list that uses it. Returns the removed paths."""
    found = [*own_lists(conf_dir)]
    program, loopback = bin_dir / PROGRAM, bin_dir / LOOPBACK
    found += [loopback] if is_our_loopback(loopback) else []
    found += [program] if program.exists() or program.is_symlink() else []
    for path in found:
        path.unlink()
    if (home := bin_dir / HOME).is_dir():
        shutil.rmtree(home)
        found.append(home)
    return found
