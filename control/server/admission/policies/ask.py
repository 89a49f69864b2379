"""Hold a write to all policies that are bound to it.

Source: pkg/admission/plugin/policy/validating/dispatcher.go of k8s.io/apiserver.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from control.api.meta import StatusCause
from control.api.policies.compiled import policy_from
from control.api.policies.decide import Denial, Outcome, decide
from control.server.admission.asked import Asked
from control.server.admission.inputs import Authorizer, Inputs, compute, inputs_of
from control.server.admission.match import matched, selected
from control.server.admission.measured import PolicyMetrics, error_type
from control.server.admission.policies.config import Binding, Match, PolicyConfig
from control.server.admission.policies.params import ParamsError, params_of
from control.server.admission.rules import Target
from control.server.admission.versions import converted
from control.server.state.server import ServerState
from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.server.wire.request import ApiRequest

_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}
_LONGEST = 10 * 1024  # bytes of an audit annotation
_MOST_FAILURES = 50
_FAILURE = "validation.policy.admission.k8s.io/validation_failure"


class Bound(NamedTuple):
    """A policy with its bindings."""

    policy: PolicyConfig
    bindings: tuple[Binding, ...]


class _Refusal(NamedTuple):
    message: str
    reason: str


def bound(policies: Sequence[PolicyConfig], bindings: Sequence[Binding]) -> list[Bound]:
    """Return the policies that are bound anywhere."""
    found = []
    for policy in policies:
        own = tuple(each for each in bindings if each.policy == policy.name)
        if own:
            found.append(Bound(policy, own))
    return found


def target_of(match: Match, asked: Asked) -> Target | None:
    """Return the write as a policy's rules name it; None if it is not about it. Pure."""
    if not selected(match, asked):
        return None
    if match.excluded and matched(match.excluded, asked, equivalent=match.equivalent):
        return None
    return matched(match.rules, asked, equivalent=match.equivalent) if match.rules else asked.target


@dataclass(slots=True)
class Holding:
    """One write that is held to policies, and what they have said so far."""

    state: ServerState
    request: ApiRequest
    authorizer: Authorizer
    metrics: PolicyMetrics
    asked: Asked

    async def hold(self, policies: Sequence[Bound]) -> None:
        """Ask all policies; raises StatusError by the first that refuses."""
        refusals: list[_Refusal] = []
        failures: list[dict[str, Any]] = []
        for policy, bindings in policies:
            target = target_of(policy.match, self.asked)
            if target is None:
                continue
            said: dict[str, list[str]] = {}
            for binding in bindings:
                if binding.match is None or target_of(binding.match, self.asked):
                    refusals += await self._bound(policy, binding, target, failures, said)
            for key, values in said.items():
                self.request.notes.annotate(f"{policy.name}/{key}", ", ".join(values))
        if failures:
            text = orjson.dumps(failures[:_MOST_FAILURES]).decode()
            self.request.notes.annotate(_FAILURE, text)
        if refusals:
            raise self._refused(refusals[0])

    async def _bound(
        self,
        policy: PolicyConfig,
        binding: Binding,
        target: Target,
        failures: list[dict[str, Any]],
        said: dict[str, list[str]],
    ) -> list[_Refusal]:
        """Return the refusals of a policy where it is bound, once for each parameter."""
        try:
            params = params_of(self.state, policy.params, binding.params, self.asked.target)
        except ParamsError as err:
            if policy.ignores_failure:
                return []
            why = f"failed to configure binding: {err}"
            return [_Refusal(_denied(policy, binding, why), "Invalid")]
        refusals: list[_Refusal] = []
        shown = await converted(self.state, self.asked, self.asked.kind_at(target))
        for each in params:
            inputs = inputs_of(self.state, self.authorizer, shown, target, each)
            given = policy.source, policy.ignores_failure
            outcome = await compute(self.state, self.request, _outcome, inputs, *given)
            refusals += self._judged(policy, binding, outcome, failures)
            _add(said, outcome)
        return refusals

    def _judged(
        self,
        policy: PolicyConfig,
        binding: Binding,
        outcome: Outcome,
        failures: list[dict[str, Any]],
    ) -> Iterator[_Refusal]:
        """Yield what refuses; warn, and note for the audit log, as the binding says."""
        for denial in outcome.ignored:
            self._count(policy, binding, denial, "allow")
        for denial in outcome.denials:
            for action in binding.actions:
                self._count(policy, binding, denial, action.lower())
            if "Deny" in binding.actions:
                yield _Refusal(_denied(policy, binding, denial.message), denial.reason)
            if "Warn" in binding.actions:
                where = f"'{policy.name}' with binding '{binding.name}'"
                text = f"Validation failed for ValidatingAdmissionPolicy {where}: {denial.message}"
                self.request.notes.warnings.append(text)
            if "Audit" in binding.actions:
                failures.append(
                    {
                        "message": denial.message,
                        "policy": policy.name,
                        "binding": binding.name,
                        "expressionIndex": denial.number,
                        "validationActions": list(binding.actions),
                    }
                )
        for failure in outcome.failures:
            self._count(policy, binding, failure, "deny")
            yield _Refusal(_denied(policy, binding, failure.message), "Invalid")

    def _count(self, policy: PolicyConfig, binding: Binding, said: Denial, action: str) -> None:
        names = policy.name, binding.name, error_type(said.message)
        self.metrics.checked(said.seconds, *names, action)

    def _refused(self, refusal: _Refusal) -> StatusError:
        """Return the refusal of a write, with the reason that the policy gives."""
        name = self.asked.target.name
        cause = StatusCause(message=refusal.message)
        made = errors.forbidden(self.request.info.kind, name, refusal.message, cause)
        given = {"reason": refusal.reason, "code": _CODES.get(refusal.reason, 422)}
        made.status = made.status.parse(made.status.wire() | given)
        return made


def _denied(policy: PolicyConfig, binding: Binding, why: str) -> str:
    where = f"'{policy.name}' with binding '{binding.name}'"
    return f"ValidatingAdmissionPolicy {where} denied request: {why}"


def _add(said: dict[str, list[str]], outcome: Outcome) -> None:
    for key, value in outcome.annotations:
        known = said.setdefault(key, [])
        if len(value) > _LONGEST // 4:  # else it fits, whatever its characters are
            value = value.encode()[:_LONGEST].decode(errors="ignore")
        if value not in known:
            known.append(value)


def _outcome(inputs: Inputs, patience: int | None, source: bytes, ignores: bool) -> Outcome:
    return decide(policy_from(source), inputs, ignores=ignores, patience=patience)
