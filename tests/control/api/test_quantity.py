"""Quantities: upstream's documented values, and properties of all quantities."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.quantity import Quantity, QuantityError, parse, total

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
numbers = st.integers(-(10**6), 10**6)
quantities = st.builds(lambda n, s: parse(f"{n}{s}"), numbers, st.sampled_from(SUFFIXES))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("1.5", "1500m"),
        ("1.5Gi", "1536Mi"),
        ("1000m", "1"),
        ("0.5Gi", "512Mi"),
        ("1024Ki", "1Mi"),
        ("1023", "1023"),
        ("1.2Ki", "1229"),  # fractions of a byte are rounded up
        ("512Ki", "512Ki"),
        ("0.5Ki", "512"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("1500e3", "1500e3"),
        ("5E", "5E"),
        ("0", "0"),
        ("0Mi", "0"),
        ("-1.5", "-1500m"),
        (".5", "500m"),
        ("5.", "5"),
        ("+3k", "3k"),
        ("0.0000000001", "1n"),
        ("1000000000000000000000", "9223372036854775807"),
    ],
)
def test_canonical_form(text, canonical):
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    "text", ["", "1.2.3", "1 Gi", "Gi", "1KI", "1g", "--1", "0x10", "1e", True]
)
def test_malformed_quantities_are_refused(text):
    with pytest.raises(QuantityError):
        parse(text)


def test_numbers_are_quantities():
    assert parse(2) == parse("2") and parse(0.5) == parse("500m")


def test_rounding_never_loses():
    assert parse("1n").milli() == 1 and parse("1m").value() == 1 and parse("1500m").value() == 2


@given(quantities)
def test_formatting_loses_no_more_than_a_byte(quantity):
    again = parse(str(quantity))
    assert again == quantity or 0 < again.nano - quantity.nano < 10**9


@given(quantities)
def test_canonical_form_is_a_fixed_point(quantity):
    once = str(quantity)
    assert str(parse(once)) == once


@given(quantities, quantities)
def test_order_and_sum_are_those_of_the_amounts(a, b):
    assert (a < b) == (a.nano < b.nano)
    assert total([a, b]) == total([b, a])
    assert total([a, b]) - b == a or abs((a + b).nano) == (2**63 - 1) * 10**9


@given(st.text(max_size=12))
def test_any_text_is_parsed_or_refused(text):
    try:
        assert isinstance(parse(text), Quantity)
    except QuantityError as err:
        assert repr(text) in str(err)
