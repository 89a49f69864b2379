"""Numbers as text, read and written as Go does.

Source: Go's strconv: ParseInt, ParseUint, ParseFloat, and FormatFloat with the formats g and f.
"""

import math
import re
from decimal import Decimal

from control.api.cel.errors import EvaluationError
from control.api.cel.values import fits_int

_LONGEST = 1_000  # characters of a number that is read; Go has no bound
_INT, _UINT = re.compile(r"[+-]?[0-9]{1,1000}"), re.compile(r"[0-9]{1,1000}")
_DOUBLE = re.compile(
    r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?)|nan", re.I
)
_HEX = re.compile(r"[+-]?0x(?:[0-9a-f]+\.?[0-9a-f]*|\.[0-9a-f]+)p[+-]?[0-9]+", re.I)
_MOST_UINT = 2**64
_SYNTAX, _RANGE = "invalid syntax", "value out of range"


def _refused(function: str, text: str, why: str) -> EvaluationError:
    return EvaluationError(f'strconv.{function}: parsing "{text}": {why}')


def parse_int(text: str) -> int:
    """Read a whole number of 64 bits; raises EvaluationError."""
    if not _INT.fullmatch(text):
        raise _refused("ParseInt", text, _SYNTAX)
    number = int(text)
    if not fits_int(number):
        raise _refused("ParseInt", text, _RANGE)
    return number


def parse_uint(text: str) -> int:
    """Read a whole number of 64 bits without a sign; raises EvaluationError."""
    if not _UINT.fullmatch(text):
        raise _refused("ParseUint", text, _SYNTAX)
    number = int(text)
    if number >= _MOST_UINT:
        raise _refused("ParseUint", text, _RANGE)
    return number


def parse_double(text: str) -> float:
    """Read a number, decimal or hexadecimal; raises EvaluationError, also for one too large."""
    known = text if len(text) <= _LONGEST else ""
    try:
        if _HEX.fullmatch(known):
            return float.fromhex(known)
        if not _DOUBLE.fullmatch(known):
            raise _refused("ParseFloat", text, _SYNTAX)
        number = float(known)
    except OverflowError as err:
        raise _refused("ParseFloat", text, _RANGE) from err
    if math.isinf(number) and "i" not in known.lower():
        raise _refused("ParseFloat", text, _RANGE)
    return number


def number_text(number: float) -> str:
    """Write a number with an exponent if that is below -4 or above 5: 1e+06, NaN, +Inf."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
    exact = Decimal(repr(number)).normalize()
    exponent = exact.adjusted()
    if -4 <= exponent < 6 or not number:
        return plain_text(number)
    first, *rest = map(str, exact.as_tuple().digits)
    point = "." if rest else ""
    return f"{'-' if number < 0 else ''}{first}{point}{''.join(rest)}e{exponent:+03d}"


def plain_text(number: float) -> str:
    """Write a number without an exponent: 1000000, NaN, Infinity."""
    if not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return f"{Decimal(repr(number)).normalize():f}"
