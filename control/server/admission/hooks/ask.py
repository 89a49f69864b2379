"""Ask webhooks about a write, and decide what their answers mean.

Mutating ones are asked one after the other, each about what the last one made; those that want it
a second time if a later one has changed something. Validating ones are asked at the same time.
Source: pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go of k8s.io/apiserver.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import uuid4

from control.api.base import drop_nulls
from control.api.wire import UnreadableError
from control.server.admission.asked import Asked
from control.server.admission.hooks.config import Hook
from control.server.admission.hooks.review import (
    Answer,
    question,
    read_answer,
    version_of,
)
from control.server.admission.match import Called, Matcher
from control.server.admission.measured import (
    ADMIT,
    CALL_FAILED,
    NO_ERROR,
    OUR_ERROR,
    AdmissionMetrics,
)
from control.server.admission.sound import UnsoundError, sound
from control.server.remote.reviews import AnswerError
from control.server.remote.services import RemoteError
from control.server.remote.webhook import post
from control.server.state.server import ServerState
from control.server.verbs.patches import json_patch
from control.server.verbs.patches.errors import (
    MalformedPatchError,
    PatchConflictError,
    PatchTooLargeError,
)
from control.server.wire import errors
from control.server.wire.body import check_size
from control.server.wire.errors import StatusError
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest, Notes

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_UNAVAILABLE = 503
_VALIDATING = "validating"  # as upstream has it in its metrics, where a mutating one is "admit"


class _CallError(Exception):
    """A webhook could not be asked, or gave no answer; ``code`` is for metrics."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


