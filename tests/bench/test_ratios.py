"""Ratios of measurements, and whether two checkouts keep their limit."""

import random
from statistics import median

import pytest

from bench.ratios import Ratio, paired, ratio_of
from bench.versus import Comparison, in_turn, judge


def noisy_rounds(true_ratio: float, seed: int) -> list[list[float]]:
    """15 rounds of 10 ratios. What disturbs a round disturbs all of it."""
    dice = random.Random(seed)
    moods = [dice.gauss(0, 0.05) for _ in range(15)]
    return [[true_ratio + mood + dice.gauss(0, 0.02) for _ in range(10)] for mood in moods]


def test_ratio_is_the_median_of_pairs_not_the_ratio_of_medians():
    slow_machine_in_the_second_round = [1.0, 10.0, 1.0], [2.0, 5.0, 2.0]
    ours, theirs = slow_machine_in_the_second_round
    assert paired(ours, theirs).value == 0.5


def test_interval_holds_the_true_ratio_nearly_always():
    ratios = [ratio_of(noisy_rounds(1.2, seed)) for seed in range(60)]
    holding = sum(one.low <= 1.2 <= one.high for one in ratios)
    assert 52 <= holding <= 60
    assert median(one.high - one.low for one in ratios) < 0.12


def test_interval_is_the_same_for_the_same_rounds():
    assert ratio_of(noisy_rounds(1.0, 3)) == ratio_of(noisy_rounds(1.0, 3))


def test_one_round_has_no_width():
    assert ratio_of([[1.5]]) == Ratio(1.5, 1.5, 1.5)


def test_nothing_measured_is_an_error():
    with pytest.raises(ValueError, match="no ratio"):
        ratio_of([[], []])


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (Ratio(0.98, 0.9, 1.2), "kept"),
        (Ratio(1.03, 1.01, 1.05), "kept"),
        (Ratio(1.05, 1.02, 1.07), "unsure"),
        (Ratio(1.10, 1.04, 1.2), "BROKEN"),
    ],
)
def test_limit_is_broken_only_beyond_the_noise(ratio, verdict, capsys):
    comparison = Comparison("a first load", ratio)
    assert comparison.verdict == verdict
    assert judge([comparison]) == (verdict == "BROKEN")
    assert f"{verdict} " in capsys.readouterr().out


def test_each_second_round_begins_with_the_last():
    orders = [list(in_turn("ab", number)) for number in range(3)]
    assert orders == [["a", "b"], ["b", "a"], ["a", "b"]]
