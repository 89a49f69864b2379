"""Defaults of CustomResourceDefinitions. Pure.

Source: defaults.go of k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1, and its strategy.
"""

from typing import Any

Wire = dict[str, Any]


def default_definition(wire: Wire) -> Wire:
    """Fill in the singular name, the kind of lists, the conversion and its port."""
    spec = wire.get("spec") or {}
    names = dict(spec.get("names") or {})
    if not names.get("singular") and names.get("kind"):
        names["singular"] = names["kind"].lower()
    if not names.get("listKind") and names.get("kind"):
        names["listKind"] = f"{names['kind']}List"
    names = {name: value for name, value in names.items() if value or name in ("plural", "kind")}
    conversion = spec.get("conversion")
    made = {"strategy": "None"} if conversion is None else _with_port(conversion)
    return wire | {"spec": spec | {"names": names, "conversion": made}}


def _with_port(conversion: Wire) -> Wire:
    """Return a conversion whose webhook's Service has a port."""
    webhook = conversion.get("webhook") or {}
    client = webhook.get("clientConfig") or {}
    service = client.get("service")
    if service is None or service.get("port") is not None:
        return conversion
    client = client | {"service": service | {"port": 443}}
    return conversion | {"webhook": webhook | {"clientConfig": client}}


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
