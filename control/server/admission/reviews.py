"""What is asked about a write: the webhooks and policies that the cluster has now."""

from collections.abc import Callable, Iterable, Sized
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from control.api.kind import Kind
from control.api.kinds import NAMESPACE, SERVED
from control.server.admission.asked import Asked, options_of, target_of
from control.server.admission.gate import (
    BINDING,
    CHANGING,
    CHANGING_BINDING,
    MUTATING,
    POLICY,
    VALIDATING,
)
from control.server.admission.hooks.ask import Asking
from control.server.admission.hooks.config import Hook, read_hooks
from control.server.admission.inputs import Authorizer
from control.server.admission.match import Matcher
from control.server.admission.measured import (
    ADMIT,
    MUTATING_HOOKS,
    MUTATING_POLICIES,
    VALIDATE,
    VALIDATING_HOOKS,
    VALIDATING_POLICIES,
    AdmissionMetrics,
)
from control.server.admission.policies.ask import Bound, Holding, bound
from control.server.admission.policies.config import (
    Binding,
    PolicyConfig,
    read_binding,
    read_policy,
)
from control.server.admission.policies.mutate import Changing
from control.server.admission.rules import Rule, Target
from control.server.state.gate import Change, Review
from control.server.state.server import ServerState
from control.server.wire.info import storage_key, storage_prefix
from control.server.wire.item import Item, Wire
from control.server.wire.request import ApiRequest

T = TypeVar("T")


class Known(Generic[T]):
    """What the objects of one kind say, read anew only when one of them changes."""

    def __init__(self, kind: Kind, read: Callable[[Any], Iterable[T]]) -> None:
        self._kind = kind
        self._read = read
        self._items: tuple[Item, ...] = ()
        self._found: tuple[T, ...] = ()

    def of(self, state: ServerState) -> tuple[T, ...]:
        """Return what is known now, in the order of the objects' names."""
        cache = state.cache.of(self._kind)
        if not cache.count:
            return ()
        items = tuple(cache.items())
        if len(items) != len(self._items) or any(map(_differ, items, self._items)):
            self._found = tuple(each for item in items for each in self._read(item.wire))
            self._items = items
        return self._found


def _differ(one: Item, other: Item) -> bool:
    return one is not other


class Reviews:
    """Says what is asked about a write."""

    def __init__(self, authorizer: Authorizer, metrics: AdmissionMetrics) -> None:
        self._authorizer, self._metrics = authorizer, metrics
        self._mutating = Known(MUTATING, read_hooks)
        self._validating = Known(VALIDATING, read_hooks)
        self._policies = Known(POLICY, read_policy), Known(BINDING, read_binding)
        self._changing = Known(CHANGING, read_policy), Known(CHANGING_BINDING, read_binding)
        self._matcher = Matcher(authorizer)

    def review(self, state: ServerState, request: ApiRequest, operation: str) -> Review | None:
        """Return what is asked about a write on a resource; None for nothing."""
        target = target_of(request, operation)
        if target.exempt:
            return None
        versions = _versions(state, request.info.kind)
        mutating = _likely(self._mutating.of(state), target, versions)
        validating = _likely(self._validating.of(state), target, versions)
        held = _bound(state, *self._policies, target, versions)
        changing = _bound(state, *self._changing, target, versions)
        if not (mutating or validating or held or changing):
            return None
        metrics = self._metrics
        asking = Asking(state, self._matcher, request, metrics)
        change = Changing(state, request, self._authorizer, metrics.mutating, changing)
        who = self._authorizer
        return _Review(
            metrics, asking, request, who, target, versions, mutating, validating, held, change
        )


def _bound(
    state: ServerState,
    policies: Known[PolicyConfig],
    bindings: Known[Binding],
    target: Target,
    versions: tuple[Kind, ...],
) -> list[Bound]:
    """Return the policies whose rules match, with their bindings."""
    known = policies.of(state)
    found = bound(known, bindings.of(state)) if known else []
    return [it for it in found if _names(it.policy.match.rules, target, versions)]


