"""Go's words for texts that are no JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.server.wire.body import decode_body
from control.server.wire.errors import StatusError
from control.server.wire.malformed import complaint

_PIECES = [*'{}[],:-.e0\\" \n', '"a"', "1", "true", "nul", "\\u00", "x"]


@given(
    st.binary(max_size=12) | st.lists(st.sampled_from(_PIECES)).map(lambda it: "".join(it).encode())
)
def test_all_that_is_no_json_has_a_complaint(text: bytes):
    try:
        json.loads(text.decode("latin-1"), parse_constant=int)
    except ValueError:
        assert complaint(text) is not None
    else:
        assert complaint(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"a":"\x07"}', "invalid character '\\a' in string literal"),
        (b'{"a":"\\', "unexpected end of JSON input"),
        (b"'", "invalid character '\\'' looking for beginning of value"),
        (b"\xff", "invalid character 'ÿ' looking for beginning of value"),
        (b"\x80", "invalid character '\\u0080' looking for beginning of value"),
        (b"\x7f", "invalid character '\\x7f' looking for beginning of value"),
        (b"[" * 10_001, "exceeded max depth"),
        (b"[" * 10_000, "unexpected end of JSON input"),
    ],
)
def test_the_words_are_those_of_go(text: bytes, words: str):
    assert complaint(text) == words


@pytest.mark.parametrize("text", [b"[" + b"1," * 10_000, b'{"' + b"f:" * 10_000])
def test_a_long_text_is_refused_without_a_search_for_what_is_wrong(text: bytes):
    assert complaint(text) is None
    with pytest.raises(StatusError, match=r"json parse error: invalid JSON: .* line 1 ") as caught:
        decode_body(text, "application/json", "ConfigMap")
    assert caught.value.code == 400
