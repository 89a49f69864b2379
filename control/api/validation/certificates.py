"""Validate requests for certificates, and who may say what of one. Pure.

Source: k8s.io/kubernetes/pkg/apis/certificates/validation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from control.api import field
from control.api.certificates import LEGACY_SIGNER, USAGES, CertificateSigningRequest
from control.api.field import FieldError
from control.api.signing import SigningError, check_certificate, read_request
from control.api.validation import text

_PATH = "status.conditions"
_VERDICTS = ("Approved", "Denied")
_KNOWN = (*_VERDICTS, "Failed")
_STATUSES = ("False", "True", "Unknown")

Wire = Mapping[str, Any]

_DOMAIN_MAX, _SIGNER_PATH_MAX = 253, 253 + 63 + 1
_SHORTEST = 600


def validate_new_request(new: CertificateSigningRequest) -> list[FieldError]:
    """Check what is asked for, and that who asks has the key."""
    spec, found = new.spec, []
    try:
        read_request(spec.request)
    except SigningError as err:
        found.append(field.invalid("spec.request", spec.request, str(err)))
    found += _usages(spec.usages) + _signer(spec.signer_name)
    if spec.expiration_seconds is not None and spec.expiration_seconds < _SHORTEST:
        why = "may not specify a duration less than 600 seconds (10 minutes)"
        found.append(field.invalid("spec.expirationSeconds", spec.expiration_seconds, why))
    return found


def _usages(usages: Sequence[str]) -> list[FieldError]:
    if not usages:
        return [field.required("spec.usages")]
    found, seen = [], set[str]()
    for at, usage in enumerate(usages):
        if usage not in USAGES:
            found.append(field.not_supported(f"spec.usages[{at}]", usage, USAGES))
        elif usage in seen:
            found.append(field.duplicate(f"spec.usages[{at}]", usage))
        seen.add(usage)
    return found


def _signer(name: str) -> list[FieldError]:
    path, (domain, _, rest) = "spec.signerName", name.partition("/")
    if not name:
        return [field.required(path)]
    if name == LEGACY_SIGNER:
        why = "the legacy signerName is not allowed via this API version"
        return [field.invalid(path, name, why)]
    if name.count("/") != 1:
        why = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
        return [field.invalid(path, name, why)]
    found = [field.too_long(path, _DOMAIN_MAX)] if len(domain) > _DOMAIN_MAX else []
    found += _labels(domain, text.dns_label)
    if "." not in domain:
        why = "should be a domain with at least two segments separated by dots"
        found.append(field.invalid(path, domain, why))
    found += _labels(rest, text.dns_subdomain)
    if len(rest) > _SIGNER_PATH_MAX:
        found.append(field.too_long(path, _SIGNER_PATH_MAX))
    return found


def _labels(dotted: str, check: text.Check) -> list[FieldError]:
    """Return the errors of the first part that has some, as upstream."""
    for label in dotted.split("."):
        if faults := check(label):
            whys = (f'validating label "{label}": {fault}' for fault in faults)
            return [field.invalid("spec.signerName", dotted, why) for why in whys]
    return []


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
    elif certificate and not issued:
        found += _certificate(certificate)
    return found


def _certificate(encoded: str) -> list[FieldError]:
    try:
        check_certificate(encoded)
    except SigningError as err:
        return [field.invalid("status.certificate", "<certificate data>", str(err))]
    return []


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
