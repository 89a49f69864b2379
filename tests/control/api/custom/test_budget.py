"""What rules cost is counted in upstream's units, and what time they take in steps."""

from control.api.cel.meter import PER_OBJECT
from control.api.custom.cost import LIMIT, Spending
from control.api.custom.validations.run import Budget


def test_steps_are_what_a_hurry_counts():
    token = LIMIT.set(2000)
    try:
        cost = Spending()
        budget = Budget(cost)
        for _ in range(2):
            meter = budget.meter()
            meter.spend(7, steps=20 * 100)
            budget.spent(meter)
    finally:
        LIMIT.reset(token)
    assert (cost.left, budget.left) == (1800, PER_OBJECT - 14)