class DeniedError(StatusError):
    """A refusal by a webhook, not by what went wrong with it."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What both kinds of webhooks are asked with."""

    state: ServerState
    matcher: Matcher
    request: ApiRequest
    metrics: AdmissionMetrics

    @property
    def notes(self) -> Notes:
        """What is said of the request besides its answer."""
        return self.request.notes

    async def round(
        self, asked: Asked, hooks: Sequence[Hook], number: int = 0
    ) -> tuple[Asked, list[Hook], list[Hook]]:
        """Return the write of the object as mutating webhooks want it; raises StatusError.

        Of those that want to be asked again, return first whose object a later one has changed,
        then all others.
        """
        waiting, again = list[Hook](), list[Hook]()
        for at, hook in enumerate(hooks):
            if (called := await self.matcher.called(self.state, self.request, hook, asked)) is None:
                continue
            made = await self._mutate(called, f"round_{number}_index_{at}")
            if made is not None:
                again += [each for each in waiting if each not in again]
                waiting = []
                asked = asked.with_new(await self.matcher.back(self.state, called, made))
            if hook.reinvoked:
                waiting.append(hook)
        return asked, again, waiting

    async def _mutate(self, called: Called, key: str) -> Wire | None:
        """Return the object as one webhook changes it; None if it does not."""
        hook = called.hook
        shown = f'{{"configuration":"{hook.configuration}","webhook":"{hook.name}","mutated":'
        try:
            made = await self._counted(called, self._changed(called), ADMIT)
        except _CallError as err:
            key_of = f"failed-open.mutation.webhook.admission.k8s.io/{key}"
            self._failed(hook, err, key_of, ADMIT)
            made = None
        note = f"{shown}{'true' if made is not None else 'false'}}}"
        self.notes.annotate(f"mutation.webhook.admission.k8s.io/{key}", note)
        return made

    async def _changed(self, called: Called) -> Wire | None:
        answer = await self._answer(called, mutating=True)
        return _patched(called.hook, called.asked.change.new, answer.patch)

    async def _counted(self, called: Called, work: Awaitable[_T], kind: str) -> _T:
        """Await a call of a webhook, and count how it ends."""
        began, hook = time.monotonic(), called.hook
        about = hook.name, kind, called.asked.target.operation
        try:
            made = await work
        except _CallError as err:
            wrong = "" if hook.ignores_failure else CALL_FAILED
            self.metrics.called(about, began, err.code, wrong)
            raise
        except DeniedError as err:
            self.metrics.called(about, began, err.code, NO_ERROR)
            raise
        except StatusError:
            self.metrics.called(about, began, 0, OUR_ERROR)
            raise
        self.metrics.called(about, began, 200)
        return made

    async def validated(self, asked: Asked, hooks: Sequence[Hook]) -> None:
        """Ask validating webhooks; raises StatusError, the first in their order."""
        called = [await self.matcher.called(self.state, self.request, it, asked) for it in hooks]
        found = [each for each in called if each is not None]
        works = [self._validate(each, at) for at, each in enumerate(found)]
        for refused in await asyncio.gather(*works, return_exceptions=True):
            if isinstance(refused, BaseException):
                raise refused

    async def _validate(self, called: Called, at: int) -> None:
        try:
            await self._counted(called, self._answer(called, mutating=False), _VALIDATING)
        except _CallError as err:
            key = f"failed-open.validating.webhook.admission.k8s.io/round_0_index_{at}"
            self._failed(called.hook, err, key, _VALIDATING)

    def _failed(self, hook: Hook, err: _CallError, key: str, kind: str) -> None:
        """Refuse what a webhook was not asked about, unless it ignores that."""
        if not hook.ignores_failure:
            raise errors.internal(str(err)) from err
        logger.warning("%s: ignored, as its failurePolicy says", err)
        self.metrics.failed_open(hook.name, kind)
        self.notes.annotate(key, hook.name)

    async def _answer(self, called: Called, *, mutating: bool) -> Answer:
        """Return what a webhook allows; raises StatusError if it refuses, and _CallError."""
        hook, asked = called.hook, called.asked
        if asked.dry_run and not hook.dry_run_safe:
            why = f'admission webhook "{hook.name}" does not support dry run'
            raise errors.bad_request(why)
        answer = await self._called(called, mutating=mutating)
        for name, value in answer.annotations.items():
            self.notes.annotate(f"{hook.name}/{name}", value)
        self.notes.warnings.extend(answer.warnings)
        if not answer.allowed:
            raise denied(hook.name, answer.status or {})
        return answer

    async def _called(self, called: Called, *, mutating: bool) -> Answer:
        hook, uid = called.hook, str(uuid4())
        failed = f'failed calling webhook "{hook.name}"'
        try:
            version = version_of(hook.versions)
            body = question(uid, version, called.asked, called.target)
        except AnswerError as err:
            raise _CallError(f"{failed}: could not create admission objects: {err}", 400) from err
        try:
            text = await post(self.state, hook.address, body, hook.seconds)
        except RemoteError as err:
            raise _CallError(f"{failed}: failed to call webhook: {err}", err.code) from err
        try:
            return read_answer(text, uid, version, mutating=mutating)
        except AnswerError as err:
            why = f"{failed}: received invalid webhook response: {err}"
            raise _CallError(why, _UNAVAILABLE) from err


def _patched(hook: Hook, wire: Any, patch: Any) -> Wire | None:
    """Return an object with a webhook's patch; None if it changes nothing."""
    if patch is None:
        return None
    if wire is None:
        why = "attempted to modify the object, which is not supported for this operation"
        raise errors.internal(f'admission webhook "{hook.name}" {why}')
    try:
        made = sound(json_patch.apply(wire, patch), wire)
    except (MalformedPatchError, PatchConflictError, PatchTooLargeError) as err:
        raise errors.internal(str(err)) from err
    except UnsoundError as err:
        raise errors.internal(f'admission webhook "{hook.name}": its patch: {err}') from err
    check_size(made)
    return None if made == wire else made


def denied(name: str, status: Any) -> StatusError:
    """Return the refusal of a webhook, with the code and the reason that it gives."""
    code, reason, why = (status.get(key) for key in ("code", "reason", "message"))
    code = code if isinstance(code, int) and 400 <= code < 600 else 400
    said = f": {why or reason}" if why or reason else " without explanation"
    made = DeniedError(code, "", f'admission webhook "{name}" denied the request{said}')
    given = {key: status[key] for key in ("reason", "details") if status.get(key)}
    with suppress(UnreadableError):  # what is no reason, or no details, is left out
        made.status = made.status.read(dict(drop_nulls(made.status.wire() | given)))
    return made
