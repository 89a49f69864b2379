"""The question to a conversion webhook, a ConversionReview, and its answer. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from control.server.remote.reviews import AnswerError, known_version, read_review

Wire = dict[str, Any]
_GROUP = "apiextensions.k8s.io"
_FREE = ("labels", "annotations")
_SAME = {"name": "name", "namespace": "namespace", "uid": "UID"}


def version_of(known: Sequence[str]) -> str:
    """Return the first version of ConversionReview that both sides know; raises AnswerError."""
    return known_version(known, "no supported conversion review versions")


def question(uid: str, version: str, wanted: str, objects: Sequence[Wire]) -> bytes:
    """Return a ConversionReview of objects that should get an apiVersion."""
    request = {"uid": uid, "desiredAPIVersion": wanted, "objects": list(objects)}
    head = {"kind": "ConversionReview", "apiVersion": f"{_GROUP}/{version}"}
    return orjson.dumps(head | {"request": request})


def read_answer(body: bytes, uid: str, version: str) -> list[Any]:
    """Return the converted objects of an answer; raises AnswerError."""
    review = read_review(body)
    response = review.get("response")
    named = review.get("apiVersion") or "", review.get("kind") or ""
    if version == "v1" and named != (f"{_GROUP}/v1", "ConversionReview"):
        wanted = f"{_GROUP}/v1, Kind=ConversionReview"
        raise AnswerError(f"expected webhook response of {wanted}, got {named[0]}, Kind={named[1]}")
    if not isinstance(response, dict):
        raise AnswerError("no response provided")
    if version == "v1" and response.get("uid") != uid:
        given = response.get("uid") or ""
        raise AnswerError(f'expected response.uid="{uid}", got "{given}"')
    _check_result(response.get("result"))
    found = response.get("convertedObjects")
    return found if isinstance(found, list) else []


def _check_result(result: Any) -> None:
    status = result if isinstance(result, dict) else {}
    if status.get("status") != "Success":
        shown = status.get("status") or ""
        why = status.get("message") or f"response.result.status was '{shown}', not 'Success'"
        raise AnswerError(str(why))


def restored(original: Mapping[str, Any], made: Any, wanted: str) -> Wire:
    """Return a converted object, of whose metadata only labels and annotations may differ.

    Raises AnswerError.
    """
    if not isinstance(made, dict):
        raise AnswerError("it is no object")
    given = made.get("apiVersion") or ""
    if given != wanted:
        raise AnswerError(f"invalid groupVersion (expected {wanted}, received {given})")
    if made.get("kind") != original["kind"]:
        shown = made.get("kind") or ""
        raise AnswerError(f"invalid kind (expected {original['kind']}, received {shown})")
    metadata, before = made.get("metadata"), original["metadata"]
    if not isinstance(metadata, dict):
        raise AnswerError("missing metadata in converted object")
    for name, shown in _SAME.items():
        had, has = before.get(name) or "", metadata.get(name) or ""
        if had != has:
            raise AnswerError(f"must have the same {shown}: {had} != {has}")
    kept = {name: value for name, value in before.items() if name not in _FREE}
    return made | {"metadata": kept | _texts(metadata)}


def _texts(metadata: Wire) -> Wire:
    found = {}
    for name in _FREE:
        value = metadata.get(name)
        if value is None:
            continue
        if not isinstance(value, dict):
            raise AnswerError(f"invalid metadata.{name} in converted object")
        for key, text in value.items():
            if not isinstance(text, str):
                raise AnswerError(f"metadata.{name}[{key}] must be a string")
        found[name] = value
    return found
