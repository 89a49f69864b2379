"""Validate PriorityLevelConfigurations. Pure.

Source: k8s.io/kubernetes/pkg/apis/flowcontrol/validation
"""

import math
from collections.abc import Mapping
from typing import Any

from control.api import field, flows
from control.api.field import FieldError
from control.api.meta import Object
from control.api.validation.stored.flows import FIXED

Wire = Mapping[str, Any]

_TYPES, _RESPONSES = ("Exempt", "Limited"), ("Queue", "Reject")
_TYPE = "must be 'Exempt' if and only if `name` is 'exempt'"
_EXEMPT_FIXED = "spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"
_NOT_NEGATIVE, _PERCENT = "must be a non-negative integer", "must be between 0 and 100, inclusive"
_NO_QUEUING = "must be nil if limited.limitResponse.type is not Limited"
_QUEUING = "must not be empty if limited.limitResponse.type is Limited"
_MOST_QUEUES = 10_000_000
_MOST_BITS = 60  # of the hash that deals a flow its queues
_OLD_SHARES = "flowcontrol.k8s.io/v1beta3-preserve-zero-concurrency-shares"


def validate_priority_level(level: Object) -> list[FieldError]:
    """Check a level's seats and queues; the mandatory ones are as they are."""
    found, name = [], level.metadata.name
    if _OLD_SHARES in level.metadata.annotations:
        why = f"annotation '{_OLD_SHARES}' is forbidden"
        found.append(field.forbidden("metadata.annotations", why))
    spec: Wire = level.wire().get("spec") or {}
    kind = spec.get("type") or ""
    if (name == flows.EXEMPT) != (kind == "Exempt"):
        found.append(field.invalid("spec.type", kind, _TYPE))
    found += _spec(kind, spec)
    fixed = flows.levels().get(name)
    if name in flows.MANDATORY and fixed and not flows.is_as_fixed(name, {**spec}, fixed):
        why = _EXEMPT_FIXED if name == flows.EXEMPT else FIXED.format(name)
        found.append(field.invalid("spec", spec, why))
    return found


def _spec(kind: str, spec: Wire) -> list[FieldError]:
    exempt, limited = spec.get("exempt"), spec.get("limited")
    if kind not in _TYPES:
        return [field.not_supported("spec.type", kind, _TYPES)]
    found = []
    if kind == "Exempt":
        if limited is not None:
            found.append(field.forbidden("spec.limited", "must be nil if the type is not Limited"))
        return found + (_seats("spec.exempt", exempt) if exempt is not None else [])
    if exempt is not None:
        found.append(field.forbidden("spec.exempt", "must be nil if the type is Limited"))
    if limited is None:
        return [*found, field.required("spec.limited", "must not be empty when type is Limited")]
    return found + _limited("spec.limited", limited)


def _shares(path: str, given: Wire) -> list[FieldError]:
    shares, name = given.get("nominalConcurrencyShares"), "nominalConcurrencyShares"
    if shares is not None and shares < 0:
        return [field.invalid(f"{path}.{name}", shares, _NOT_NEGATIVE)]
    return []


def _lendable(path: str, given: Wire) -> list[FieldError]:
    percent = given.get("lendablePercent")
    if percent is not None and not 0 <= percent <= 100:
        return [field.invalid(f"{path}.lendablePercent", percent, _PERCENT)]
    return []


def _seats(path: str, given: Wire) -> list[FieldError]:
    return _shares(path, given) + _lendable(path, given)


def _limited(path: str, limited: Wire) -> list[FieldError]:
    found = _shares(path, limited)
    found += _response(f"{path}.limitResponse", limited.get("limitResponse") or {})
    found += _lendable(path, limited)
    borrowing = limited.get("borrowingLimitPercent")
    if borrowing is not None and borrowing < 0:
        why = f"if specified, {_NOT_NEGATIVE}"
        found.append(field.invalid(f"{path}.borrowingLimitPercent", borrowing, why))
    return found


def _response(path: str, response: Wire) -> list[FieldError]:
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind not in _RESPONSES:
        return [field.not_supported(f"{path}.type", kind, _RESPONSES)]
    here = f"{path}.queuing"
    if kind == "Reject":
        return [] if queuing is None else [field.forbidden(here, _NO_QUEUING)]
    return [field.required(here, _QUEUING)] if queuing is None else _queuing(here, queuing)


def _queuing(path: str, queuing: Wire) -> list[FieldError]:
    length, queues, hand = (
        queuing.get(name) or 0 for name in ("queueLengthLimit", "queues", "handSize")
    )
    found = [
        field.invalid(f"{path}.{name}", value, "must be positive")
        for name, value in (("queueLengthLimit", length), ("queues", queues), ("handSize", hand))
        if value <= 0
    ]
    if queues > _MOST_QUEUES:
        why = f"must not be greater than {_MOST_QUEUES}"
        found.append(field.invalid(f"{path}.queues", queues, why))
    if hand > 0 and (why := _hand(queues, hand)):
        found.append(field.invalid(f"{path}.handSize", hand, why))
    return found


def _hand(queues: int, hand: int) -> str:
    """Return what is wrong with the number of a flow's queues; nothing if it is right."""
    if hand > queues:
        return f"should not be greater than queues ({queues})"
    if math.ceil(math.log2(queues) * hand) > _MOST_BITS:
        of = f"deckSize {queues} and handSize {hand}"
        return f"required entropy bits of {of} should not be greater than {_MOST_BITS}"
    return ""
