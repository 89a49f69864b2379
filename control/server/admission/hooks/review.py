"""The question to a webhook, an AdmissionReview, and its answer. Pure.

Source: pkg/admission/plugin/webhook/request/admissionreview.go of k8s.io/apiserver.
"""

import binascii
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from control.server.admission.asked import Asked
from control.server.admission.rules import Target
from control.server.remote.reviews import AnswerError, known_version, read_review
from control.server.wire.item import Wire

_API = "admission.k8s.io"
_NO_VERSION = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook says; ``patch`` is a JSON patch, None for none."""

    allowed: bool
    patch: Any = None
    status: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def version_of(known: tuple[str, ...]) -> str:
    """Return the first version of AdmissionReview that both sides know; raises AnswerError."""
    return known_version(known, _NO_VERSION)


def question(uid: str, version: str, asked: Asked, target: Target) -> bytes:
    """Return an AdmissionReview; ``target`` is the resource as the webhook's rules name it."""
    return orjson.dumps(
        {
            "kind": "AdmissionReview",
            "apiVersion": f"{_API}/{version}",
            "request": request_of(uid, asked, target),
        }
    )


def request_of(uid: str, asked: Asked, target: Target) -> Wire:
    """Return an AdmissionRequest."""
    own, kind = asked.target, asked.kind
    made: Wire = {
        "uid": uid,
        "kind": _kind(asked.kind_at(target)),
        "resource": _resource(target),
        "subResource": target.subresource,
        "requestKind": _kind(kind),
        "requestResource": _resource(own),
        "requestSubResource": own.subresource,
        "name": own.name,
        "namespace": own.namespace,
        "operation": own.operation,
        "userInfo": asked.user.wire(),
        "object": asked.change.new,
        "oldObject": asked.change.old,
        "dryRun": asked.dry_run,
        "options": asked.options,
    }
    optional = ("subResource", "requestSubResource", "name", "namespace")
    return {name: value for name, value in made.items() if value or name not in optional}


def _kind(kind: Any) -> Wire:
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


def _resource(target: Target) -> Wire:
    return {"group": target.group, "version": target.version, "resource": target.resource}


def read_answer(body: bytes, uid: str, version: str, *, mutating: bool) -> Answer:
    """Read an AdmissionReview's response; raises AnswerError."""
    review = read_review(body)
    response = review.get("response")
    if not isinstance(response, dict):
        raise AnswerError("webhook response was absent")
    patch, sort = response.get("patch") or "", response.get("patchType")
    if version == "v1":
        _check_head(review, response, uid)
        _check_patch(patch, sort, mutating=mutating)
    status = response.get("status")
    return Answer(
        response.get("allowed") is True,
        _patch(patch, sort) if mutating and patch else None,
        status if isinstance(status, dict) else None,
        _warnings(response.get("warnings")),
        _texts(response.get("auditAnnotations")),
    )


def _check_head(review: Wire, response: Wire, uid: str) -> None:
    given = response.get("uid") or ""
    if given != uid:
        raise AnswerError(f'expected response.uid="{uid}", got "{given}"')
    named = str(review.get("apiVersion") or ""), str(review.get("kind") or "")
    if named != (f"{_API}/v1", "AdmissionReview"):
        wanted = f"{_API}/v1, Kind=AdmissionReview"
        group = named[0] if "/" in named[0] else f"/{named[0]}"
        raise AnswerError(f"expected webhook response of {wanted}, got {group}, Kind={named[1]}")


def _check_patch(patch: Any, sort: Any, *, mutating: bool) -> None:
    if not mutating:
        if patch:
            raise AnswerError("validating webhook may not return response.patch")
        if sort is not None:
            raise AnswerError("validating webhook may not return response.patchType")
    elif patch and sort is None:
        raise AnswerError("webhook returned response.patch but not response.patchType")
    elif not patch and sort is not None:
        raise AnswerError("webhook returned response.patchType but not response.patch")
    elif sort == "":
        raise AnswerError('webhook returned invalid response.patchType of ""')


def _patch(text: Any, sort: Any) -> Any:
    try:
        patch = orjson.loads(b64decode(text, validate=True))
    except (TypeError, ValueError, binascii.Error) as err:
        raise AnswerError(f"received undecodable patch in webhook response: {err}") from err
    if not isinstance(patch, list):
        raise AnswerError("received undecodable patch in webhook response: it is no list")
    if sort not in (None, "JSONPatch"):
        raise AnswerError(f'unsupported patch type "{sort}"')
    return patch or None


def _warnings(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list):
        return ()
    return tuple(each for each in given if isinstance(each, str))


def _texts(given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        return {}
    return {name: value for name, value in given.items() if isinstance(value, str)}
