"""Validate who may say what of a request for a certificate. Pure.

Source: k8s.io/kubernetes/pkg/apis/certificates/validation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from control.api import field
from control.api.field import FieldError

_PATH = "status.conditions"
_VERDICTS = ("Approved", "Denied")
_KNOWN = (*_VERDICTS, "Failed")
_STATUSES = ("False", "True", "Unknown")

Wire = Mapping[str, Any]


def validate_signing_status(new: Wire, old: Wire, *, approves: bool) -> list[FieldError]:
    """Return the errors of a new status; only an approval may change the verdict."""
    found = _conditions(_of(new))
    for name in _KNOWN:
        now, before = _of(new, name), _of(old, name)
        if len(now) < len(before):
            found.append(_refused("remove", name))
        elif not approves and name in _VERDICTS and now != before:
            found.append(_refused("add" if len(now) > len(before) else "modify", name))
    issued, certificate = _status(old).get("certificate"), _status(new).get("certificate")
    if issued and certificate != issued:
        why = "updates may not modify existing certificate content"
        found.append(field.forbidden("status.certificate", why))
    return found


def _status(wire: Wire) -> Wire:
    return wire.get("status") or {}


def _of(wire: Wire, name: str = "") -> list[Wire]:
    """Return the conditions of a type, or all."""
    given = _status(wire).get("conditions") or ()
    return [item for item in given if not name or item.get("type") == name]


def _refused(what: str, name: str) -> FieldError:
    return field.forbidden(_PATH, f'updates may not {what} a condition of type "{name}"')


def _conditions(conditions: Sequence[Wire]) -> list[FieldError]:
    found, seen = [], set[str]()
    for at, item in enumerate(conditions):
        name, path = item.get("type", ""), f"{_PATH}[{at}]"
        if not name:
            found.append(field.required(f"{path}.type"))
        elif name in seen:
            found.append(field.duplicate(f"{path}.type", name))
        seen.add(name)
        known = ("True",) if name in _KNOWN else _STATUSES
        if item.get("status", "") not in known:
            found.append(field.not_supported(f"{path}.status", item.get("status", ""), known))
    if seen.issuperset(_VERDICTS):
        why = "Approved and Denied conditions are mutually exclusive"
        found.append(field.invalid(_PATH, "Approved", why))
    return found
