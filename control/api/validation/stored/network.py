"""Validate NetworkPolicies. Pure.

Source: k8s.io/kubernetes/pkg/apis/networking/validation
"""

import ipaddress
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.meta import LabelSelector, Object
from control.api.validation import text
from control.api.validation.meta import invalid_each, validate_selector

Wire = dict[str, Any]

_PROTOCOLS = ("TCP", "UDP", "SCTP")
_TYPES = ("Ingress", "Egress")
_NO_NUMBER = "may not be specified when `port` is non-numeric"
_NO_PORT = "may not be specified when `port` is not specified"


def validate_policy(policy: Object) -> list[FieldError]:
    """Check a NetworkPolicy."""
    spec = policy.wire().get("spec", {})
    found = _selector("spec.podSelector", spec.get("podSelector", {}))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for at, rule in enumerate(spec.get(direction, ())):
            found += _rule(f"spec.{direction}[{at}]", rule, peers)
    return found + _types(spec.get("policyTypes", ()))


def _types(types: list[str]) -> list[FieldError]:
    path = "spec.policyTypes"
    if len(types) > len(_TYPES):
        return [field.invalid(path, types, "may not specify more than two policyTypes")]
    return [
        field.not_supported_in_order(f"{path}[{at}]", name, _TYPES)
        for at, name in enumerate(types)
        if name not in _TYPES
    ]


def _rule(path: str, rule: Wire, peers: str) -> list[FieldError]:
    found = []
    for at, port in enumerate(rule.get("ports", ())):
        found += _port(f"{path}.ports[{at}]", port)
    for at, peer in enumerate(rule.get(peers, ())):
        found += _peer(f"{path}.{peers}[{at}]", peer)
    return found


def _port(path: str, given: Wire) -> list[FieldError]:
    protocol, port, end = (given.get(name) for name in ("protocol", "port", "endPort"))
    found = []
    if protocol is not None and protocol not in _PROTOCOLS:
        found.append(field.not_supported_in_order(f"{path}.protocol", protocol, _PROTOCOLS))
    if isinstance(port, int):
        found += invalid_each(f"{path}.port", port, text.port_number(port))
        return found + (_end(f"{path}.endPort", port, end) if end is not None else [])
    if end is not None:
        found.append(
            field.invalid(f"{path}.endPort", end, _NO_PORT if port is None else _NO_NUMBER)
        )
    if port is not None:
        found += invalid_each(f"{path}.port", port, text.port_name(port))
    return found


def _end(path: str, port: int, end: int) -> list[FieldError]:
    found = []
    if end < port:
        found.append(field.invalid(path, port, "must be greater than or equal to `port`"))
    return found + invalid_each(path, end, text.port_number(end))


def _peer(path: str, peer: Wire) -> list[FieldError]:
    selectors = [name for name in ("podSelector", "namespaceSelector") if name in peer]
    found = []
    for name in selectors:
        found += _selector(f"{path}.{name}", peer[name])
    if "ipBlock" not in peer:
        return found if selectors else [field.required(path, "must specify a peer")]
    found += _block(f"{path}.ipBlock", peer["ipBlock"])
    if selectors:
        found.append(field.forbidden(path, "may not specify both ipBlock and another peer"))
    return found


def _selector(path: str, selector: Wire) -> list[FieldError]:
    return validate_selector(path, LabelSelector.parse(selector))


def _block(path: str, block: Wire) -> list[FieldError]:
    given = block.get("cidr", "")
    if not given:
        return [field.required(f"{path}.cidr")]
    if messages := text.cidr(given):
        return invalid_each(f"{path}.cidr", given, messages)
    whole, found = ipaddress.ip_network(given, strict=False), []
    for at, part in enumerate(block.get("except", ())):
        found += _exception(f"{path}.except[{at}]", part, whole)
    return found


def _exception(
    path: str, part: str, whole: ipaddress.IPv4Network | ipaddress.IPv6Network
) -> list[FieldError]:
    if messages := text.cidr(part):
        return invalid_each(path, part, messages)
    inner = ipaddress.ip_network(part, strict=False)
    is_inside = inner.version == whole.version and inner.network_address in whole
    if is_inside and inner.prefixlen > whole.prefixlen:
        return []
    return [field.invalid(path, part, "must be a strict subset of `cidr`")]
