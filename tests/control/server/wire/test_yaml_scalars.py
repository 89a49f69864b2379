"""Plain text in YAML has the value that Go's yaml gives it.

The rows follow decode_test.go and resolve.go of go.yaml.in/yaml/v2.
"""

import math
from typing import Any

import pytest

from control.server.wire.yaml.read import load_yaml
from control.server.wire.yaml.scalars import YamlError, finite, plain, tagged

LIMIT, LEVELS = 10_000, 20


def read(text: str) -> Any:
    return load_yaml(text.encode(), LIMIT, LEVELS)[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, True) for word in ("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "TRUE")),
        *((word, False) for word in ("n", "N", "no", "No", "NO", "off", "Off", "OFF", "False")),
        *((word, word) for word in ("yEs", "nO", "oN", "tRUE", "t", "f", "nuLL", "none")),
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        ("010", 8),
        ("0o10", 8),
        ("08", 8),
        ("0_8", 8),
        ("0o8", "0o8"),
        ("0x1F", 31),
        ("-0x1f", -31),
        ("0b11", 3),
        ("-0B11", -3),
        ("0b2", "0b2"),
        ("+5", 5),
        ("1_000", 1000),
        ("685_230.15", 685230.15),
        ("1e3", 1000),
        ("6.8523015e+5", 685230.15),
        ("1.", 1),
        (".5", 0.5),
        ("._5", "._5"),
        (".", "."),
        ("+", "+"),
        ("-_", "-_"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("1.2.3", "1.2.3"),
        ("2001-01-01", "2001-01-01"),
        ("2001-12-14T21:59:43Z", "2001-12-14T21:59:43Z"),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("99999999999999999999", 1e20),
        ("1e999", "1e999"),
        ("\u0661", "\u0661"),
    ],
)
def test_plain_text_is_what_go_takes_it_for(text: str, value: Any):
    found = plain(text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'1'", "1"),
        ('"yes"', "yes"),
        ("! 1", 1),
        ("!!str 1", "1"),
        ("!!int '5'", 5),
        ("!!float 5", 5),
        ("!foo 1", "1"),
        ("!!binary aGk=", "hi"),
        ("!!timestamp 2001-01-01", "2001-01-01"),
        ("!!set {a: 1}", {"a": 1}),
        ("!foo [a]", ["a"]),
        ("{1: a, 1.0e1: b, yes: c, 0x10: d}", {"1": "a", "10": "b", "true": "c", "16": "d"}),
        ("{<<: {a: b, c: d}, c: e}", {"a": "b", "c": "e"}),
        ("{'<<': a, =: b}", {"<<": "a", "=": "b"}),
        ("|\n  1", "1"),
        ("[&a {b: c}, *a, &d 1, {*d : *d}]", [{"b": "c"}, {"b": "c"}, 1, {"1": 1}]),
        ("{<<: [{a: 1, b: 1}, {b: 2, c: 2}], c: 3}", {"a": 1, "b": 1, "c": 3}),
        ("a: 1\n---\nb: 2\n", {"a": 1}),
        ("", None),
        ("[" * 20 + "]" * 20, [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]),
    ],
)
def test_tags_and_quotation_marks_count(text: str, value: Any):
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("!!int x", "cannot decode !!str `x` as a !!int"),
        ("!!int yes", "cannot decode !!bool `yes` as a !!int"),
        ("!!bool 1", "cannot decode !!int `1` as a !!bool"),
        ("!!binary '?'", "invalid base64 data"),
        (".nan", "unsupported value: NaN"),
        ("-.inf", "unsupported value: -Inf"),
        ("1" + "0" * 5000, "a number of 5001 digits is too large"),
        ("-0x" + "f" * 500, "a number of 503 digits is too large"),
        ("{~: a}", "unsupported map key null"),
        ("[*a]", "unknown anchor 'a' referenced"),
        ("&a [*a]", "anchor 'a' value contains itself"),
        ("{<<: a}", "map merge requires map"),
        ("[" * 100_000, "nested more than 20 levels"),
        ("- " * 100_000, "nested more than 20 levels"),
        ("[" * 21 + "]" * 21, "nested more than 20 levels"),
        ("{[a]: b}", "unsupported map key of several values"),
    ],
)
def test_what_json_cannot_have_is_refused(text: str, why: str):
    with pytest.raises(YamlError, match=why.replace("`", ".")):
        read(text)


def test_only_finite_numbers_pass():
    assert finite(1.5) == 1.5
    with pytest.raises(YamlError):
        finite(math.nan)
    assert tagged("tag:yaml.org,2002:null", "~") is None
