"""Ratios of paired measurements, with the interval that they are sure of."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from random import Random
from statistics import median, quantiles

_RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Ratio:
    """A median ratio, and the interval around it that holds the true one in 95 of 100 runs."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def ratio_of(rounds: Sequence[Sequence[float]]) -> Ratio:
    """The median of all rounds' ratios. Each ratio is of two measurements made close in time.

    The interval comes from a bootstrap: it draws whole rounds, because what disturbs a machine
    lasts longer than one measurement, and the ratios of one round are not independent. The same
    rounds always give the same interval. Raises ValueError if there is no ratio.
    """
    if not any(rounds):
        raise ValueError("no ratio was measured")
    dice = Random(0)  # noqa: S311  # no secret
    drawn = [_middle(dice.choices(rounds, k=len(rounds))) for _ in range(_RESAMPLES)]
    cuts = quantiles(drawn, n=40, method="inclusive")  # at 2.5 %, 5 % … 97.5 %
    return Ratio(_middle(rounds), cuts[0], cuts[-1])


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """``ratio_of`` for one measurement of each side in each round."""
    return ratio_of([[one / other] for one, other in zip(ours, theirs, strict=True)])


def _middle(rounds: Sequence[Sequence[float]]) -> float:
    return median(chain.from_iterable(rounds))
