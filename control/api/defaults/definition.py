"""Defaults of CustomResourceDefinitions. Pure.

Source: defaults.go of k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1, and its strategy.
"""

from typing import Any

Wire = dict[str, Any]


def default_definition(wire: Wire) -> Wire:
    """Fill in the singular name, the kind of lists and the conversion."""
    spec = wire.get("spec") or {}
    names = dict(spec.get("names") or {})
    if not names.get("singular") and names.get("kind"):
        names["singular"] = names["kind"].lower()
    if not names.get("listKind") and names.get("kind"):
        names["listKind"] = f"{names['kind']}List"
    names = {name: value for name, value in names.items() if value or name in ("plural", "kind")}
    conversion = spec.get("conversion") or {"strategy": "None"}
    return wire | {"spec": spec | {"names": names, "conversion": conversion}}


def begin_definition(wire: Wire) -> Wire:
    """Set the status of a new definition: the version that its objects are stored in."""
    return with_stored_version(wire)


def with_stored_version(wire: Wire) -> Wire:
    """Return a definition whose status names the version in which objects are stored from now."""
    status = wire.get("status") or {}
    stored = status.get("storedVersions") or []
    new = [each["name"] for each in wire["spec"]["versions"] if each["storage"]][:1]
    if not new or new[0] in stored:
        return wire
    return wire | {"status": status | {"storedVersions": [*stored, *new]}}
