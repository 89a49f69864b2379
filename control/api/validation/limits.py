"""Validate LimitRanges. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/validation (ValidateLimitRange)
"""

from collections.abc import Callable, Iterator, Mapping

from control.api import field
from control.api.field import FieldError
from control.api.limits import CLAIM, CONTAINER, POD, Amounts, LimitRange, LimitRangeItem
from control.api.quantity import Quantity, QuantityError, parse
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.pods.resources import container_resource, resource_name

_TYPES = (CONTAINER, CLAIM, POD)
_STORAGE = "storage"
# (the lesser, the greater, the field that is told, the message's words for both)
_ORDER = (
    ("min", "max", "min", "min value", "max value"),
    ("min", "defaultRequest", "defaultRequest", "min value", "default request value"),
    ("defaultRequest", "max", "defaultRequest", "default request value", "max value"),
    ("defaultRequest", "default", "defaultRequest", "default request value", "default limit value"),
    ("min", "default", "default", "min value", "default value"),
    ("default", "max", "default", "default value", "max value"),
)
_Parsed = Mapping[str, Mapping[str, Quantity]]


def validate_limit_range(limits: LimitRange) -> list[FieldError]:
    """Check a LimitRange: each type once, known, and its numbers in order."""
    found = []
    seen: set[str] = set()
    for at, item in enumerate(limits.spec.limits):
        path = f"spec.limits[{at}]"
        found += _type(f"{path}.type", item.type)
        if item.type in seen:
            found.append(field.duplicate(f"{path}.type", item.type))
        seen.add(item.type)
        found += _item(path, item)
    return found


def _type(path: str, name: str) -> list[FieldError]:
    if found := invalid_each(path, name, text.qualified_name(name)):
        return found
    if "/" not in name and name not in _TYPES:
        why = "must be a standard limit type or fully qualified"
        return [field.invalid(path, name, why)]
    return []


def _item(path: str, item: LimitRangeItem) -> list[FieldError]:
    given: dict[str, Amounts] = {
        "max": item.max,
        "min": item.min,
        "default": item.default,
        "defaultRequest": item.default_request,
        "maxLimitRequestRatio": item.max_limit_request_ratio,
    }
    found: list[FieldError] = []
    if item.type == POD:
        for name in ("default", "defaultRequest"):
            if given.pop(name):
                why = "may not be specified when `type` is 'Pod'"
                found.append(field.forbidden(f"{path}.{name}", why))
    if item.type == CLAIM and _STORAGE not in {*item.min, *item.max}:
        why = "either minimum or maximum storage value is required, but neither was provided"
        found.append(field.required(f"{path}.limits", why))
    parsed: dict[str, dict[str, Quantity]] = {}
    check = container_resource if item.type in (CONTAINER, POD) else resource_name
    for name, amounts in given.items():
        parsed[name], wrong = _amounts(f"{path}.{name}", amounts, check)
        found += wrong
    return [*found, *_unordered(path, parsed), *_ratios(path, parsed)]


def _amounts(
    path: str, amounts: Amounts, check: Callable[[str, str], list[FieldError]]
) -> tuple[dict[str, Quantity], list[FieldError]]:
    parsed, found = {}, []
    for name, amount in amounts.items():
        found += check(f"{path}[{name}]", name)
        try:
            parsed[name] = parse(amount)
        except QuantityError as err:
            found.append(field.invalid(f"{path}[{name}]", amount, str(err)))
    return parsed, found


def _unordered(path: str, parsed: _Parsed) -> Iterator[FieldError]:
    for low, high, told, lesser, greater in _ORDER:
        lows, highs = parsed.get(low, {}), parsed.get(high, {})
        for name in sorted(lows.keys() & highs.keys()):
            if lows[name] > highs[name]:
                why = f"{lesser} {lows[name]} is greater than {greater} {highs[name]}"
                value = str(parsed[told][name])
                yield field.invalid(f"{path}.{told}[{name}]", value, why)


def _ratios(path: str, parsed: _Parsed) -> Iterator[FieldError]:
    ratios, least, most = parsed["maxLimitRequestRatio"], parsed["min"], parsed["max"]
    for name, ratio in sorted(ratios.items()):
        own = f"{path}.maxLimitRequestRatio[{name}]"
        if ratio < parse(1):
            yield field.invalid(own, str(ratio), f"ratio {ratio} is less than 1")
        if name in least and name in most and least[name].nano > 0:
            widest = most[name].nano / least[name].nano
            if ratio.nano / 10**9 > widest:
                why = f"ratio {ratio} is greater than max/min = {widest:f}"
                yield field.invalid(own, str(ratio), why)
