"""Validate APIServices. Pure.

Source: k8s.io/kube-aggregator/pkg/apis/apiregistration/validation
"""

from base64 import b64decode
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.meta import Object
from control.api.validation import text
from control.api.validation.meta import invalid_each

Wire = dict[str, Any]
_STATES = ("True", "False", "Unknown")
_MOST_OF_GROUP, _MOST_OF_VERSION = 20000, 1000


def validate_api_service(service: Object) -> list[FieldError]:
    """Check the name, the priorities and the Service of an APIService."""
    spec: Wire = service.wire().get("spec") or {}
    group, version = spec.get("group") or "", spec.get("version") or ""
    found, name = [], service.metadata.name
    if name != (wanted := f"{version}.{group}"):
        why = f'must be `spec.version+"."+spec.group`: "{wanted}"'
        found.append(field.invalid("metadata.name", name, why))
    if not group and version != "v1":
        why = "only v1 may have an empty group and it better be legacy kube"
        found.append(field.required("spec.group", why))
    if group:
        found += invalid_each("spec.group", group, text.dns_subdomain(group))
    found += invalid_each("spec.version", version, text.dns_1035_label(version))
    found += _priority("groupPriorityMinimum", spec, _MOST_OF_GROUP)
    found += _priority("versionPriority", spec, _MOST_OF_VERSION)
    return found + (_service(spec) if spec.get("service") is not None else _local(spec))


def validate_api_service_status(service: Object) -> list[FieldError]:
    """Check the conditions."""
    status = service.wire().get("status") or {}
    return [
        field.not_supported(f"status.conditions[{at}].status", each.get("status", ""), _STATES)
        for at, each in enumerate(status.get("conditions") or ())
        if each.get("status") not in _STATES
    ]


def _priority(name: str, spec: Wire, most: int) -> list[FieldError]:
    value = spec.get(name) or 0
    if 0 < value <= most:
        return []
    return [field.invalid(f"spec.{name}", value, f"must be positive and less than {most}")]


def _local(spec: Wire) -> list[FieldError]:
    found = []
    if bundle := spec.get("caBundle"):
        size = f"{len(b64decode(bundle))} bytes"
        why = "local APIServices may not have a caBundle"
        found.append(field.invalid("spec.caBundle", size, why))
    if spec.get("insecureSkipTLSVerify"):
        why = "local APIServices may not have insecureSkipTLSVerify"
        found.append(field.invalid("spec.insecureSkipTLSVerify", True, why))
    return found


def _service(spec: Wire) -> list[FieldError]:
    service = spec["service"]
    found = [
        field.required(f"spec.service.{name}")
        for name in ("namespace", "name")
        if not service.get(name)
    ]
    port = service.get("port") or 0
    for why in text.port_number(port):
        found.append(field.invalid("spec.service.port", port, f"port is not valid: {why}"))
    if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
        why = "may not be true if caBundle is present"
        found.append(field.invalid("spec.insecureSkipTLSVerify", True, why))
    return found
