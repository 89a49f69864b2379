"""Reads a node's CNI files: host-local's reservations, libcni's cache, the Pods' network.

Formats: docs/cni.md; containernetworking/plugins, plugins/ipam/host-local/README.md;
containernetworking/cni, libcni/api.go ("cniCacheV1") and SPEC.md, section 1.
"""

import json
import os.path
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from debug.machine.values import Attachment, CniNetwork, Reservation

_LEASES, _RESULTS, _NETWORKS = "var/lib/cni/networks", "var/lib/cni/results", "etc/cni/net.d"
_MOST, _LONGEST = 10_000, 1 << 20
_ENDS = (".conflist", ".conf", ".json")


def reservations(root: Path) -> Iterator[Reservation]:
    """Yield every address that host-local or podwire's IPAM has given. Raises OSError."""
    for folder in _listed(root / _LEASES):
        if folder.is_dir() and not folder.name.startswith("."):
            for path in _listed(folder):
                if _is_address(path.name):
                    with suppress(FileNotFoundError):  # it was given back just now
                        yield _reservation(folder.name, path)


def _reservation(network: str, path: Path) -> Reservation:
    container, _, ifname = _text(path).partition("\n")
    return Reservation(network, path.name, container.strip()[:256], ifname.strip()[:16])


def attachments(root: Path) -> Iterator[Attachment]:
    """Yield what libcni's cache says of containers. Raises OSError."""
    for path in _listed(root / _RESULTS):
        with suppress(ValueError, KeyError, TypeError, AttributeError, FileNotFoundError):
            yield _attachment(root, json.loads(_text(path)))


def _attachment(root: Path, item: Any) -> Attachment:
    netns, result = str(item["netns"]), dict(item.get("result") or {})
    words = {str(pair[0]): str(pair[1]) for pair in item.get("cniArgs") or ()}
    pod = words.get("K8S_POD_NAMESPACE", ""), words.get("K8S_POD_NAME", "")
    links = (one for one in result.get("interfaces") or () if not one.get("sandbox"))
    return Attachment(
        network=str(item["networkName"]),
        container=str(item["containerId"]),
        ifname=str(item["ifName"]),
        netns=netns,
        exists=_exists(root, netns),
        pod="/".join(pod) if all(pod) else "",
        host_links=tuple(str(one["name"]) for one in links),
        addresses=tuple(str(one["address"]) for one in result.get("ips") or ()),
    )


def _exists(root: Path, netns: str) -> bool:
    """Return true if a file is there. A link of the node's must not lead into our own files."""
    inside = netns.replace("/var/run/", "/run/", 1) if netns.startswith("/var/run/") else netns
    return inside.startswith("/") and ".." not in inside and os.path.lexists(f"{root}{inside}")


def network(root: Path) -> CniNetwork | None:
    """Return the network of Pods: runtimes take the first file by name.

    Raises OSError, ValueError.
    """
    for path in _listed(root / _NETWORKS):
        if path.suffix in _ENDS:
            item: Any = json.loads(_text(path))
            if not isinstance(item, dict):
                raise ValueError(f"/{_NETWORKS}/{path.name} is no CNI network")
            plugins = item.get("plugins")
            first = plugins[0] if isinstance(plugins, list) and plugins else item
            return _network(f"/{_NETWORKS}/{path.name}", item, first)
    return None


def _network(path: str, item: dict[str, Any], first: Any) -> CniNetwork:
    plugin = first if isinstance(first, dict) else {}
    mtu = plugin.get("mtu")
    subnets = tuple(_subnets(plugin.get("ipam")))
    return CniNetwork(path, str(item.get("name", "")), mtu if isinstance(mtu, int) else 0, subnets)


def _subnets(ipam: Any) -> Iterator[str]:
    """Yield host-local's ranges; none of what has another shape."""
    with suppress(AttributeError, TypeError, ValueError):
        for part in ipam.get("ranges") or ():
            for one in part:
                yield str(ip_network(one.get("subnet"), strict=False))


def _listed(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())[:_MOST] if folder.is_dir() else []


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_LONGEST).decode(errors="replace")


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
