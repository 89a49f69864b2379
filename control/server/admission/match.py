"""Which webhooks a write goes to, and in which version of its object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control.api.cel.errors import EvaluationError
from control.api.policies.compiled import conditions_from
from control.api.policies.decide import matches
from control.server.admission.asked import Asked
from control.server.admission.hooks.config import Hook
from control.server.admission.inputs import Authorizer, Inputs, compute, inputs_of
from control.server.admission.rules import Rule, Target
from control.server.admission.versions import converted
from control.server.state.server import ServerState
from control.server.wire import errors
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest


@dataclass(frozen=True, slots=True)
class Called:
    """A webhook that is asked: ``asked`` has the objects in the version of ``target``."""

    hook: Hook
    target: Target
    asked: Asked


def matched(rules: tuple[Rule, ...], asked: Asked, *, equivalent: bool) -> Target | None:
    """Return the request as rules name it; None if they do not. Pure."""
    if any(rule.matches(asked.target) for rule in rules):
        return asked.target
    if not equivalent:
        return None
    for rule in rules:
        for other in asked.targets():
            if rule.matches(other):
                return other
    return None


def selected(hook: Any, asked: Asked) -> bool:
    """Return True if the selectors of a webhook, or a policy, select a write. Pure."""
    if asked.labels is not None and not hook.namespaces.matches(asked.labels):
        return False
    objects = [it for it in (asked.change.new, asked.change.old) if it is not None]
    if not hook.objects.requirements:
        return True
    return any(hook.objects.matches(_labels(each)) for each in objects)


def _labels(wire: Mapping[str, Any]) -> Mapping[str, str]:
    found = (wire.get("metadata") or {}).get("labels") or {}
    return found if isinstance(found, dict) else {}


class Matcher:
    """Says which webhooks are asked."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    async def called(
        self, state: ServerState, request: ApiRequest, hook: Hook, asked: Asked
    ) -> Called | None:
        """Return how a webhook is asked; None if it is not; raises StatusError."""
        if not selected(hook, asked):
            return None
        target = matched(hook.rules, asked, equivalent=hook.equivalent)
        if target is None:
            return None
        called = Called(hook, target, await converted(state, asked, asked.kind_at(target)))
        if hook.conditions and not await self._holds(state, request, called):
            return None
        return called

    async def _holds(self, state: ServerState, request: ApiRequest, called: Called) -> bool:
        """Return True if all conditions of a webhook hold; raises StatusError (403)."""
        hook = called.hook
        inputs = inputs_of(state, self._authorizer, called.asked, called.target)
        given = hook.conditions, hook.ignores_failure
        try:
            return await compute(state, request, _conditions_hold, inputs, *given)
        except EvaluationError as err:
            name = called.asked.target.name
            raise errors.forbidden(request.info.kind, name, str(err)) from err

    async def back(self, state: ServerState, called: Called, made: Wire) -> Wire:
        """Return an object that a webhook has changed in the version of the request."""
        changed = called.asked.with_new(made)
        return (await converted(state, changed, called.asked.resource)).change.new or made


def _conditions_hold(inputs: Inputs, patience: int | None, source: bytes, ignores: bool) -> bool:
    return matches(conditions_from(source), inputs, ignores=ignores, patience=patience)
