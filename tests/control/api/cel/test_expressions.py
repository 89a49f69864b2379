"""Expressions in CEL: what each is, or what is wrong with it. The table is ``expressions.txt``."""

import json
from pathlib import Path

import pytest

from control.api.cel.errors import (
    CompileError,
    CostExceededError,
    EvaluationError,
    ProgramError,
)
from control.api.cel.meter import Meter
from control.api.cel.program import Environment, compile_source
from control.api.cel.types import DYN
from control.api.custom.cost import TooCostlyError

OBJECT = {
    "metadata": {"labels": {"a/b": "c"}},
    "spec": {
        "replicas": 3,
        "containers": [{"name": f"c{n}", "image": f"registry.k8s.io/x:{n}"} for n in range(2)],
    },
}
ENVIRONMENT = Environment({"object": DYN})
TEXT = (Path(__file__).parent / "expressions.txt").read_text()
ROWS = [
    tuple(part.strip() for part in line.rsplit(" | ", 1))
    for line in TEXT.splitlines()
    if line and not line.startswith("#")
]


def shown(source: str) -> str:
    """Return what an expression is, as the table has it."""
    try:
        program = compile_source(source, ENVIRONMENT)
        value = program.compute({"object": OBJECT}, Meter())
    except ProgramError as err:
        return f"useless: {err}"
    except CompileError as err:
        return "wrong " + str(err).partition("\n")[0].removeprefix("ERROR: <input>:")
    except EvaluationError as err:
        return f"error: {err}"
    return json.dumps(value, ensure_ascii=False)


@pytest.mark.parametrize(("source", "wanted"), ROWS)
def test_expressions(source: str, wanted: str):
    assert shown(source) == wanted


def test_an_error_shows_its_line():
    with pytest.raises(CompileError) as err:
        compile_source("1 == 1 &&\n  missing", ENVIRONMENT)
    why = "undeclared reference to 'missing' (in container '')"
    assert str(err.value) == f"ERROR: <input>:2:3: {why}\n |   missing\n | ..^"


TEN = "[0,1,2,3,4,5,6,7,8,9]"
DEEP = f"{TEN}.all(a, {TEN}.all(b, {TEN}.all(c, {TEN}.all(d, {TEN}.all(e, {TEN}.all(f, true))))))"
HOSTILE = {
    "a deep comprehension": DEEP,
    "a long range": "lists.range(100000000).size() > 0",
    "a growing text": f"{TEN}.map(a, '{'x' * 10000}'.replace('x', '{'y' * 10000}')).size() > 0",
    "joined texts": f"{TEN}.all(a, {TEN}.all(b, {TEN}.all(c, ('{'x' * 50000}' + '').size() > 0)))",
    "a pattern": f"{TEN}.all(a, {TEN}.all(b, '{'x' * 50000}'.matches('{'(x*)*' * 20}y') == false))",
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_costs_are_bounded(source: str):
    program = compile_source(source, ENVIRONMENT)
    with pytest.raises((CostExceededError, EvaluationError)):
        program.compute({"object": OBJECT}, Meter())


def test_what_takes_long_is_computed_elsewhere():
    program = compile_source(DEEP, ENVIRONMENT)
    with pytest.raises(TooCostlyError):
        program.compute({}, Meter(patience=1000))


LETTERS = "x" * 1_000_000


@pytest.mark.parametrize("pattern", ["", "x", "[é]?"])
def test_each_match_counts(pattern: str):
    program = compile_source(f"object.findAll('{pattern}').size() > 0", ENVIRONMENT)
    with pytest.raises(CostExceededError):
        program.compute({"object": LETTERS}, Meter(limit=200_000))


def test_many_passes_through_a_text_are_made_elsewhere():
    program = compile_source("object.findAll('x(.*y)?').size() > 0", ENVIRONMENT)
    with pytest.raises(TooCostlyError):
        program.compute({"object": LETTERS}, Meter(patience=300_000))


def test_few_matches_cost_what_upstream_counts():
    program = compile_source("object.findAll('[é€y]') == ['y', '€', 'é']", ENVIRONMENT)
    meter = Meter()
    assert program.compute({"object": f"{LETTERS}y€{LETTERS[:9]}é"}, meter) is True
    pass_through, compared, the_list, the_variable = 2 * 100_002, 4 + 3, 10, 1
    assert 1_000_000 - meter.left == pass_through + compared + the_list + the_variable


@pytest.mark.parametrize(
    "source",
    ["(" * 5000, "[" * 5000 + "]" * 5000, "-" * 5000 + "x", "1+" * 5000 + "1", "a." * 5000 + "a"],
)
def test_deep_expressions_are_refused(source: str):
    with pytest.raises(CompileError, match=r"recursion limit|undeclared|mismatched|invalid"):
        compile_source(source, Environment())


def test_a_long_expression_is_refused():
    with pytest.raises(CompileError, match="expression code point size exceeds limit"):
        compile_source(f"'{'x' * 100_000}'", ENVIRONMENT)


def test_chains_of_conditions_may_be_long():
    program = compile_source(" && ".join(["true"] * 5000), Environment())
    assert program.compute({}, Meter()) is True


def test_true_is_no_number():
    program = compile_source("object == 1", ENVIRONMENT)
    assert program.compute({"object": True}, Meter()) is False
    assert program.compute({"object": 1.0}, Meter()) is True
