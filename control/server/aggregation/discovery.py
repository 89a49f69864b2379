"""Read what an extension server says that it serves. Pure; nothing of it is trusted.

Only known fields of the right types go on. Source: handler_discovery.go of k8s.io/kube-aggregator,
and endpoints.ConvertGroupVersionIntoToDiscovery for servers without aggregated discovery.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from control.server.state.extensions import GroupVersion

MOST_BYTES = 4 * 1024 * 1024
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"
ACCEPT = ",".join(AGGREGATED.format(version) for version in ("v2", "v2beta1"))
_VERSIONS = ("v2", "v2beta1")
Wire = dict[str, Any]
Resources = tuple[Wire, ...]


class DiscoveryError(ValueError):
    """An extension server says nothing that can be read."""


def is_aggregated(media: str) -> bool:
    """Return True for the Content-Type of an APIGroupDiscoveryList."""
    _, *parameters = (part.strip() for part in media.split(";"))
    given = dict(part.split("=", 1) for part in parameters if "=" in part)
    known = given.get("g") == "apidiscovery.k8s.io" and given.get("v") in _VERSIONS
    return known and given.get("as") == "APIGroupDiscoveryList"


def aggregated(body: bytes) -> dict[GroupVersion, Resources]:
    """Return the resources of each group and version; raises DiscoveryError."""
    found: dict[GroupVersion, Resources] = {}
    for group in _wires(_read(body).get("items")):
        name = _text(_wire(group.get("metadata")).get("name"))
        for version in _wires(group.get("versions")):
            at = name, _text(version.get("version"))
            found[at] = tuple(map(_resource, _wires(version.get("resources"))))
    return found


def listed(body: bytes, at: GroupVersion) -> Resources:
    """Return the resources of an APIResourceList; raises DiscoveryError."""
    given = list(_wires(_read(body).get("resources")))
    found: dict[str, Wire] = {}
    for each in given:
        name, _, sub = _text(each.get("name")).partition("/")
        if not sub and name:
            found[name] = _of_list(each, at)
    for each in given:
        name, _, sub = _text(each.get("name")).partition("/")
        if not sub or not name:
            continue
        owner = found.setdefault(name, {"resource": name, "scope": _scope(each), "verbs": []})
        row = {
            "subresource": sub,
            "responseKind": _kind_of(each, at),
            "verbs": _texts(each, "verbs"),
        }
        owner.setdefault("subresources", []).append(row)
    return tuple(found.values())


def schema_hash(body: bytes, at: GroupVersion) -> str | None:
    """Return the hash of a group and version in an index of OpenAPI v3; None if it has none."""
    paths = _wire(_read(body).get("paths"))
    row = paths.get(f"apis/{at[0]}/{at[1]}")
    if not isinstance(row, dict):
        return None
    given = _text(row.get("serverRelativeURL")).partition("hash=")[2].partition("&")[0]
    return given if given.isascii() and given.isalnum() and len(given) <= 256 else ""


def _read(body: bytes) -> Wire:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise DiscoveryError(f"it is no JSON: {err}") from err
    if not isinstance(found, dict):
        raise DiscoveryError("it is no JSON object")
    return found


def _wire(value: Any) -> Wire:
    return value if isinstance(value, dict) else {}


def _wires(value: Any) -> Iterator[Wire]:
    return (
        (each for each in value if isinstance(each, dict)) if isinstance(value, list) else iter(())
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _texts(wire: Wire, name: str) -> list[str]:
    given = wire.get(name)
    return [each for each in given if isinstance(each, str)] if isinstance(given, list) else []


def _kind(value: Any) -> Wire:
    given = _wire(value)
    return {name: _text(given.get(name)) for name in ("group", "version", "kind")}


def _resource(given: Wire) -> Wire:
    found: Wire = {
        "resource": _text(given.get("resource")),
        "responseKind": _kind(given.get("responseKind")),
        "scope": "Cluster" if given.get("scope") == "Cluster" else "Namespaced",
        "singularResource": _text(given.get("singularResource")),
        "verbs": _texts(given, "verbs"),
    }
    subs = [
        {
            "subresource": _text(each.get("subresource")),
            "responseKind": _kind(each.get("responseKind")),
            "verbs": _texts(each, "verbs"),
        }
        for each in _wires(given.get("subresources"))
    ]
    optional = {name: _texts(given, name) for name in ("shortNames", "categories")}
    return found | {
        name: each for name, each in (optional | {"subresources": subs}).items() if each
    }


def _of_list(given: Wire, at: GroupVersion) -> Wire:
    row = given | {
        "resource": given.get("name"),
        "responseKind": _kind_of(given, at),
        "scope": _scope(given),
        "singularResource": given.get("singularName"),
        "subresources": None,
    }
    return _resource(row)


def _scope(given: Wire) -> str:
    return "Namespaced" if given.get("namespaced") is True else "Cluster"


def _kind_of(given: Wire, at: GroupVersion) -> Wire:
    """Return the kind of a row; without a group of its own, that of its list."""
    group, version = _text(given.get("group")), _text(given.get("version"))
    if not (group or version):
        group, version = at
    return {"group": group, "version": version, "kind": _text(given.get("kind"))}
