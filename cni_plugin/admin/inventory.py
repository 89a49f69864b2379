"""The attachments of this node, from reservations, links and libcni's result cache.

Source of the cache's format: containernetworking/cni, libcni/api.go ("cniCacheV1").
"""

import base64
import json
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cni_plugin.admin.standalone import PROGRAM
from cni_plugin.ipam.local import GRACE
from cni_plugin.ipam.store import Owner, index_of, is_wired, read_owner
from cni_plugin.spec import names
from cni_plugin.spec.kernel_state import Link

Key = tuple[str, str, str]
# exceptions for a JSON document that is not libcni's
_FORM_ERRORS = (KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class Attachment:
    """One interface of one container. ``alive`` is false if no source shows that it exists."""

    network: str
    container_id: str
    ifname: str
    addresses: tuple[str, ...] = ()
    host_link: str = ""
    netns: str = ""
    alive: bool = False

    @property
    def key(self) -> Key:
        """(network, container ID, interface)."""
        return self.network, self.container_id, self.ifname


@dataclass(frozen=True, slots=True)
class CachedAdd:
    """An ADD in libcni's cache."""

    key: Key
    netns: str
    conflist: Mapping[str, Any]
    result: Mapping[str, Any]
    capabilities: Mapping[str, Any]


def read_cache(folder: Path) -> list[CachedAdd]:
    """The ADDs of podwire-cni in libcni's cache."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            item = json.loads(path.read_bytes())
            if item["kind"] == "cniCacheV1" and (cached := _cached(item)):
                found.append(cached)
        except (FileNotFoundError, IsADirectoryError, ValueError, *_FORM_ERRORS):
            continue  # another file, or one that is just being written or removed
    return found


def _cached(item: Mapping[str, Any]) -> CachedAdd | None:
    """An entry of the cache; None if its list has no podwire-cni. Raises _FORM_ERRORS."""
    conflist = json.loads(base64.b64decode(item["config"]))
    if not any(plugin.get("type") == PROGRAM for plugin in conflist["plugins"]):
        return None
    network, container_id, ifname, netns = map(
        _text, (item["networkName"], item["containerId"], item["ifName"], _netns(item))
    )
    result, capabilities = dict(item["result"]), dict(item.get("capabilityArgs") or {})
    return CachedAdd((network, container_id, ifname), netns, conflist, result, capabilities)


def _netns(item: Mapping[str, Any]) -> object:
    """The container's namespace. The libcni of containerd 1.6 has it in the result only."""
    links = item["result"].get("interfaces") or ()
    return item.get("netns") or next(filter(None, (link.get("sandbox") for link in links)), "")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def attached(
    data_dir: Path, cache: Iterable[CachedAdd], links: Iterable[Link], now: float | None = None
) -> list[Attachment]:
    """The attachments of all three sources."""
    found: dict[Key, Attachment] = {}
    for key, address, age in _reservations(data_dir, time.time() if now is None else now):
        item = found.get(key, Attachment(*key))
        # an interface that another plugin made has an unknown name, so it counts as alive
        unsure = age < GRACE or not is_wired(data_dir, key[0], Owner(*key[1:]))
        alive = item.alive or unsure
        found[key] = replace(item, addresses=(*item.addresses, address), alive=alive)
    for cached in cache:
        item = found.get(cached.key, Attachment(*cached.key))
        exists = bool(cached.netns) and Path(cached.netns).exists()
        found[cached.key] = replace(item, netns=cached.netns, alive=item.alive or exists)
    present = {link.name: link for link in links}
    for link in present.values():
        if (owner := names.parse_alias(link.alias)) is not None:
            found.setdefault(owner, Attachment(*owner))
    return [_with_link(item, present) for _, item in sorted(found.items())]


def _with_link(item: Attachment, present: Mapping[str, Link]) -> Attachment:
    name = names.host_link_name(*item.key)
    if name not in present:
        return item
    return replace(item, host_link=name, alive=True)


def _reservations(data_dir: Path, now: float) -> Iterable[tuple[Key, str, float]]:
    for path in sorted(data_dir.glob("[!.]*/*")):
        try:
            address = str(ip_address(path.name))
            owner, age = read_owner(str(path)), now - path.stat().st_mtime
        except (ValueError, FileNotFoundError, IsADirectoryError):
            continue  # no reservation, or one that was just released
        if owner is not None:
            yield (path.parent.name, owner.container_id, owner.ifname), address, age


def networks(data_dir: Path, found: Iterable[Attachment]) -> list[str]:
    """The networks for GC: those of attachments, and those with an index of reservations.

    If a node changes back to another plugin, that plugin releases addresses and removes interfaces,
    but not podwire's firewall rules.
    """
    indexed = {path.name for path in index_of(data_dir).glob("[!.]*")}
    return sorted(filter(names.is_identifier, indexed | {item.network for item in found}))


def live(found: Iterable[Attachment], networks: Container[str]) -> list[Attachment]:
    """The attachments to networks that are there: with an interface of ours, or a namespace."""
    return [
        item
        for item in found
        if item.alive and item.network in networks and (item.host_link or item.netns)
    ]


def check_input(cached: CachedAdd) -> tuple[dict[str, str], bytes]:
    """The environment and standard input of a CHECK, as libcni passes them."""
    network, container_id, ifname = cached.key
    plugin = next(item for item in cached.conflist["plugins"] if item.get("type") == PROGRAM)
    declared = {name for name, on in (plugin.get("capabilities") or {}).items() if on}
    runtime = {name: value for name, value in cached.capabilities.items() if name in declared}
    version = cached.result.get("cniVersion", cached.conflist.get("cniVersion"))
    document = plugin | {
        "name": network,
        "cniVersion": version,
        "prevResult": cached.result,
        "runtimeConfig": runtime,
    }
    environment = {
        "CNI_COMMAND": "CHECK",
        "CNI_CONTAINERID": container_id,
        "CNI_IFNAME": ifname,
        "CNI_NETNS": cached.netns,
    }
    return environment, json.dumps(document).encode()


def collect_input(network: str, data_dir: Path, found: Iterable[Attachment]) -> bytes:
    """The standard input of a GC that keeps the attachments that are alive."""
    valid = [
        {"containerID": item.container_id, "ifname": item.ifname}
        for item in found
        if item.network == network and item.alive
    ]
    document = {
        "cniVersion": "1.1.0",
        "name": network,
        "type": PROGRAM,
        "ipam": {"type": "podwire", "dataDir": str(data_dir)},
        "cni.dev/valid-attachments": valid,
    }
    return json.dumps(document).encode()
