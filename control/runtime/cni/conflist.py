"""Parses the CNI network configuration. Pure, except for ``load``.

Source: CNI SPEC.md 1.1.0, sections 1 and 3, and libcni's conf.go for the choice of the file.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SUFFIXES = (".conf", ".conflist", ".json")
_SUPPORTED = ("1.1.0", "1.0.0", "0.4.0", "0.3.1", "0.3.0", "0.2.0", "0.1.0")
_MOST_BYTES = 1024 * 1024


class NetworkConfigError(Exception):
    """There is no network configuration; the text names the folder."""


class InvalidNetworkConfigError(NetworkConfigError):
    """A network configuration is invalid; the text names the file and the fault."""


@dataclass(frozen=True, slots=True)
class Network:
    """One network: its plugins in the order of ADD."""

    name: str
    version: str
    plugins: tuple[Mapping[str, Any], ...]
    raw: bytes  # the file, for the cache
    disable_check: bool = False
    disable_gc: bool = False


def load(folder: Path) -> Network:
    """Load the lexically first configuration file; raises NetworkConfigError."""
    try:
        names = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    except FileNotFoundError:
        names = []
    if not names:
        raise NetworkConfigError(f"cni config uninitialized: no networks found in {folder}")
    try:
        with names[0].open("rb") as file:
            return parse(file.read(_MOST_BYTES), str(names[0]))
    except OSError as err:
        raise InvalidNetworkConfigError(f"{names[0]}: {err.strerror}") from err


def parse(raw: bytes, where: str) -> Network:
    """Parse a configuration list, or a single plugin's old form.

    Raises InvalidNetworkConfigError.
    """
    try:
        value = json.loads(raw)
    except ValueError as err:
        raise InvalidNetworkConfigError(f"{where}: not JSON: {err}") from err
    if not isinstance(value, dict):
        raise InvalidNetworkConfigError(f"{where}: not a JSON object")
    plugins = value.get("plugins", [value]) if "plugins" in value or "type" in value else None
    if not isinstance(plugins, list) or not plugins:
        raise InvalidNetworkConfigError(f"{where}: it has no plugins")
    if not all(isinstance(item, dict) and _is_type(item.get("type")) for item in plugins):
        raise InvalidNetworkConfigError(f"{where}: a plugin's type is missing, or is a path")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidNetworkConfigError(f"{where}: the network has no name")
    flags = {key: value.get(key) in (True, "true") for key in ("disableCheck", "disableGC")}
    return Network(
        name, _version(value, where), tuple(plugins), raw, flags["disableCheck"], flags["disableGC"]
    )


def _is_type(value: Any) -> bool:
    """True for a file name: a plugin's type must not lead out of the plugin folder."""
    return isinstance(value, str) and bool(value) and "/" not in value and value not in (".", "..")


def _version(value: Mapping[str, Any], where: str) -> str:
    """Return the highest known version of ``cniVersion`` and ``cniVersions`` (SPEC section 1)."""
    offered = [value.get("cniVersion") or "0.1.0", *(value.get("cniVersions") or ())]
    for version in _SUPPORTED:
        if version in offered:
            return version
    raise InvalidNetworkConfigError(
        f"{where}: cniVersion {', '.join(map(str, offered))} is not known here"
    )


def plugin_config(
    network: Network,
    plugin: Mapping[str, Any],
    *,
    capabilities: Mapping[str, Any],
    previous: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a plugin's standard input (SPEC section 3, "Deriving request configuration").

    ``runtimeConfig`` has only the keys that the plugin declares in ``capabilities``.
    """
    config = {key: value for key, value in plugin.items() if key != "capabilities"}
    config |= {"name": network.name, "cniVersion": network.version}
    declared = plugin.get("capabilities")
    declared = declared if isinstance(declared, dict) else {}
    wanted = {key: capabilities[key] for key, on in declared.items() if on and key in capabilities}
    if wanted:
        config["runtimeConfig"] = wanted
    if previous is not None:
        config["prevResult"] = dict(previous)
    return config
