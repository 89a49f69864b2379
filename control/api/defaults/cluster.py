"""Defaults and initial values of the small kinds. Pure."""

import base64

from control.api.defaults.edit import Wire, filled, within, within_each

_NAMESPACE_LABEL = "kubernetes.io/metadata.name"
_NAMESPACE_FINALIZER = "kubernetes"


def default_namespace(namespace: Wire) -> Wire:
    """Set the label by which a namespace can be selected (KEP-2161)."""
    metadata = namespace["metadata"]
    labels = metadata.get("labels", {}) | {_NAMESPACE_LABEL: metadata.get("name", "")}
    return namespace | {"metadata": metadata | {"labels": labels}}


def begin_namespace(namespace: Wire) -> Wire:
    """Set phase Active, and the finalizer that waits until the namespace is empty."""
    spec = namespace.get("spec", {})
    finalizers = spec.get("finalizers", [])
    if _NAMESPACE_FINALIZER not in finalizers:
        finalizers = [*finalizers, _NAMESPACE_FINALIZER]
    return namespace | {
        "spec": spec | {"finalizers": finalizers},
        "status": {"phase": "Active"},
    }


def default_secret(secret: Wire) -> Wire:
    """Encode ``stringData`` into ``data``; ``stringData`` is never read back."""
    made = filled(secret, {"type": "Opaque"})
    plain = made.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in plain.items()}
        made["data"] = made.get("data", {}) | encoded
    return made


def default_node(node: Wire) -> Wire:
    """Set ``allocatable`` to ``capacity`` unless it is given; keep both forms of the CIDR alike."""
    node = within(node, "spec", _with_pod_cidrs)
    status = node.get("status", {})
    if "capacity" in status and "allocatable" not in status:
        return node | {"status": status | {"allocatable": status["capacity"]}}
    return node


def _with_pod_cidrs(spec: Wire) -> Wire:
    """As upstream's conversion: where both are given, the old field ``podCIDR`` wins."""
    one, many = spec.get("podCIDR"), spec.get("podCIDRs") or []
    if one and many[:1] != [one]:
        return spec | {"podCIDRs": [one]}
    return spec | {"podCIDR": many[0]} if many else spec


def default_endpoints(endpoints: Wire) -> Wire:
    """Set the protocol of ports to TCP."""
    return within_each(endpoints, "subsets", _with_tcp_ports)


def default_endpoint_slice(endpoint_slice: Wire) -> Wire:
    """Set the protocol of ports to TCP, and their name to empty; v1 has no topology any more."""
    made = within_each(endpoint_slice, "ports", lambda port: {"name": ""} | port)
    made = within_each(made, "ports", lambda port: {"protocol": "TCP"} | port)
    return within_each(made, "endpoints", _without_topology)


def _without_topology(endpoint: Wire) -> Wire:
    return {name: value for name, value in endpoint.items() if name != "deprecatedTopology"}


def _with_tcp_ports(wire: Wire) -> Wire:
    return within_each(wire, "ports", lambda port: filled(port, {"protocol": "TCP"}))


def default_priority_class(wire: Wire) -> Wire:
    """Set that a Pod of a class may displace others."""
    return {"preemptionPolicy": "PreemptLowerPriority"} | wire
