"""Validate Ingresses and IngressClasses. Pure.

Source: k8s.io/kubernetes/pkg/apis/networking/validation
"""

import ipaddress
from collections.abc import Mapping
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.meta import Object
from control.api.validation import text
from control.api.validation.meta import domain_path, immutable, invalid_each

Wire = Mapping[str, Any]

_CLASS = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_ENDS = ("/..", "/.")
_CONTROLLER_MAX = 250
_SCOPES = ("Cluster", "Namespace")
_NO_ADDRESS = "must be a DNS name, not an IP address"


def validate_new_ingress(ingress: Object) -> list[FieldError]:
    """Check that a new Ingress has one class, not two."""
    named = ingress.wire().get("spec", {}).get("ingressClassName")
    noted = ingress.metadata.annotations.get(_CLASS)
    if None in (named, noted) or named == noted:
        return []
    why = "must match `ingressClassName` when both are specified"
    return [field.invalid(f"annotations.{_CLASS}", noted, why)]


def validate_ingress(ingress: Object) -> list[FieldError]:
    """Check an Ingress."""
    spec = ingress.wire().get("spec", {})
    rules, backend = spec.get("rules", []), spec.get("defaultBackend")
    found = []
    if not rules and backend is None:
        why = "either `defaultBackend` or `rules` must be specified"
        found.append(field.invalid("spec", rules, why))
    if backend is not None:
        found += _backend("spec.defaultBackend", backend)
    for at, rule in enumerate(rules):
        found += _rule(f"spec.rules[{at}]", rule)
    for at, tls in enumerate(spec.get("tls", ())):
        found += _tls(f"spec.tls[{at}]", tls)
    if (name := spec.get("ingressClassName")) is not None:
        found += invalid_each("spec.ingressClassName", name, text.dns_subdomain(name))
    return found


def _tls(path: str, tls: Wire) -> list[FieldError]:
    found = []
    for at, host in enumerate(tls.get("hosts", ())):
        found += invalid_each(f"{path}.hosts[{at}]", host, _host(host))
    if secret := tls.get("secretName"):
        found += invalid_each(f"{path}.secretName", secret, text.dns_subdomain(secret))
    return found


def _host(host: str) -> list[str]:
    return text.wildcard_subdomain(host) if "*" in host else text.dns_subdomain(host)


def _rule(path: str, rule: Wire) -> list[FieldError]:
    found = []
    if host := rule.get("host"):
        if _is_address(host):
            found.append(field.invalid(f"{path}.host", host, _NO_ADDRESS))
        found += invalid_each(f"{path}.host", host, _host(host))
    if (http := rule.get("http")) is not None:
        paths = http.get("paths", ())
        if not paths:
            found.append(field.required(f"{path}.http.paths"))
        for at, item in enumerate(paths):
            found += _path(f"{path}.http.paths[{at}]", item)
    return found


def _path(path: str, item: Wire) -> list[FieldError]:
    kind, given = item.get("pathType"), item.get("path", "")
    own = f"{path}.path"
    if kind is None:
        return [field.required(f"{path}.pathType", "pathType must be specified")]
    found = []
    if kind not in _PATH_TYPES:
        found.append(field.not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    elif not given.startswith("/") and (given or kind != "ImplementationSpecific"):
        found.append(field.invalid(own, given, "must be an absolute path"))
    if kind in ("Exact", "Prefix"):
        messages = [f"must not contain '{part}'" for part in _NOT_IN_PATHS if part in given]
        messages += [f"cannot end with '{part}'" for part in _NOT_AT_ENDS if given.endswith(part)]
        found += invalid_each(own, given, messages)
    return found + _backend(f"{path}.backend", item.get("backend", {}))


def _backend(path: str, backend: Wire) -> list[FieldError]:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        return [field.invalid(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return _reference(f"{path}.resource", resource)
    if service is not None:
        return _service(path, service)
    return [field.invalid(path, "", "resource or service backend is required")]


def _service(path: str, service: Wire) -> list[FieldError]:
    own, name, port = f"{path}.service", service.get("name", ""), service.get("port", {})
    if name:
        found = invalid_each(f"{own}.name", name, text.dns_label(name))
    else:
        found = [field.required(f"{own}.name")]
    by_name, by_number = port.get("name", ""), port.get("number", 0)
    if by_name and by_number:
        found.append(field.invalid(path, "", "cannot set both port name & port number"))
    elif by_name:
        found += invalid_each(f"{own}.port.name", by_name, text.port_name(by_name))
    elif by_number:
        found += invalid_each(f"{own}.port.number", by_number, text.port_number(by_number))
    else:
        found.append(field.required(path, "port name or number is required"))
    return found


def _reference(path: str, reference: Wire) -> list[FieldError]:
    """Check a reference to an object of any kind."""
    group = reference.get("apiGroup")
    found = (
        [] if group is None else invalid_each(f"{path}.apiGroup", group, text.dns_subdomain(group))
    )
    for name in ("kind", "name"):
        if value := reference.get(name):
            found += invalid_each(f"{path}.{name}", value, text.path_segment(value))
        else:
            found.append(field.required(f"{path}.{name}"))
    return found


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def validate_ingress_status(ingress: Object) -> list[FieldError]:
    """Check the addresses and names under which an Ingress is reached."""
    balancer = ingress.wire().get("status", {}).get("loadBalancer", {})
    found = []
    for at, point in enumerate(balancer.get("ingress", ())):
        path = f"status.loadBalancer.ingress[{at}]"
        if address := point.get("ip"):
            found += invalid_each(f"{path}.ip", address, text.ip(address))
        if host := point.get("hostname"):
            found += invalid_each(f"{path}.hostname", host, text.dns_subdomain(host))
            if _is_address(host):
                found.append(field.invalid(f"{path}.hostname", host, _NO_ADDRESS))
    return found


def validate_ingress_class(the_class: Object) -> list[FieldError]:
    """Check an IngressClass."""
    spec = the_class.wire().get("spec", {})
    controller = spec.get("controller", "")
    found = domain_path("spec.controller", controller)
    if len(controller.encode()) > _CONTROLLER_MAX:
        found.append(field.too_long("spec.controller", _CONTROLLER_MAX))
    if (parameters := spec.get("parameters")) is not None:
        found += _parameters("spec.parameters", parameters)
    return found


def _parameters(path: str, parameters: Wire) -> list[FieldError]:
    found = _reference(path, parameters)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    own = f"{path}.namespace"
    if scope is None:
        found.append(field.required(f"{path}.scope"))
    elif scope not in _SCOPES:
        found.append(field.not_supported(f"{path}.scope", scope, _SCOPES))
    elif scope == "Cluster" and namespace is not None:
        found.append(field.forbidden(own, "`parameters.scope` is set to 'Cluster'"))
    elif scope == "Namespace" and namespace is None:
        found.append(field.required(own, "`parameters.scope` is set to 'Namespace'"))
    elif scope == "Namespace":
        found += invalid_each(own, namespace, text.dns_label(namespace or ""))
    return found


def validate_ingress_class_update(new: Object, old: Object) -> list[FieldError]:
    """Refuse a change of the controller."""
    after, before = (it.wire().get("spec", {}).get("controller", "") for it in (new, old))
    return immutable("spec.controller", after, before)
