"""Errors of fields, with upstream's texts. Pure.

Source: k8s.io/apimachinery/pkg/util/validation/field: the types are its ErrorTypes, and the text
of an error is ``path: type: value: detail``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import orjson

REQUIRED = "FieldValueRequired"
INVALID = "FieldValueInvalid"
FORBIDDEN = "FieldValueForbidden"
NOT_SUPPORTED = "FieldValueNotSupported"
DUPLICATE = "FieldValueDuplicate"
NOT_FOUND = "FieldValueNotFound"
TOO_LONG = "FieldValueTooLong"
TOO_MANY = "FieldValueTooMany"
WRONG_TYPE = "FieldValueTypeInvalid"
INTERNAL = "InternalError"

_TEXTS = {
    REQUIRED: "Required value",
    INVALID: "Invalid value",
    FORBIDDEN: "Forbidden",
    NOT_SUPPORTED: "Unsupported value",
    DUPLICATE: "Duplicate value",
    NOT_FOUND: "Not found",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
    WRONG_TYPE: "Invalid value",
    INTERNAL: "Internal error",
}


_SHOWING = (INVALID, WRONG_TYPE, NOT_SUPPORTED, DUPLICATE, NOT_FOUND, TOO_MANY)


class _Omitted(Enum):
    """A value that an error does not show."""

    OMITTED = 0


OMITTED = _Omitted.OMITTED


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error of one field; ``type`` becomes the reason of a Status cause."""

    type: str
    path: str
    detail: str = ""
    value: Any = None

    def body(self) -> str:
        """Return the text without the path, as a Status cause has it."""
        parts = [_TEXTS[self.type]]
        if self.value is not OMITTED and self.type in _SHOWING:
            parts.append(show(self.value))
        if self.detail:
            parts.append(self.detail)
        return ": ".join(parts)

    def __str__(self) -> str:
        return f"{self.path}: {self.body()}"


def show(value: Any) -> str:
    """Return a value as Go prints it in a field error: as JSON."""
    shown = orjson.dumps(value, default=_plain).decode()
    if isinstance(value, dict):  # which Go's JSON keeps apart from HTML
        for sign in "&<>":
            shown = shown.replace(sign, f"\\u{ord(sign):04x}")
    return shown


def _plain(value: Any) -> Any:
    return value.wire() if hasattr(value, "wire") else str(value)


def required(path: str, detail: str = "") -> FieldError:
    """The field is required."""
    return FieldError(REQUIRED, path, detail)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    """The field has an invalid value."""
    return FieldError(INVALID, path, detail, value)


def internal(path: str, detail: str) -> FieldError:
    """The field has a value with which the server can do nothing."""
    return FieldError(INTERNAL, path, detail)


def forbidden(path: str, detail: str) -> FieldError:
    """The field may not be set or changed."""
    return FieldError(FORBIDDEN, path, detail)


def duplicate(path: str, value: Any) -> FieldError:
    """The value occurs twice."""
    return FieldError(DUPLICATE, path, "", value)


def not_found(path: str, value: Any) -> FieldError:
    """The value names an object that does not exist."""
    return FieldError(NOT_FOUND, path, "", value)


def not_supported(path: str, value: Any, known: Iterable[str]) -> FieldError:
    """The value is not in a closed set."""
    return not_supported_in_order(path, value, sorted(known))


def not_supported_in_order(path: str, value: Any, known: Iterable[str]) -> FieldError:
    """The value is not in a closed set that upstream names in an order of its own."""
    listed = ", ".join(show(item) for item in known)
    return FieldError(NOT_SUPPORTED, path, f"supported values: {listed}", value)


def too_long(path: str, limit: int) -> FieldError:
    """The value has too many bytes."""
    return FieldError(TOO_LONG, path, f"may not be more than {limit} bytes")


def too_many(path: str, count: int, limit: int) -> FieldError:
    """The list has too many items."""
    return FieldError(TOO_MANY, path, f"must have at most {limit} items", count)
