"""What rules can cost at most, beside upstream's estimates, and which are refused for it.

The numbers are upstream's (TestCostEstimation of k8s.io/apiextensions-apiserver): without a limit
of items or characters, and with one.
"""

from contextvars import Context
from typing import Any

import pytest

from control.api.cel.program import Environment, compile_source
from control.api.custom.cost import Spending
from control.api.custom.validations.compiled import rule_errors
from control.api.custom.validations.declared import type_of
from control.api.custom.validations.run import rules_of

Wire = dict[str, Any]
_FORMATS = ("duration", "date", "date-time", "byte")


def plain(kind: str) -> Wire:
    if kind == "int-or-string":
        return {"x-kubernetes-int-or-string": True}
    if kind in _FORMATS:
        return {"type": "string", "format": kind}
    return {"type": kind}


def array(items: Wire | str) -> Wire:
    return {"type": "array", "items": plain(items) if isinstance(items, str) else items}


def mapping(values: Wire | str) -> Wire:
    inner = plain(values) if isinstance(values, str) else values
    return {"type": "object", "additionalProperties": inner}


OBJECTS = {
    "type": "object",
    "properties": {"required": {"type": "string"}, "optional": {"type": "string"}},
    "required": ["required"],
}
TEXT = {"type": "string"}
LETTERS = TEXT | {"enum": ["A", "B", "C", "LongValue"]}
AMOUNT = {"x-kubernetes-int-or-string": True}
EVERY = "self.all(x, true)"
# The schema, a rule, its cost; a limit, and the cost with it.
COSTS: list[tuple[Wire, str, int, int, int]] = [
    (array("number"), EVERY, 4718591, 10, 32),
    (array("string"), EVERY, 3145727, 20, 62),
    (array("boolean"), EVERY, 1887437, 5, 17),
    (array(array("number")), EVERY, 3145727, 100, 302),
    (array(OBJECTS), EVERY, 555128, 50, 152),
    (mapping("number"), EVERY, 1348169, 10, 32),
    (mapping("number"), "has(self.x)", 0, 100, 0),
    (mapping("string"), EVERY, 1179647, 3, 11),
    (mapping("boolean"), EVERY, 943718, 100, 302),
    (TEXT, "self.contains('test')", 314574, 10, 5),
    (TEXT, "self.startsWith('test')", 2, 15, 2),
    (TEXT, "self.endsWith('test')", 2, 30, 2),
    (TEXT, 'size(self + "hello") > size("hello")', 314578, 4, 7),
    (array("number"), "self[1] == 0.0", 2, 5000, 2),
    (array("string"), "self[1] == self[1]", 314577, 8, 314577),
    (TEXT, 'self.matches("x")', 314574, 50, 22),
    (TEXT, '"".matches("(((((((((())))))))))[0-9]")', 7, 10, 7),
    (TEXT, 'self.matches("")', 1, 100, 1),
    (mapping("string"), "self.all(x, x.contains(self[x]))", 2752507, 10, 72),
    (mapping("number"), 'self["x"] == 0.0', 2, 0, 2),
    (TEXT, 'self == "x"', 2, 0, 1),
    (plain("byte"), 'self == b"x"', 2, 0, 1),
    (array("number"), "self.all(x, x == 0.0)", 6291454, 3 * 1024 * 2048, 25165826),
    (array("int-or-string"), EVERY, 4718591, 10, 32),
    (array("int-or-string"), "self[0] == 5", 3, 10, 3),
    (array("boolean"), "self[0] == false", 2, 25, 2),
    (array(OBJECTS), "self[0] == null", 2, 422, 2),
    (array(array("number")), "self[0][0] == -1.0", 3, 51, 3),
    (array(mapping("number")), "self.all(x, x.y == 25.2)", 6291452, 12, 74),
    (array(mapping("number")), "self[0].x > 2.0", 4, 3000, 4),
    (array("duration"), EVERY, 2359295, 5, 17),
    (array("duration"), "self[0].getHours() == 2", 4, 525, 4),
    (array("date"), EVERY, 725936, 15, 47),
    (array("date"), "self[2].getDayOfMonth() == 13", 4, 42, 4),
    (array("date-time"), EVERY, 428963, 25, 77),
    (array("date-time"), "self[2].getMinutes() == 45", 4, 99, 4),
    (mapping("int-or-string"), EVERY, 1348169, 15, 47),
    (TEXT, "self.find('[0-9]+') == ''", 629147, 10, 11),
    (TEXT, "self.lowerAscii() == 'lower!'", 314575, 10, 6),
    (mapping("integer"), "oldSelf.size() == self.size()", 5, 10, 5),
    (mapping("date-time"), 'self["a"] == self["b"]', 8, 7, 8),
    (mapping("duration"), 'self["c"] == self["d"]', 8, 42, 8),
    (LETTERS, "self.contains('A')", 2, 1000, 401),
    (AMOUNT, "isQuantity(self)", 314574, 20, 9),
]
LIMITS = {"array": "maxItems", "object": "maxProperties"}


