"""What the rules of a definition can cost at most, and what is too much.

Source: cel_validation.go of k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from control.api import field as errors
from control.api.custom.place import Place
from control.api.field import FieldError

_RULE, _ALL = 10_000_000, 100_000_000  # units
_SHOWN = 4  # of the most expensive rules
_HINT = (
    "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays,"
    " maps, and strings are declared)"
)


@dataclass(slots=True)
class Total:
    """What all rules of a schema can cost, and the most expensive ones."""

    units: int = 0
    known: list[tuple[int, str]] = field(default_factory=list)

    def add(self, units: int, path: str, what: str) -> Iterator[FieldError]:
        """Count an expression; yield an error if it alone can cost too much."""
        self.units += units
        if units >= _ALL // 100:
            self.known.append((units, path))
        if units > _RULE:
            yield errors.forbidden(path, _said(f"estimated {what}", units, _RULE))

    def errors(self, path: Place) -> Iterator[FieldError]:
        """Yield errors if all rules together can cost too much."""
        if self.units <= _ALL:
            return
        why = "contributed to estimated rule cost total exceeding cost limit for entire"
        for _, where in sorted(self.known, reverse=True)[:_SHOWN]:
            yield errors.forbidden(where, f"{why} OpenAPIv3 schema")
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        yield errors.forbidden(str(path), _said(what, self.units, _ALL))


def _said(what: str, units: int, limit: int) -> str:
    times = units / limit
    shown = f"{times:.6f}x" if times < 1.5 else f"{times:.1f}x"
    factor = "more than 100x" if times > 100 else shown
    return f"{what} exceeds budget by factor of {factor} {_HINT}"
