"""Kubernetes' quantities and semantic versions.

Source: pkg/cel/library/{quantity,semverlib}.go of k8s.io/apiserver.
"""

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, ClassVar

from control.api.cel.errors import EvaluationError
from control.api.cel.functions.table import Overload, either, reads
from control.api.cel.meter import traversal
from control.api.cel.values import fits_int
from control.api.quantity import Quantity, QuantityError, parse

_NANO = 10**9
_MANY = 200  # characters
_MOST_PART = 2**64  # of a version


@total_ordering
@dataclass(frozen=True, slots=True)
class Amount:
    """A quantity as a value."""

    CEL: ClassVar[str] = "kubernetes.Quantity"
    quantity: Quantity

    def __lt__(self, other: "Amount") -> bool:
        return self.quantity < other.quantity


def read_amount(text: str) -> Amount:
    """Read a quantity; raises EvaluationError."""
    try:
        if len(text) > _MANY:
            raise QuantityError
        return Amount(parse(text))
    except QuantityError as err:
        why = "quantities must match the regular expression"
        why = f"{why} '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        raise EvaluationError(why) from err


def _whole(amount: Amount) -> bool:
    return amount.quantity.nano % _NANO == 0 and fits_int(amount.quantity.nano // _NANO)


def _as_integer(amount: Amount) -> int:
    if not _whole(amount):
        raise EvaluationError("cannot convert value to integer")
    return amount.quantity.nano // _NANO


def _sign(amount: Amount) -> int:
    return (amount.quantity.nano > 0) - (amount.quantity.nano < 0)


def _compare(one: Any, other: Any) -> int:
    return int(one > other) - int(one < other)


def _of(other: Any) -> int:
    return other.quantity.nano if isinstance(other, Amount) else int(other) * _NANO


def _added(amount: Amount, nano: int) -> Amount:
    """Return a sum, which may be beyond what 64 bits hold."""
    return Amount(Quantity(amount.quantity.nano + nano))


_Q = "kubernetes.Quantity"
AMOUNTS = (
    Overload("quantity", f"(string) {_Q}", read_amount, traversal),
    Overload("isQuantity", "(string) bool", reads(read_amount), traversal),
    Overload("sign", f"({_Q}) int", _sign),
    Overload("isInteger", f"{_Q}.() bool", _whole),
    Overload("asInteger", f"{_Q}.() int", _as_integer),
    Overload("asApproximateFloat", f"{_Q}.() double", lambda a: a.quantity.nano / _NANO),
    Overload("isGreaterThan", f"{_Q}.({_Q}) bool", lambda a, b: a > b),
    Overload("isLessThan", f"{_Q}.({_Q}) bool", lambda a, b: a < b),
    Overload("compareTo", f"{_Q}.({_Q}) int", _compare),
    Overload("add", f"{_Q}.({_Q}) {_Q}", lambda a, b: _added(a, _of(b))),
    Overload("add", f"{_Q}.(int) {_Q}", lambda a, b: _added(a, _of(b))),
    Overload("sub", f"{_Q}.({_Q}) {_Q}", lambda a, b: _added(a, -_of(b))),
    Overload("sub", f"{_Q}.(int) {_Q}", lambda a, b: _added(a, -_of(b))),
)

_NUMBER = r"(?:0|[1-9][0-9]*)"
_NAME = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
_SEMVER = re.compile(
    rf"({_NUMBER})\.({_NUMBER})\.({_NUMBER})"
    rf"(?:-({_NAME}(?:\.{_NAME})*))?(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?"
)
_LOOSE = re.compile(r"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?((?:[-+].*)?)")


@total_ordering
@dataclass(frozen=True, slots=True)
class Semver:
    """A semantic version; what was built counts for nothing in comparisons."""

    CEL: ClassVar[str] = "kubernetes.Semver"
    numbers: tuple[int, int, int]
    before: tuple[str, ...] = ()

    def __lt__(self, other: "Semver") -> bool:
        return self._key < other._key

    @property
    def _key(self) -> tuple[Any, ...]:
        parts = tuple((0, int(it), "") if it.isdigit() else (1, 0, it) for it in self.before)
        return self.numbers, not self.before, parts


def read_semver(text: str, normalize: bool = False) -> Semver:
    """Read a version; raises EvaluationError."""
    if normalize and len(text) < _MANY and (loose := _LOOSE.fullmatch(text)):
        numbers = ".".join(str(int(each or 0)) for each in loose.groups()[:3])
        text = numbers + loose[4]
    match = _SEMVER.fullmatch(text) if len(text) < _MANY else None
    if match is None:
        raise EvaluationError(f'"{text[:_MANY]}" is no semantic version')
    if any(int(match[part]) >= _MOST_PART for part in (1, 2, 3)):
        raise EvaluationError(f'"{text[:_MANY]}" has a number beyond 64 bits')
    before = tuple(match[4].split(".")) if match[4] else ()
    return Semver((int(match[1]), int(match[2]), int(match[3])), before)


_V = "kubernetes.Semver"
VERSIONS = (
    *either("semver", f"(string[, bool]) {_V}", read_semver, traversal),
    *either("isSemver", "(string[, bool]) bool", reads(read_semver), traversal),
    Overload("major", f"{_V}.() int", lambda a: a.numbers[0]),
    Overload("minor", f"{_V}.() int", lambda a: a.numbers[1]),
    Overload("patch", f"{_V}.() int", lambda a: a.numbers[2]),
    Overload("isGreaterThan", f"{_V}.({_V}) bool", lambda a, b: a > b),
    Overload("isLessThan", f"{_V}.({_V}) bool", lambda a, b: a < b),
    Overload("compareTo", f"{_V}.({_V}) int", _compare),
)
