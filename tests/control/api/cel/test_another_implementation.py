"""CEL is what Google's implementation in C++ computes: cel-expr-python, on random expressions."""

import math
from collections.abc import Callable, Mapping, Sequence
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
Types = Mapping[str, Text]


def joined(*parts: Text | str) -> Text:
    """Return what strategies and words make together."""
    return st.tuples(*(st.just(it) if isinstance(it, str) else it for it in parts)).map("".join)


def operation(left: Text, operators: str, right: Text) -> Text:
    """Return two operands with one of some operators, which are separated by blanks."""
    return joined("(", left, st.sampled_from([f" {one} " for one in operators.split()]), right, ")")


def conditions(below: Types) -> Text:
    number, text, numbers = below["int"], below["string"], below["list"]
    any_type = st.one_of(*below.values())
    macro = st.sampled_from([".all", ".exists", ".exists_one"])
    method = st.sampled_from([".startsWith", ".endsWith", ".contains"])
    return st.one_of(
        operation(below["bool"], "&& ||", below["bool"]),
        joined("!(", below["bool"], ")"),
        pair(below, "== !=", [*LEAVES]),
        pair(below, "< <= > >=", ["int", "uint", "double", "string", "bool"]),
        joined("(", number, ") in ", numbers),
        joined("(", text, ") in ", below["map"]),
        joined(numbers, macro, "(x, ", PREDICATE, ")"),
        joined("(", text, ")", method, "(", text, ")"),
        joined("has(m.", st.sampled_from(["a", "b", "c"]), ")"),
        joined("dyn(", any_type, ") == dyn(", any_type, ")"),
    )


def pair(below: Types, operators: str, types: Sequence[str]) -> Text:
    """Return comparisons of two values of one type."""
    return st.sampled_from(types).flatmap(
        lambda name: operation(bracketed(below[name]), operators, bracketed(below[name]))
    )


def bracketed(inner: Text) -> Text:
    return joined("(", inner, ")")


def integers(below: Types) -> Text:
    number, text, numbers, mapping = (below[name] for name in ("int", "string", "list", "map"))
    return st.one_of(
        operation(number, "+ - * / %", number),
        joined("-(", number, ")"),
        joined("size(", st.one_of(text, numbers, mapping), ")"),
        joined("int(", st.one_of(below["double"], below["uint"], text), ")"),
        joined(numbers, "[", number, "]"),
        joined(mapping, "[", text, "]"),
    )


def unsigned(below: Types) -> Text:
    whole = below["uint"]
    return st.one_of(operation(whole, "+ - * / %", whole), joined("uint(", below["int"], ")"))


def doubles(below: Types) -> Text:
    double = below["double"]
    return st.one_of(
        operation(double, "+ - * /", double),
        joined("double(", st.one_of(below["int"], below["uint"]), ")"),
    )


def texts(below: Types) -> Text:
    text = below["string"]
    return st.one_of(
        operation(text, "+", text),
        joined("string(", st.one_of(below["int"], below["uint"], below["bool"]), ")"),
    )


def lists(below: Types) -> Text:
    number, numbers = below["int"], below["list"]
    return st.one_of(
        operation(numbers, "+", numbers),
        joined("[", number, ", ", number, "]"),
        joined(numbers, ".map(x, ", st.sampled_from(["x * 2", "x - 1", "1 / x"]), ")"),
        joined(numbers, ".filter(x, ", PREDICATE, ")"),
    )


def mappings(below: Types) -> Text:
    return joined("{", below["string"], ": ", below["int"], ", 'z': ", below["int"], "}")


GROWN: dict[str, Callable[[Types], Text]] = {
    "bool": conditions,
    "int": integers,
    "uint": unsigned,
    "double": doubles,
    "string": texts,
    "list": lists,
    "map": mappings,
}


@cache
def expressions(depth: int) -> Types:
    """Return the expressions of each type, of so many levels."""
    if depth == 0:
        return LEAVES
    below = expressions(depth - 1)
    return {
        name: st.one_of(
            grown(below),
            below[name],
            joined("(", below["bool"], " ? ", below[name], " : ", below[name], ")"),
        )
        for name, grown in GROWN.items()
    }


PREDICATE = st.sampled_from(["x > 1", "x % 2 == 0", "10 / x > 3", "x == i", "size(s) > x"])
LEAVES: Types = {
    "bool": st.sampled_from(["true", "false", "n == null", "i == 7"]),
    "int": st.sampled_from(["0", "1", "-3", "i", "9223372036854775807", "l[0]", "m.a"]),
    "uint": st.sampled_from(["0u", "2u", "18446744073709551615u"]),
    "double": st.sampled_from(["0.0", "1.5", "d", "-2.0", "1e300"]),
    "string": st.sampled_from(["''", "'a'", "s", "'12'", "'-5'", "'ä€'"]),
    "list": st.sampled_from(["[0]", "l", "[1, 2, 3]"]),
    "map": st.sampled_from(["{'a': 1}", "m", "{'': 0}"]),
}
EXPRESSIONS = st.sampled_from([*LEAVES]).flatmap(lambda name: expressions(3)[name])


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
