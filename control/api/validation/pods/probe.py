"""Validate probes and lifecycle hooks of containers. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (validateProbe, validateHandler)
"""

from control.api import field
from control.api.container import Handler, HTTPGetAction, Lifecycle, Probe
from control.api.field import FieldError
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.service import validate_port_or_name
from control.api.validation.text import NOT_NEGATIVE

_SCHEMES = ("HTTP", "HTTPS")


def validate_probe(path: str, probe: Probe, *, once: bool) -> list[FieldError]:
    """Check a probe; ``once`` requires a success threshold of 1, and lets it end the container."""
    found = validate_handler(path, probe, None)
    numbers = {
        "initialDelaySeconds": probe.initial_delay_seconds,
        "timeoutSeconds": probe.timeout_seconds,
        "periodSeconds": probe.period_seconds,
        "successThreshold": probe.success_threshold,
        "failureThreshold": probe.failure_threshold,
    }
    found += [
        field.invalid(f"{path}.{name}", value, NOT_NEGATIVE)
        for name, value in numbers.items()
        if value is not None and value < 0
    ]
    if once and probe.success_threshold not in (None, 1):
        found.append(
            field.invalid(f"{path}.successThreshold", probe.success_threshold, "must be 1")
        )
    grace, own = probe.termination_grace_period_seconds, f"{path}.terminationGracePeriodSeconds"
    if grace is not None and grace <= 0:
        found.append(field.invalid(own, grace, "must be greater than 0"))
    if grace is not None and not once:
        found.append(field.invalid(own, grace, "must not be set for readinessProbes"))
    return found


def validate_lifecycle(path: str, lifecycle: Lifecycle, grace: int | None) -> list[FieldError]:
    """Check the hooks of a container, which has ``grace`` seconds to end."""
    found: list[FieldError] = []
    if lifecycle.post_start:
        found += validate_handler(f"{path}.postStart", lifecycle.post_start, grace)
    if lifecycle.pre_stop:
        found += validate_handler(f"{path}.preStop", lifecycle.pre_stop, grace)
    return found


def validate_handler(path: str, handler: Handler, grace: int | None) -> list[FieldError]:
    """Check that a handler has exactly one action, and check this action."""
    kinds = {
        "exec": handler.exec,
        "httpGet": handler.http_get,
        "tcpSocket": handler.tcp_socket,
        "grpc": handler.grpc if isinstance(handler, Probe) else None,
        "sleep": handler.sleep,
    }
    given = [name for name, action in kinds.items() if action is not None]
    if not given:
        return [field.required(path, "must specify a handler type")]
    why = "may not specify more than 1 handler type"
    more = [field.forbidden(f"{path}.{name}", why) for name in given[1:]]
    return _action(f"{path}.{given[0]}", given[0], handler, grace) + more


def _action(path: str, name: str, handler: Handler, grace: int | None) -> list[FieldError]:
    match name:
        case "exec" if handler.exec is not None and not handler.exec.command:
            return [field.required(f"{path}.command")]
        case "httpGet" if handler.http_get is not None:
            return _http(path, handler.http_get)
        case "tcpSocket" if handler.tcp_socket is not None:
            return validate_port_or_name(f"{path}.port", handler.tcp_socket.port)
        case "grpc" if isinstance(handler, Probe) and handler.grpc is not None:
            port = handler.grpc.port
            return invalid_each(f"{path}.port", port, text.port_number(port))
        case "sleep" if handler.sleep is not None:
            return _sleep(path, handler.sleep.get("seconds", 0), grace)
    return []


def _sleep(path: str, seconds: int, grace: int | None) -> list[FieldError]:
    if grace is None or 0 <= seconds <= grace:
        return []
    why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
    return [field.invalid(path, seconds, why)]


def _http(path: str, action: HTTPGetAction) -> list[FieldError]:
    found = [] if action.path else [field.required(f"{path}.path")]
    found += validate_port_or_name(f"{path}.port", action.port)
    if action.scheme not in _SCHEMES:
        found.append(field.not_supported(f"{path}.scheme", action.scheme, _SCHEMES))
    for header in action.http_headers:
        found += invalid_each(f"{path}.httpHeaders", header.name, text.header_name(header.name))
    return found
