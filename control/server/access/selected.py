"""Selectors in access reviews: they are checked, and those of fields are asked about. Pure.

Source: k8s.io/kubernetes/pkg/{apis/authorization/validation,registry/authorization/util}
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from control.api import field
from control.api.field import FieldError
from control.api.selectors import SelectorError, parse_fields, parse_labels
from control.api.validation import text

Wire = Mapping[str, Any]

_FIELDS, _LABELS = "fieldSelector", "labelSelector"
_BOTH = "may not specified at the same time as requirements"
_WITH_VALUES, _WITHOUT = ("In", "NotIn"), ("Exists", "DoesNotExist")
_NO_VALUES = "must be specified when `operator` is 'In' or 'NotIn'"
_VALUES = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
_FIELD = re.compile(r"[A-Za-z0-9_.-]+")
_SPECIAL = re.compile(r"([\\,=])")


def check(attributes: Wire) -> list[FieldError]:
    """Check both selectors of ``spec.resourceAttributes``."""
    found: list[FieldError] = []
    for name in (_FIELDS, _LABELS):
        if (given := attributes.get(name)) is not None:
            found += _check(f"spec.resourceAttributes.{name}", given, labels=name == _LABELS)
    return found


def _check(path: str, selector: Wire, *, labels: bool) -> Iterator[FieldError]:
    raw, requirements = selector.get("rawSelector") or "", selector.get("requirements") or ()
    if raw and requirements:
        yield field.invalid(f"{path}.rawSelector", raw, _BOTH)
    if not raw and not requirements:
        why = f"when {path} is specified, requirements or rawSelector is required"
        yield field.required(f"{path}.requirements", why)
    for at, each in enumerate(requirements):
        here, key = f"{path}.requirements[{at}]", each.get("key") or ""
        operator, values = each.get("operator") or "", each.get("values") or ()
        if operator in _WITH_VALUES and not values:
            yield field.required(f"{here}.values", _NO_VALUES)
        if operator in _WITHOUT and values:
            yield field.forbidden(f"{here}.values", _VALUES)
        if labels:
            for why in text.qualified_name(key):
                yield field.invalid(f"{here}.key", key, why)
        elif not key:
            yield field.required(f"{here}.key", "must be specified")


def field_selector(attributes: Wire) -> str:
    """Return the selector of fields that an authorizer is asked about, as a list would have it.

    What it cannot say is left out, by which more is asked for, not less.
    """
    given = attributes.get(_FIELDS) or {}
    if raw := given.get("rawSelector") or "":
        return raw if _reads(parse_fields, raw) else ""
    return ",".join(_terms(given.get("requirements") or ()))


def ignored(attributes: Wire) -> str:
    """Return which selectors, or parts of them, nobody could ask about; empty if none."""
    found = []
    for name, parse in ((_FIELDS, parse_fields), (_LABELS, parse_labels)):
        given = attributes.get(name) or {}
        raw, requirements = given.get("rawSelector") or "", given.get("requirements") or ()
        said = len(list(_terms(requirements))) if name == _FIELDS else _known(requirements)
        if (raw and not _reads(parse, raw)) or said < len(requirements):
            how = "partially ignored" if said else "ignored"
            found.append(f"spec.resourceAttributes.{name} {how} due to parse error")
    return "; ".join(found)


def _reads(parse: Callable[[str], object], raw: str) -> bool:
    try:
        parse(raw)
    except SelectorError:
        return False
    return True


def _terms(requirements: Sequence[Wire]) -> Iterator[str]:
    """Yield requirements in a selector's words; a key is no way to slip in another one."""
    for each in requirements:
        operator, key = each.get("operator"), each.get("key") or ""
        values: Sequence[str] = each.get("values") or ()
        if operator in _WITH_VALUES and len(values) == 1 and _FIELD.fullmatch(key):
            value = _SPECIAL.sub(r"\\\1", values[0])
            yield f"{key}{'=' if operator == 'In' else '!='}{value}"


def _known(requirements: Sequence[Wire]) -> int:
    """Return how many requirements of labels have an operator that is known."""
    return sum(each.get("operator") in (*_WITH_VALUES, *_WITHOUT) for each in requirements)
