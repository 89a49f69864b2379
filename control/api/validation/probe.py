"""Validate probes and lifecycle hooks of containers. Pure."""

from control.api import field
from control.api.container import Handler, HTTPGetAction, Lifecycle, Probe
from control.api.field import FieldError
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.service import validate_port_or_name

NOT_NEGATIVE = "must be greater than or equal to 0"
_SCHEMES = ("HTTP", "HTTPS")


def validate_probe(path: str, probe: Probe, *, once: bool) -> list[FieldError]:
    """Check a probe; ``once`` requires a success threshold of 1."""
    found = validate_handler(path, probe)
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
    grace = probe.termination_grace_period_seconds
    if grace is not None and grace <= 0:
        why = "must be greater than 0"
        found.append(field.invalid(f"{path}.terminationGracePeriodSeconds", grace, why))
    return found


def validate_lifecycle(path: str, lifecycle: Lifecycle) -> list[FieldError]:
    """Check the hooks of a container."""
    found: list[FieldError] = []
    if lifecycle.post_start:
        found += validate_handler(f"{path}.postStart", lifecycle.post_start)
    if lifecycle.pre_stop:
        found += validate_handler(f"{path}.preStop", lifecycle.pre_stop)
    return found


def validate_handler(path: str, handler: Handler) -> list[FieldError]:
    """Check that a handler has exactly one action, and check this action."""
    grpc = handler.grpc if isinstance(handler, Probe) else None
    kinds = (handler.exec, handler.http_get, handler.tcp_socket, handler.sleep, grpc)
    given = sum(kind is not None for kind in kinds)
    if not given:
        return [field.required(path, "must specify a handler type")]
    if given > 1:
        return [field.forbidden(path, "may not specify more than 1 handler type")]
    return _action(path, handler) if grpc is None else _grpc(f"{path}.grpc.port", grpc.port)


def _grpc(path: str, port: int) -> list[FieldError]:
    return invalid_each(path, port, text.port_number(port))


def _action(path: str, handler: Handler) -> list[FieldError]:
    if handler.exec is not None and not handler.exec.command:
        return [field.required(f"{path}.exec.command")]
    if handler.http_get is not None:
        return _http(f"{path}.httpGet", handler.http_get)
    if handler.tcp_socket is not None:
        return validate_port_or_name(f"{path}.tcpSocket.port", handler.tcp_socket.port)
    return []


def _http(path: str, action: HTTPGetAction) -> list[FieldError]:
    found = [] if action.path else [field.required(f"{path}.path")]
    found += validate_port_or_name(f"{path}.port", action.port)
    if action.scheme not in _SCHEMES:
        found.append(field.not_supported(f"{path}.scheme", action.scheme, _SCHEMES))
    return found