def _names(rules: tuple[Rule, ...], target: Target, versions: tuple[Kind, ...]) -> bool:
    """Return True if rules name a write, or another version of it; there may be none."""
    targets = [target.as_of(kind.group, kind.version, kind.plural) for kind in versions]
    return not rules or any(rule.concerns(each) for rule in rules for each in (target, *targets))


def _likely(
    hooks: tuple[Hook, ...], target: Target, versions: tuple[Kind, ...]
) -> tuple[Hook, ...]:
    """Return the webhooks whose rules match, whatever their selectors say."""
    return tuple(it for it in hooks if it.rules and _names(it.rules, target, versions))


def _versions(state: ServerState, kind: Kind) -> tuple[Kind, ...]:
    """Return all kinds that show the objects of one, as the matchPolicy Equivalent has them."""
    prefix = storage_prefix(kind)
    if kind.custom is None and kind.form is None and not _has_forms(kind):
        return (kind,)
    return tuple(each for each in state.cache.kinds.served if storage_prefix(each) == prefix)


_SHOWN = {kind.stored for kind in SERVED if kind.form is not None}


def _has_forms(kind: Kind) -> bool:
    return kind in _SHOWN


@dataclass(frozen=True, slots=True)
class _Review:
    metrics: AdmissionMetrics
    asking: Asking
    request: ApiRequest
    authorizer: Authorizer
    target: Target
    versions: tuple[Kind, ...]
    mutating: tuple[Hook, ...]
    validating: tuple[Hook, ...]
    policies: list[Bound]
    changing: Changing

    @property
    def mutates(self) -> bool:
        return bool(self.mutating or self.changing.policies)

    async def mutate(self, change: Change) -> Wire | None:
        with self.metrics.step(ADMIT, self.target.operation):
            return await self._mutated(self._asked(change))

    async def _mutated(self, asked: Asked) -> Wire | None:
        policies = partial(self._timed, MUTATING_POLICIES, ADMIT)
        hooks = partial(self._timed, MUTATING_HOOKS, ADMIT, self.mutating)
        with policies(self.changing.policies):
            asked = await self.changing.change(asked)
        with hooks():
            asked, again, others = await self.asking.round(asked, self.mutating)
        once = asked.change.new
        with policies(self.changing.seen):
            asked = await self.changing.again(asked)
        if asked.change.new != once:
            again = [it for it in self.mutating if it in again or it in others]
        if again:
            with hooks():
                asked, _, _ = await self.asking.round(asked, again, 1)
        return asked.change.new

    async def validate(self, change: Change) -> None:
        asked, counted = self._asked(change), self.metrics.validating
        held = Holding(self.asking.state, self.request, self.authorizer, counted, asked)
        with self.metrics.step(VALIDATE, self.target.operation):
            with self._timed(VALIDATING_POLICIES, VALIDATE, self.policies):
                await held.hold(self.policies)
            with self._timed(VALIDATING_HOOKS, VALIDATE, self.validating):
                await self.asking.validated(asked, self.validating)

    def _timed(self, name: str, kind: str, asked: Sized) -> AbstractContextManager[None]:
        """Time those who are asked; there may be none."""
        if not len(asked):
            return nullcontext()
        return self.metrics.controller(name, kind, self.target.operation)

    def _asked(self, change: Change) -> Asked:
        request, target = self.request, self.target
        named = change.new if change.new is not None else change.old
        if not target.name and named is not None:
            request = request.named(str((named.get("metadata") or {}).get("name") or ""))
            target = target_of(request, target.operation)
        return Asked(
            target,
            change,
            request.user,
            request.info.kind,
            _labels(self.asking.state, request, change),
            request.dry_run,
            options_of(request, target.operation),
            self.versions,
        )


def _labels(state: ServerState, request: ApiRequest, change: Change) -> Any:
    """Return the labels of the namespace of a request; None if it has none."""
    info = request.info
    if info.kind is NAMESPACE and not info.subresource and change.new is not None:
        return change.new["metadata"].get("labels") or {}
    name = info.name if info.kind is NAMESPACE else info.namespace
    if not name:
        return None
    item = state.cache.of(NAMESPACE).get(storage_key(NAMESPACE, "", name))
    return item.labels if item is not None else {}
