"""Which webhooks a write goes to, and in which version of its object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control.server.admission.asked import Asked
from control.server.admission.hooks.config import Hook
from control.server.admission.rules import Rule, Target
from control.server.admission.versions import converted
from control.server.state.server import ServerState
from control.server.wire.item import Wire


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

    async def called(self, state: ServerState, hook: Hook, asked: Asked) -> Called | None:
        """Return how a webhook is asked; None if it is not; raises StatusError."""
        if not selected(hook, asked):
            return None
        target = matched(hook.rules, asked, equivalent=hook.equivalent)
        if target is None:
            return None
        return Called(hook, target, await converted(state, asked, asked.kind_at(target)))

    async def back(self, state: ServerState, called: Called, made: Wire) -> Wire:
        """Return an object that a webhook has changed in the version of the request."""
        changed = called.asked.with_new(made)
        return (await converted(state, changed, called.asked.resource)).change.new or made
