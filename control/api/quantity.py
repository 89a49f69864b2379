"""Resource quantities such as ``500m``, ``1.5Gi`` and ``2e3``. Pure.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/. As there,
more than nine decimal places are rounded up, and 2^63-1 is the largest value.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache, total_ordering
from typing import Literal

Notation = Literal["binary", "decimal", "exponent"]

_NANO = 10**9
_MOST = (2**63 - 1) * _NANO
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {-3: "n", -2: "u", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P", 6: "E"}
_SCALES = {suffix: Decimal(1024) ** i for i, suffix in enumerate(_BINARY)} | {
    suffix: Decimal(1000) ** power for power, suffix in _DECIMAL.items()
}
_PATTERN = re.compile(
    r"(?P<number>[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))"
    r"(?:(?P<suffix>[KMGTPE]i|[numkMGTPE])|[eE](?P<exponent>[+-]?[0-9]{1,3}))?"
)


class QuantityError(ValueError):
    """Text that is not a quantity."""


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """An exact amount; equal amounts in different notations are equal."""

    nano: int
    notation: Notation = "decimal"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __lt__(self, other: "Quantity") -> bool:
        return self.nano < other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(
            _cap(self.nano + other.nano), self.notation if self.nano else other.notation
        )

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(
            _cap(self.nano - other.nano), self.notation if self.nano else other.notation
        )

    def value(self) -> int:
        """Return whole units (bytes, cores, Pods), rounded up."""
        return -(-self.nano // _NANO)

    def milli(self) -> int:
        """Return thousandths, the unit of CPU, rounded up."""
        return -(-self.nano // 10**6)

    def __str__(self) -> str:
        """Return the canonical form, with the largest suffix that needs no fraction."""
        if self.notation == "binary" and abs(self.nano) >= 1024 * _NANO:
            return _format_binary(self.value())
        return _format_decimal(self.nano, exponent=self.notation == "exponent")


ZERO = Quantity(0)


def parse(text: str | int | float) -> Quantity:
    """Parse a quantity from JSON or YAML; raises QuantityError."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise QuantityError(f"{text!r} is not a quantity")
    return _parse(str(text))


@lru_cache(maxsize=4096)
def _parse(text: str) -> Quantity:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise QuantityError(
            f"{text!r} is not a quantity: want a number with one of n u m k M G T P E Ki Mi Gi Ti "
            "Pi Ei, or an exponent such as e3"
        )
    scale = Decimal(10) ** int(match["exponent"]) if match["exponent"] else None
    amount = Decimal(match["number"]) * (scale or _SCALES[match["suffix"] or ""])
    rounding = ROUND_CEILING if amount >= 0 else ROUND_FLOOR
    nano = int((amount * _NANO).to_integral_value(rounding))
    return Quantity(_cap(nano), _notation(match))


def _notation(match: re.Match[str]) -> Notation:
    if match["exponent"]:
        return "exponent"
    return "binary" if match["suffix"] in _BINARY[1:] else "decimal"


def total(amounts: Iterable[Quantity]) -> Quantity:
    """Return the sum of amounts; zero without any."""
    result = ZERO
    for amount in amounts:
        result = result + amount
    return result


def _cap(nano: int) -> int:
    return max(-_MOST, min(_MOST, nano))


def _format_binary(units: int) -> str:
    power = 0
    while units % 1024 == 0 and power < len(_BINARY) - 1:
        units //= 1024
        power += 1
    return f"{units}{_BINARY[power]}"


def _format_decimal(nano: int, *, exponent: bool) -> str:
    if nano == 0:
        return "0"
    power = -3
    while nano % 1000 == 0 and power < 6:
        nano //= 1000
        power += 1
    if exponent:
        return f"{nano}e{power * 3}" if power else str(nano)
    return f"{nano}{_DECIMAL[power]}"