def estimate(schema: Wire, rule: str) -> int:
    of = type_of(schema)
    assert of is not None
    known = Environment({"self": of, "oldSelf": of})
    return compile_source(rule, known, estimates=True).most


@pytest.mark.parametrize(("schema", "rule", "cost", "limit", "limited"), COSTS)
def test_estimates_are_upstreams(schema: Wire, rule: str, cost: int, limit: int, limited: int):
    assert estimate(schema, rule) == cost
    name = LIMITS.get(schema.get("type", ""), "maxLength")
    assert estimate(schema | {name: limit}, rule) == limited


@pytest.mark.parametrize("depth", [2, 3])
def test_nested_loops_cost_too_much(depth: int):
    rule = "true"
    for name in "xyz"[:depth]:
        rule = f"self.all({name}, {rule})"
    assert estimate(array("number"), rule) > 10_000_000
    assert estimate(array("number") | {"maxItems": 10}, rule) == {2: 352, 3: 3552}[depth]


def _rules(*rules: str) -> Wire:
    return {"x-kubernetes-validations": [{"rule": each} for each in rules]}


def errors(schema: Wire) -> list[str]:
    whole = {"type": "object", "properties": {"a": schema}}
    return [str(each) for each in rule_errors(whole, "s")]


HINT = (
    " (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays,"
    " maps, and strings are declared)"
)


def test_a_rule_that_can_cost_too_much_is_refused():
    nested = array("number") | _rules("self.all(x, self.all(y, true))")
    at = "s.properties[a].x-kubernetes-validations[0].rule"
    many = f"exceeds budget by factor of more than 100x{HINT}"
    whole = "for entire OpenAPIv3 schema"
    assert errors(nested) == [
        f"{at}: Forbidden: estimated rule cost {many}",
        f"{at}: Forbidden: contributed to estimated rule cost total exceeding cost limit {whole}",
        f"s: Forbidden: x-kubernetes-validations estimated rule cost total {whole} {many}",
    ]
    assert errors(nested | {"maxItems": 100}) == []


def test_a_rule_counts_for_each_of_its_values():
    inner = TEXT | {"maxLength": 1000} | _rules("self.contains('a')")
    assert errors(array(inner) | {"maxItems": 100}) == []
    assert "estimated rule cost exceeds budget by factor of" in errors(array(inner))[0]


def test_all_rules_together_may_cost_so_much():
    found = errors(array("number") | _rules(*[EVERY] * 22))
    assert len(found) == 5 and "exceeds budget by factor of 1.038090x" in found[-1]


def test_items_of_a_computed_list_are_no_larger_than_what_has_the_rule():
    """So is a definition of the Operator Lifecycle Manager, which upstream accepts."""
    rule = _rules("!self.split('.').exists(x, x.matches('^0[0-9]+$'))")
    assert list(rule_errors(TEXT | {"maxLength": 20} | rule, "schema")) == []
    within = {"type": "object", "properties": {"it": TEXT | {"maxLength": 20} | rule}}
    assert list(rule_errors(within, "schema")) == []


def test_a_rule_is_cut_off_where_it_costs_more_than_was_thought():
    """A definition of an older server may have such a rule: nobody has estimated it."""
    schema = array("string") | _rules("self.all(a, self.all(b, self.all(c, a + b + c != 'x')))")
    rules = rules_of(schema)
    assert rules is not None
    value = [str(number) for number in range(200)]
    (error,) = Context().run(lambda: rules.errors(value, None, Spending()))
    why = "'operation cancelled: actual cost limit exceeded': no further validation rules will be"
    assert error.detail.startswith(f"{why} run due to call cost exceeds limit for rule: self.all(")
