"""Which CNI network there is, and what each plugin of it is told. Pure but for ``load``.

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


class NoNetwork(Exception):
    """There is no usable network configuration; the text says where it was looked for."""


class BadNetwork(NoNetwork):
    """A network configuration that cannot be used; the text names the file, and what is wrong."""


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
    """The network of the lexically first configuration file; raises NoNetwork, BadNetwork."""
    try:
        names = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    except FileNotFoundError:
        names = []
    if not names:
        raise NoNetwork(f"cni config uninitialized: no networks found in {folder}")
    try:
        with names[0].open("rb") as file:
            return parse(file.read(_MOST_BYTES), str(names[0]))
    except OSError as err:
        raise BadNetwork(f"{names[0]}: {err.strerror}") from err


def parse(raw: bytes, where: str) -> Network:
    """A network from a configuration list, or a single plugin's old form; raises BadNetwork."""
    try:
        value = json.loads(raw)
    except ValueError as err:
        raise BadNetwork(f"{where}: not JSON: {err}") from err
    if not isinstance(value, dict):
        raise BadNetwork(f"{where}: not a JSON object")
    plugins = value.get("plugins", [value]) if "plugins" in value or "type" in value else None
    if not isinstance(plugins, list) or not plugins:
        raise BadNetwork(f"{where}: no plugins in it")
    if not all(isinstance(item, dict) and _is_type(item.get("type")) for item in plugins):
        raise BadNetwork(f"{where}: a plugin without a type, or with a path for one")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise BadNetwork(f"{where}: the network has no name")
    flags = {key: value.get(key) in (True, "true") for key in ("disableCheck", "disableGC")}
    return Network(
        name, _version(value, where), tuple(plugins), raw, flags["disableCheck"], flags["disableGC"]
    )


def _is_type(value: Any) -> bool:
    """A plugin's type is a file name: no way out of the plugin folder."""
    return isinstance(value, str) and bool(value) and "/" not in value and value not in (".", "..")


def _version(value: Mapping[str, Any], where: str) -> str:
    """The highest of ``cniVersion`` and ``cniVersions`` that we know (SPEC 1.1.0, section 1)."""
    offered = [value.get("cniVersion") or "0.1.0", *(value.get("cniVersions") or ())]
    for version in _SUPPORTED:
        if version in offered:
            return version
    raise BadNetwork(f"{where}: cniVersion {', '.join(map(str, offered))} is not known here")


def plugin_config(
    network: Network,
    plugin: Mapping[str, Any],
    *,
    capabilities: Mapping[str, Any],
    previous: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What one plugin gets on stdin (SPEC section 3, "Deriving request configuration").

    ``runtimeConfig`` carries only what the plugin declares in ``capabilities``.
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
