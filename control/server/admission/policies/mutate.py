"""Change an object as MutatingAdmissionPolicies say: one after the other, before any webhook.

Source: pkg/admission/plugin/policy/mutating of k8s.io/apiserver.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from control.api.apply.check import problems
from control.api.apply.items import ItemError
from control.api.apply.merge import merge
from control.api.apply.shape import AnyShape, ListShape, MapShape
from control.api.cel.errors import EvaluationError
from control.api.meta import StatusCause
from control.api.policies.compiled import JSON_PATCH, mutating_from
from control.api.policies.decide import matches, mutation
from control.server.admission.asked import Asked
from control.server.admission.inputs import Authorizer, Inputs, compute, inputs_of
from control.server.admission.measured import NO_ERROR, PolicyMetrics, error_type
from control.server.admission.policies.ask import Bound, target_of
from control.server.admission.policies.config import Binding, PolicyConfig
from control.server.admission.policies.params import ParamsError, params_of
from control.server.admission.rules import Target
from control.server.admission.sound import UnsoundError, sound
from control.server.admission.versions import converted
from control.server.state.server import ServerState
from control.server.verbs.fields import shape_for
from control.server.verbs.patches import json_patch
from control.server.verbs.patches.errors import (
    MalformedPatchError,
    PatchConflictError,
    PatchTooLargeError,
)
from control.server.wire import errors
from control.server.wire.body import check_size
from control.server.wire.item import Wire
from control.server.wire.request import ApiRequest

_TEST_FAILED = "testing value "  # how a JSON patch says that a test of its own fails


class _Invocation(NamedTuple):
    """A policy where it is bound, with one parameter."""

    policy: PolicyConfig
    binding: Binding
    target: Target
    params: Any


@dataclass(slots=True)
class Changing:
    """One write that policies change, and those that want to see later changes."""

    state: ServerState
    request: ApiRequest
    authorizer: Authorizer
    metrics: PolicyMetrics
    policies: Sequence[Bound]
    wrong: list[str] = field(default_factory=list)
    seen: list[tuple[_Invocation, Wire | None]] = field(default_factory=list)

    async def change(self, asked: Asked) -> Asked:
        """Return the write of the object as all policies want it; raises StatusError (403)."""
        for each in list(self._invocations(asked)):
            asked = await self._invoke(each, asked)
            if each.policy.reinvoked:
                self.seen.append((each, asked.change.new))
        self._refuse()
        return asked

    async def again(self, asked: Asked) -> Asked:
        """Ask those policies a second time whose object has been changed after them."""
        for each, left in self.seen:
            if left != asked.change.new:
                asked = await self._invoke(each, asked)
        self._refuse()
        return asked

    def _invocations(self, asked: Asked) -> Iterator[_Invocation]:
        for policy, bindings in self.policies:
            target = target_of(policy.match, asked)
            if target is None:
                continue
            for binding in bindings:
                if binding.match is not None and not target_of(binding.match, asked):
                    continue
                try:
                    params = params_of(self.state, policy.params, binding.params, asked.target)
                except ParamsError as err:
                    self._failed(policy, binding, f"failed to configure binding: {err}")
                    continue
                for each in params:
                    yield _Invocation(policy, binding, target, each)

    async def _invoke(self, invocation: _Invocation, asked: Asked) -> Asked:
        policy, began = invocation.policy, time.perf_counter()
        count = len(mutating_from(policy.source).mutations)
        try:
            for number in range(count):
                if asked.change.new is None:
                    return asked
                began = time.perf_counter()
                shown = await self._shown(invocation, asked)
                if not number and not await self._holds(invocation, shown):
                    return asked
                made = await self._mutated(invocation, shown, number)
                back = await converted(self.state, shown.with_new(made), asked.resource)
                asked = asked.with_new(back.change.new)
                self._count(invocation, began, NO_ERROR)
        except EvaluationError as err:
            self._count(invocation, began, error_type(str(err)))
            self._failed(policy, invocation.binding, str(err))
        return asked

    def _count(self, invocation: _Invocation, began: float, wrong: str) -> None:
        names = invocation.policy.name, invocation.binding.name
        self.metrics.checked(time.perf_counter() - began, *names, wrong)

    async def _shown(self, invocation: _Invocation, asked: Asked) -> Asked:
        return await converted(self.state, asked, asked.kind_at(invocation.target))

    def _inputs(self, invocation: _Invocation, shown: Asked) -> Inputs:
        target, params = invocation.target, invocation.params
        return inputs_of(self.state, self.authorizer, shown, target, params)

    async def _holds(self, invocation: _Invocation, shown: Asked) -> bool:
        policy = invocation.policy
        if not mutating_from(policy.source).conditions:
            return True
        given = policy.source, policy.ignores_failure
        inputs = self._inputs(invocation, shown)
        return await compute(self.state, self.request, _conditions_hold, inputs, *given)

    async def _mutated(self, invocation: _Invocation, shown: Asked, number: int) -> Wire:
        """Return the object with one mutation; raises EvaluationError, StatusError."""
        source, inputs = invocation.policy.source, self._inputs(invocation, shown)
        said = await compute(self.state, self.request, _mutation, inputs, source, number)
        sort = mutating_from(source).mutations[number][0]
        wire: Wire = shown.change.new or {}
        made = _patched(wire, said) if sort == JSON_PATCH else _applied(shown, wire, said)
        try:
            made = sound(made, wire)
        except UnsoundError as err:
            raise EvaluationError(f"{sort}: {err}") from err
        check_size(made)
        return made

    def _failed(self, policy: PolicyConfig, binding: Binding, why: str) -> None:
        if not policy.ignores_failure:
            where = f"policy '{policy.name}' with binding '{binding.name}'"
            self.wrong.append(f"{where} denied request: {why}")

    def _refuse(self) -> None:
        if not self.wrong:
            return
        causes = [StatusCause(message=each) for each in self.wrong]
        made = errors.forbidden(self.request.info.kind, self.request.info.name, "", *causes)
        given = {"message": self.wrong[0], "reason": "Invalid"}
        made.status = made.status.parse(made.status.wire() | given)
        raise made


def _patched(wire: Wire, operations: Any) -> Any:
    """Return an object with operations; one whose own test fails changes nothing."""
    given = [{key: it[key] for key in it if key != "from" or it[key]} for it in operations]
    try:
        return json_patch.apply(wire, given)
    except PatchConflictError as err:
        if str(err).startswith(_TEST_FAILED):
            return wire
        raise EvaluationError(f"JSON Patch: {err}") from err
    except (MalformedPatchError, PatchTooLargeError) as err:
        raise EvaluationError(f"JSON Patch: {err}") from err


def _applied(asked: Asked, wire: Wire, said: Any) -> Wire:
    """Return an object with what a policy applies, which may not replace a list as a whole."""
    shape = shape_for(asked.change.kind)
    given = {"apiVersion": wire["apiVersion"], "kind": wire["kind"]} | said
    failed = "error applying patch:"
    if wrong := problems(shape, given):
        raise EvaluationError(f"{failed} failed to convert patch object to typed object: {wrong}")
    if atomic := list(_atomic(shape, given, "")):
        why = f"may not mutate atomic arrays, maps or structs: {', '.join(atomic)}"
        raise EvaluationError(f"{failed} invalid ApplyConfiguration: {why}")
    try:
        return merge(shape, wire, given)
    except ItemError as err:
        why = f"failed to convert original object to typed object: {err}"
        raise EvaluationError(f"{failed} {why}") from err


def _atomic(shape: AnyShape | None, value: Any, path: str) -> Iterator[str]:
    """Yield the paths of lists and objects that merge only as a whole."""
    if isinstance(shape, MapShape) and isinstance(value, dict):
        if shape.atomic:
            yield path
        for name, item in value.items():
            yield from _atomic(shape.of(name), item, f"{path}.{name}")
    elif isinstance(shape, ListShape) and isinstance(value, list):
        if shape.atomic:
            yield path
        for at, item in enumerate(value):
            yield from _atomic(shape.item, item, f"{path}[{at}]")


def _conditions_hold(inputs: Inputs, patience: int | None, source: bytes, ignores: bool) -> bool:
    conditions = mutating_from(source).conditions
    return matches(conditions, inputs, ignores=ignores, patience=patience)


def _mutation(inputs: Inputs, patience: int | None, source: bytes, number: int) -> Any:
    return mutation(mutating_from(source), number, inputs, patience=patience)
