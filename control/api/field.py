"""Errors at fields, in upstream's words. Pure.

Source: k8s.io/apimachinery/pkg/util/validation/field: the types are its ErrorTypes, and the text
of an error is ``path: type: value: detail``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
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

_TEXTS = {
    REQUIRED: "Required value",
    INVALID: "Invalid value",
    FORBIDDEN: "Forbidden",
    NOT_SUPPORTED: "Unsupported value",
    DUPLICATE: "Duplicate value",
    NOT_FOUND: "Not found",
    TOO_LONG: "Too long",
    TOO_MANY: "Too many",
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One broken rule at one field; ``type`` is a cause's reason."""

    type: str
    path: str
    detail: str = ""
    value: Any = None

    def body(self) -> str:
        """The text without the path, as a Status cause carries it."""
        parts = [_TEXTS[self.type]]
        if self.type in (INVALID, NOT_SUPPORTED, DUPLICATE, NOT_FOUND, TOO_MANY):
            parts.append(show(self.value))
        if self.detail:
            parts.append(self.detail)
        return ": ".join(parts)

    def __str__(self) -> str:
        return f"{self.path}: {self.body()}"


def show(value: Any) -> str:
    """A value as Go prints it in a field error: text quoted, everything else as JSON."""
    return orjson.dumps(value, default=_plain).decode()


def _plain(value: Any) -> Any:
    return value.wire() if hasattr(value, "wire") else str(value)


def required(path: str, detail: str = "") -> FieldError:
    """It must be there."""
    return FieldError(REQUIRED, path, detail)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    """It is there, and wrong."""
    return FieldError(INVALID, path, detail, value)


def forbidden(path: str, detail: str) -> FieldError:
    """It may not be there, or not change."""
    return FieldError(FORBIDDEN, path, detail)


def duplicate(path: str, value: Any) -> FieldError:
    """It is there twice."""
    return FieldError(DUPLICATE, path, "", value)


def not_found(path: str, value: Any) -> FieldError:
    """It names something that is not there."""
    return FieldError(NOT_FOUND, path, "", value)


def not_supported(path: str, value: Any, known: Iterable[str]) -> FieldError:
    """It is none of a closed set."""
    listed = ", ".join(show(item) for item in sorted(known))
    return FieldError(NOT_SUPPORTED, path, f"supported values: {listed}", value)


def too_long(path: str, limit: int) -> FieldError:
    """It has more bytes than allowed."""
    return FieldError(TOO_LONG, path, f"may not be more than {limit} bytes")


def too_many(path: str, count: int, limit: int) -> FieldError:
    """It has more items than allowed."""
    return FieldError(TOO_MANY, path, f"must have at most {limit} items", count)
