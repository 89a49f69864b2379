"""What the answers of webhooks have in common: a review of some kind, in JSON. Pure."""

from collections.abc import Iterable
from typing import Any

import orjson

_KNOWN = ("v1", "v1beta1")


class AnswerError(ValueError):
    """An answer that breaks the protocol, or says that it failed."""


def known_version(versions: Iterable[str], why: str) -> str:
    """Return the first version of a review that both sides know; raises AnswerError (``why``)."""
    for version in versions:
        if version in _KNOWN:
            return version
    raise AnswerError(why)


def read_review(body: bytes) -> dict[str, Any]:
    """Read an answer; raises AnswerError if it is no object."""
    try:
        review = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise AnswerError(f"couldn't decode the answer: {err}") from err
    if not isinstance(review, dict):
        raise AnswerError("couldn't decode the answer: it is no object")
    return review
