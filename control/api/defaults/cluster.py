"""Defaults of the small kinds, and what a new object of them starts with. Pure."""

import base64

from control.api.defaults.edit import Wire, filled, within_each

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_NAMESPACE_FINALIZER = "kubernetes"


def default_namespace(namespace: Wire) -> Wire:
    """A namespace can be selected by its name (KEP-2161)."""
    metadata = namespace["metadata"]
    labels = metadata.get("labels", {}) | {_NAMESPACE_LABEL: metadata.get("name", "")}
    return namespace | {"metadata": metadata | {"labels": labels}}


def begin_namespace(namespace: Wire) -> Wire:
    """A namespace is active, and goes only after its controller has emptied it."""
    spec = namespace.get("spec", {})
    finalizers = spec.get("finalizers", [])
    if _NAMESPACE_FINALIZER not in finalizers:
        finalizers = [*finalizers, _NAMESPACE_FINALIZER]
    return namespace | {
        "spec": spec | {"finalizers": finalizers},
        "status": {"phase": "Active"},
    }


def default_secret(secret: Wire) -> Wire:
    """``stringData`` is a way of writing ``data``; it is never read back."""
    made = filled(secret, {"type": "Opaque"})
    plain = made.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        made["data"] = made.get("data", {}) | encoded
    return made


def default_node(node: Wire) -> Wire:
    """What a node can give is what it has, if it does not say otherwise."""
    status = node.get("status", {})
    if "capacity" in status and "allocatable" not in status:
        return node | {"status": status | {"allocatable": status["capacity"]}}
    return node


def default_endpoints(endpoints: Wire) -> Wire:
    """Ports are TCP."""
    return within_each(endpoints, "subsets", _with_tcp_ports)


def default_endpoint_slice(endpoint_slice: Wire) -> Wire:
    """Ports are TCP and have an (empty) name."""
    made = within_each(endpoint_slice, "ports", lambda port: {"name": ""} | port)
    return _with_tcp_ports(made)


def _with_tcp_ports(wire: Wire) -> Wire:
    return within_each(wire, "ports", lambda port: filled(port, {"protocol": "TCP"}))
