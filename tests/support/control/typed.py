"""Hypothesis strategies of API messages: of the right types for the most part, with odd values."""

from functools import cache
from typing import Any

from hypothesis import strategies as st

from control.api.types.table import Field, fields_of, messages

WORDS = st.sampled_from(
    ["", "a", "default", "v1", "apps/v1", "Pod", "Node", "Apply", "Update", "FieldsV1", "*", "-1"]
) | st.sampled_from(
    ["a/b", "a=b", "..", "x" * 300, "\0", "\n", "\u00e4", "2026-01-01T00:00:00Z", "10.0.0.1"]
)
_NUMBERS = st.sampled_from(
    [0, 1, -1, 600, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, 2**63, 1.5, 1e300]
)
_FIELDS = st.recursive(
    st.just({}),
    lambda inner: st.dictionaries(
        st.sampled_from(["f:data", "f:metadata", "f:a", ".", 'k:{"name":"a"}', "v:1", "i:0", "x"])
        | st.sampled_from(["k:", "k:[]", "k:{", "v:{", "i:-1", "f:"]),
        inner,
        max_size=3,
    ),
    max_leaves=6,
)
ANY = st.recursive(
    st.none() | st.booleans() | _NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "s": WORDS | st.text(max_size=5),
    "i": _NUMBERS,
    "l": _NUMBERS,
    "d": _NUMBERS,
    "b": st.booleans(),
    "x": st.binary(max_size=9).map(lambda raw: raw.decode("latin1")) | st.just("YQ=="),
    "T": st.sampled_from(
        ["2026-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "", "0001-01-01T00:00:00Z"]
    ),
    "U": st.sampled_from(["2026-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999+23:59", ""]),
    "Q": st.sampled_from(["1", "1Gi", "-1", "1e999", "1e-999", "0.5m", ""]) | _NUMBERS,
    "I": _NUMBERS | WORDS | st.sampled_from(["50%", "-5%", "%"]),
    "R": _FIELDS | ANY,
}


@cache
def message(name: str, levels: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects of a message such as ``policy.Eviction``."""
    if not levels:
        return st.just({})
    optional = {found.name: _field(found, levels - 1) for found in fields_of(name).values()}
    return st.fixed_dictionaries({}, optional=optional)


def _field(found: Field, levels: int) -> st.SearchStrategy[Any]:
    one: st.SearchStrategy[Any]
    if found.type in messages():
        one = st.deferred(lambda: message(found.type, levels))
    else:
        one = _SCALARS[found.type]
    if found.many == "[":
        one = st.lists(one, max_size=2)
    elif found.many == "{":
        one = st.dictionaries(WORDS, one, max_size=2)
    # One value in ten is of another type.
    return st.integers(0, 9).flatmap(lambda at: ANY if at == 9 else one)
