"""Ways of one choice: the likeliest are followed, and how many are left is said."""

from fractions import Fraction
from functools import partial
from types import SimpleNamespace

from debug.explain.here import Here
from debug.explain.result import DELIVERED, UNKNOWN, Branch
from debug.explain.steps import Steps
from debug.ruleset.packet import State, make

HERE = Here(SimpleNamespace(name="Node n1"), State(make("10.0.0.1", "10.0.0.2", 6, 4000, 80)))


def parted(*parts: Fraction, most: int) -> Branch:
    def nowhere(*_: object) -> Branch:
        raise AssertionError

    def end(here: Here, end: str, why: str) -> Branch:
        return Branch(float(here.weight), end=end, why=why)

    steps = Steps(nowhere, nowhere, nowhere, nowhere, nowhere, nowhere, end, most)
    ways = [(part, partial(Branch, float(part), end=DELIVERED)) for part in parts]
    return steps.parted(HERE, ways, "endpoints")


def test_one_way_is_no_choice() -> None:
    assert parted(Fraction(1), most=1) == Branch(1.0, end=DELIVERED)


def test_what_is_not_followed_is_one_branch_that_is_unknown() -> None:
    half, quarter = Fraction(1, 2), Fraction(1, 4)
    found = parted(half, quarter, quarter, most=1)
    why = "2 more endpoints, which were not followed: --most"
    assert found.probability == 1.0
    assert found.branches == (
        Branch(0.5, end=DELIVERED),
        Branch(0.5, end=UNKNOWN, why=why),
    )
