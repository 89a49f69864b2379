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
_BETWEEN = re.compile(r"(?<=[0-9a-fx])_(?=[0-9a-f])", re.I)  # digits
_MOST_UINT = 2**64


def _refused(to: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from 'string' to '{to}'")


def parse_int(text: str) -> int:
    """Read a whole number of 64 bits; raises EvaluationError."""
    if not _INT.fullmatch(text) or not fits_int(int(text)):
        raise _refused("int")
    return int(text)


def atoi(text: str) -> int:
    """Read a whole number of 64 bits; raises EvaluationError with what Go says."""
    known = _INT.fullmatch(text)
    if known and fits_int(int(text)):
        return int(text)
    why = "value out of range" if known else "invalid syntax"
    raise EvaluationError(f'strconv.Atoi: parsing "{text}": {why}')


def parse_uint(text: str) -> int:
    """Read a whole number of 64 bits without a sign; raises EvaluationError."""
    if not _UINT.fullmatch(text) or int(text) >= _MOST_UINT:
        raise _refused("uint")
    return int(text)


def parse_double(text: str) -> float:
    """Read a number, decimal or hexadecimal; raises EvaluationError, also for one too large."""
    known = _BETWEEN.sub("", text) if len(text) <= _LONGEST else ""
    try:
        if _HEX.fullmatch(known):
            return float.fromhex(known)
        if not _DOUBLE.fullmatch(known):
            raise _refused("double")
        number = float(known)
    except OverflowError as err:
        raise _refused("double") from err
    if math.isinf(number) and "i" not in known.lower():
        raise _refused("double")
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
