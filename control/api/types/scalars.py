"""Read one JSON value of each of upstream's scalar types, as Go's decoder does. Pure.

Sources: k8s.io/apimachinery/pkg/apis/meta/v1 (time.go, micro_time.go), pkg/api/resource
(quantity.go), pkg/util/intstr, and encoding/json. Each function returns the value that upstream
would write for it, and raises WrongTypeError.
"""

import base64
import binascii
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from control.api.quantity import QuantityError, parse

# Go's names of JSON values.
_GIVEN = {str: "string", bool: "bool", int: "number", list: "array", dict: "object"}
_SHOWN_MAX = 100
_QUANTITY_WRONG = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
_ZONE = "(Z|[+-][0-9]{2}:[0-9]{2})"
_TIME = re.compile(f"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9:]{{8}}([.,][0-9]+)?{_ZONE}")
_MICRO_TIME = re.compile(f"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9:]{{8}}[.,][0-9]{{6}}{_ZONE}")
_TIME_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
_BITS_32, _BITS_64 = 2**31, 2**63
# Numbers from this on are written with an exponent.
_GO_EXPONENT = 1e21


class WrongTypeError(ValueError):
    """A value that upstream's type of a field does not hold.

    ``given`` and ``wanted`` are Go's names of the types; a message of its own replaces them.
    ``names`` are the fields that lead to the value, the innermost first; ``struct`` is the type
    that has the innermost field.
    """

    def __init__(self, given: str = "", wanted: str = "", message: str = "") -> None:
        super().__init__(message)
        self.given, self.wanted, self.message = given, wanted, message
        self.names: list[str] = []
        self.struct = ""

    def __str__(self) -> str:
        if self.message:
            return self.message
        path = ".".join(reversed(self.names))
        where = f"Go struct field {self.struct}.{path}" if path else "Go value"
        return f"json: cannot unmarshal {self.given} into {where} of type {self.wanted}"


def mismatch(value: Any, wanted: str) -> WrongTypeError:
    """Return the error for a JSON value of another type."""
    given = f"number {value}" if isinstance(value, float) else _GIVEN.get(type(value), "null")
    return WrongTypeError(given, wanted)


def text(value: Any) -> str:
    """Read text."""
    if type(value) is not str:
        raise mismatch(value, "string")
    return value


def boolean(value: Any) -> bool:
    """Read a boolean."""
    if type(value) is not bool:
        raise mismatch(value, "bool")
    return value


def int32(value: Any) -> int:
    """Read an integer of 32 bits."""
    return _integer(value, _BITS_32, "int32")


def int64(value: Any) -> int:
    """Read an integer of 64 bits."""
    return _integer(value, _BITS_64, "int64")


def _integer(value: Any, limit: int, name: str) -> int:
    if type(value) is not int:
        raise mismatch(value, name)
    if not -limit <= value < limit:
        raise WrongTypeError(f"number {value}", name)
    return value


def number(value: Any) -> float:
    """Read a number of 64 bits; Go writes a whole one without a fraction."""
    if type(value) not in (int, float):
        raise mismatch(value, "float64")
    made = float(value)
    return int(made) if made.is_integer() and abs(made) < _GO_EXPONENT else made


def base64_text(value: Any) -> str:
    """Read bytes in base64; line ends, which Go allows, are removed."""
    if type(value) is not str:
        raise mismatch(value, "[]uint8")
    try:
        binascii.a2b_base64(value, strict_mode=True)
    except (ValueError, binascii.Error):
        return _relaxed_base64(value)
    return value


def _relaxed_base64(value: str) -> str:
    """Read base64 with line ends, and with bits after the last byte."""
    bare = value.replace("\n", "").replace("\r", "")
    try:
        return base64.b64encode(base64.b64decode(bare, validate=True)).decode()
    except (ValueError, binascii.Error) as err:
        raise WrongTypeError(message="illegal base64 data") from err


def quantity(value: Any) -> str:
    """Read a quantity, text or number, and return its canonical form: ``1000m`` is ``1``."""
    try:
        made = canonical(value if type(value) is str else repr(value))
    except QuantityError as err:
        raise WrongTypeError(message=_QUANTITY_WRONG) from err
    return value if made == value else made


@lru_cache(maxsize=1024)
def canonical(value: str) -> str:
    """Return the canonical form of a quantity; raises QuantityError."""
    return str(parse(value))


def int_or_text(value: Any) -> int | str:
    """Read a number or text, such as a port or a percentage."""
    if type(value) is str:
        return value
    return int32(value)


def time(value: Any) -> str:
    """Read a metav1.Time; returns it in UTC and in whole seconds."""
    if type(value) is not str:
        raise mismatch(value, "string")
    return _rewritten(value, _TIME, _TIME_LAYOUT)


def micro_time(value: Any) -> str:
    """Read a metav1.MicroTime, which has six digits of a fraction; returns it in UTC."""
    if type(value) is not str:
        raise mismatch(value, "string")
    return _rewritten(value, _MICRO_TIME, _MICRO_LAYOUT)


def _rewritten(value: str, pattern: re.Pattern[str], layout: str) -> str:
    try:
        if len(value) > _SHOWN_MAX or not pattern.fullmatch(value):
            raise ValueError
        moment = datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError) as err:
        shown = value[:_SHOWN_MAX]
        why = f'parsing time "{shown}" as "{layout}": cannot parse "{shown}"'
        raise WrongTypeError(message=why) from err
    unit = "seconds" if layout == _TIME_LAYOUT else "microseconds"
    made = moment.isoformat(timespec=unit).replace("+00:00", "Z")
    return value if made == value else made


def raw(value: Any) -> Any:
    """Read any JSON value, which is kept as it is."""
    return value


READERS: dict[str, Callable[[Any], Any]] = {
    "s": text,
    "b": boolean,
    "i": int32,
    "l": int64,
    "d": number,
    "x": base64_text,
    "T": time,
    "U": micro_time,
    "Q": quantity,
    "I": int_or_text,
    "R": raw,
}
# What each type holds in Go before anything is decoded into it, where JSON can show it.
ZEROS: dict[str, Any] = {"s": "", "b": False, "i": 0, "l": 0, "d": 0, "Q": "0"}
