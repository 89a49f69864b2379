"""Bootstrap tokens: their form, their Secrets, and the signature that upstream computes too."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.jointokens import (
    NODE_GROUP,
    JoinToken,
    TokenError,
    TokenSecret,
    check_groups,
    check_usages,
    read_secret,
    token_id,
)

NOW = datetime(2026, 11, 30, tzinfo=UTC)
TOKEN = JoinToken("abcdef", "0123456789abcdef")


def test_tokens_are_random_and_readable():
    made = {JoinToken.generate() for _ in range(50)}
    assert len(made) == 50
    assert all(JoinToken.parse(str(each)) == each for each in made)


@pytest.mark.parametrize(
    "text",
    ["", "abcdef", "abcdef.0123456789abcde", "abcdef.secret-of-mine", "abcdef.0123456789abcdef\n"],
)
def test_other_text_is_no_token_and_is_not_repeated(text: str):
    with pytest.raises(TokenError) as caught:
        JoinToken.parse(text)
    assert "secret" not in str(caught.value)


def test_the_signature_is_go_joses():
    """As ComputeDetachedSignature of k8s.io/cluster-bootstrap/token/jws (its test's values)."""
    token = JoinToken("joshua", "my voice is my passcode")
    assert token.sign("Hello from the other side. I must have called a thousand times.") == (
        "eyJhbGciOiJIUzI1NiIsImtpZCI6Impvc2h1YSJ9..VShe2taLd-YTrmWuRkcL_8QTNDHYxQIEBsAYYiIj1_8"
    )


@given(st.text(), st.text())
def test_only_the_same_text_verifies(one: str, other: str):
    signature = TOKEN.sign(one)
    assert TOKEN.verifies(signature, one)
    assert TOKEN.verifies(signature, other) == (one.encode() == other.encode())
    assert not JoinToken("abcdef", "0123456789abcdeg").verifies(signature, one)


def test_a_secret_is_read_as_it_was_written():
    held = TokenSecret(
        TOKEN, frozenset({"signing"}), (NODE_GROUP,), NOW + timedelta(hours=1), "for a rack"
    )
    wire = held.wire()
    assert read_secret(wire["metadata"]["name"], wire["type"], wire["data"]) == held
    assert (held.has_ended(NOW), held.has_ended(NOW + timedelta(hours=1))) == (False, True)
    assert read_secret("bootstrap-token-fedcba", wire["type"], wire["data"]) is None
    assert read_secret(wire["metadata"]["name"], "Opaque", wire["data"]) is None


@pytest.mark.parametrize(("ends", "over"), [("", False), ("eA==", True), ("MjAyNg==", True)])
def test_an_end_that_cannot_be_read_is_over(ends: str, over: bool):
    wire = TokenSecret(TOKEN, frozenset()).wire()
    data = wire["data"] | ({"expiration": ends} if ends else {})
    held = read_secret(wire["metadata"]["name"], wire["type"], data)
    assert held is not None and held.has_ended(NOW) == over


def test_groups_and_usages_are_checked():
    assert check_groups([NODE_GROUP]) == (NODE_GROUP,)
    for group in ("system:masters", "system:bootstrappers:", "system:bootstrappers:A"):
        with pytest.raises(TokenError):
            check_groups([group])
    with pytest.raises(TokenError):
        check_usages(["signing", "cooking"])
    assert (token_id("abcdef"), token_id(str(TOKEN))) == ("abcdef", "abcdef")
