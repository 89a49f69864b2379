"""CEL is what Google's implementation in C++ computes: cel-expr-python, on random expressions."""

import math
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.api.cel.errors import EvaluationError
from control.api.cel.meter import Meter
from control.api.cel.program import Environment, compile_source
from control.api.cel.types import DYN

cel = pytest.importorskip("cel_expr_python.cel")

DATA = {"i": 7, "d": 2.5, "s": "abcä", "l": [3, 1, 2], "m": {"a": 1, "b": None}, "n": None}
THEIRS = cel.NewEnv(variables={name: cel.Type.DYN for name in DATA})
OURS = Environment(dict.fromkeys(DATA, DYN))
ERROR = "error"

Text = st.SearchStrategy[str]


def joined(*parts: Text | str) -> Text:
    """Return what strategies and words make together."""
    return st.tuples(*(st.just(it) if isinstance(it, str) else it for it in parts)).map("".join)


@cache
def expressions(depth: int) -> dict[str, Text]:
    """Return the expressions of each type, of so many levels."""
    if depth == 0:
        return LEAVES
    below = expressions(depth - 1)
    condition, number, whole = below["bool"], below["int"], below["uint"]
    double, text, numbers, mapping = below["double"], below["string"], below["list"], below["map"]
    any_type = st.sampled_from([*below.values()]).flatmap(lambda it: it)
    order, equal = st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from(["==", "!="])
    same = st.sampled_from(["bool", "int", "uint", "double", "string", "list", "map"]).flatmap(
        lambda name: joined("(", below[name], ") ", equal, " (", below[name], ")")
    )
    comparison = st.sampled_from(["int", "uint", "double", "string", "bool"]).flatmap(
        lambda name: joined("(", below[name], ") ", order, " (", below[name], ")")
    )
    grown = {
        "bool": st.one_of(
            joined("(", condition, st.sampled_from([" && ", " || "]), condition, ")"),
            joined("!(", condition, ")"),
            same,
            comparison,
            joined("(", number, ") in ", numbers),
            joined("(", text, ") in ", mapping),
            joined(
                numbers, st.sampled_from([".all", ".exists", ".exists_one"]), "(x, ", PREDICATE, ")"
            ),
            joined(
                "(",
                text,
                ")",
                st.sampled_from([".startsWith", ".endsWith", ".contains"]),
                "(",
                text,
                ")",
            ),
            joined("has(m.", st.sampled_from(["a", "b", "c"]), ")"),
            joined("dyn(", any_type, ") == dyn(", any_type, ")"),
        ),
        "int": st.one_of(
            joined("(", number, st.sampled_from([" + ", " - ", " * ", " / ", " % "]), number, ")"),
            joined("-(", number, ")"),
            joined("size(", st.one_of(text, numbers, mapping), ")"),
            joined("int(", st.one_of(double, whole, text), ")"),
            joined(numbers, "[", number, "]"),
            joined(mapping, "[", text, "]"),
        ),
        "uint": st.one_of(
            joined("(", whole, st.sampled_from([" + ", " - ", " * ", " / ", " % "]), whole, ")"),
            joined("uint(", number, ")"),
        ),
        "double": st.one_of(
            joined("(", double, st.sampled_from([" + ", " - ", " * ", " / "]), double, ")"),
            joined("double(", st.one_of(number, whole), ")"),
        ),
        "string": st.one_of(
            joined("(", text, " + ", text, ")"),
            joined("string(", st.one_of(number, whole, condition), ")"),
        ),
        "list": st.one_of(
            joined("(", numbers, " + ", numbers, ")"),
            joined("[", number, ", ", number, "]"),
            joined(numbers, ".map(x, ", st.sampled_from(["x * 2", "x - 1", "1 / x"]), ")"),
            joined(numbers, ".filter(x, ", PREDICATE, ")"),
        ),
        "map": joined("{", text, ": ", number, ", 'z': ", number, "}"),
    }
    return {
        name: st.one_of(
            grown[name],
            below[name],
            joined("(", condition, " ? ", below[name], " : ", below[name], ")"),
        )
        for name in grown
    }


PREDICATE = st.sampled_from(["x > 1", "x % 2 == 0", "10 / x > 3", "x == i", "size(s) > x"])
LEAVES = {
    "bool": st.sampled_from(["true", "false", "n == null", "i == 7"]),
    "int": st.sampled_from(["0", "1", "-3", "i", "9223372036854775807", "l[0]", "m.a"]),
    "uint": st.sampled_from(["0u", "2u", "18446744073709551615u"]),
    "double": st.sampled_from(["0.0", "1.5", "d", "-2.0", "1e300"]),
    "string": st.sampled_from(["''", "'a'", "s", "'12'", "'-5'", "'ä€'"]),
    "list": st.sampled_from(["[0]", "l", "[1, 2, 3]"]),
    "map": st.sampled_from(["{'a': 1}", "m", "{'': 0}"]),
}
EXPRESSIONS = st.sampled_from(["bool", "int", "uint", "double", "string", "list", "map"]).flatmap(
    lambda name: expressions(3)[name]
)


def ours(source: str) -> Any:
    program = compile_source(source, OURS)
    try:
        return plain(program.compute(dict(DATA), Meter()))
    except EvaluationError:
        return ERROR


def theirs(source: str) -> Any:
    value = THEIRS.compile(source).eval(data=DATA)
    return ERROR if value.type() == cel.Type.ERROR else plain(value.plain_value())


def plain(value: Any) -> Any:
    """Return a value that equals itself, of which 1, 1.0 and true are three."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else ("double", value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return ("bool", value) if isinstance(value, bool) else value


@settings(max_examples=300, deadline=None)
@given(EXPRESSIONS)
def test_both_compute_the_same(source: str) -> None:
    assert ours(source) == theirs(source)
