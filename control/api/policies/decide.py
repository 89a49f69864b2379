"""Compute the conditions of a webhook, or a policy, for one write.

Source: pkg/admission/plugin/policy/validating/validator.go and .../webhook/matchconditions of
k8s.io/apiserver.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, NamedTuple

from control.api.cel.errors import CostExceededError, EvaluationError
from control.api.cel.functions.clauses import text_of
from control.api.cel.meter import PER_CALL, PER_CONDITIONS, PER_OBJECT, Meter
from control.api.cel.values import Made, Optional
from control.api.policies.compiled import APPLY, Expression, Mutating, Policy, Validation
from control.api.policies.environment import VARIABLES

Inputs = dict[str, Any]
_LONGEST = 5 * 1024  # bytes of a message
_OUT = (
    "validation failed due to running out of cost budget, no further validation rules will be run"
)


class Denial(NamedTuple):
    """A validation that is not met, or cannot be computed."""

    number: int
    message: str
    reason: str
    seconds: float = 0.0
    is_error: bool = True


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a policy says of a write."""

    denials: tuple[Denial, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    failures: tuple[Denial, ...] = ()  # annotations that cannot be computed
    ignored: tuple[Denial, ...] = ()  # errors that count as no denial


class OutOfBudgetError(Exception):
    """All expressions together cost more than is allowed."""

    def __init__(self) -> None:
        super().__init__(_OUT)


@dataclass(slots=True)
class Budget:
    """What expressions may cost yet, and ``patience``: what may be spent in this process."""

    left: int = PER_OBJECT
    patience: int | None = None

    def compute(self, expression: Expression, inputs: Inputs) -> Any:
        """Return the value of an expression.

        Raises EvaluationError, OutOfBudgetError, TooCostlyError.
        """
        if expression.program is None:
            raise EvaluationError(expression.why)
        if self.left <= 0:
            raise OutOfBudgetError
        meter = Meter(PER_CALL, self.patience)
        start = meter.patience
        try:
            return expression.program.compute(inputs, meter)
        except EvaluationError as err:
            why = f"expression '{expression.source}' resulted in error: {err}"
            if isinstance(err, CostExceededError):
                raise OutOfBudgetError from err
            raise EvaluationError(why) from err
        finally:
            self.left -= PER_CALL - meter.left
            if self.patience is not None:
                self.patience -= start - meter.patience


@dataclass(slots=True)
class Variables:
    """The variable ``variables``: each field is computed when it is asked for, once."""

    expressions: Mapping[str, Expression]
    inputs: Inputs
    known: dict[str, Any] = field(default_factory=dict)

    def field(self, name: str, meter: Meter) -> Any:
        """Return a variable; raises EvaluationError."""
        if name not in self.known:
            program = self.expressions[name].program
            if program is None:
                raise EvaluationError(self.expressions[name].why)
            try:
                self.known[name] = program.compute(self.inputs, meter)
            except CostExceededError:
                raise
            except EvaluationError as err:
                raise EvaluationError(
                    f'composited variable "{name}" fails to evaluate: {err}'
                ) from err
        return self.known[name]

    def has(self, name: str) -> bool:
        """Return True: each has a value, or an error."""
        return name in self.expressions


def matches(
    conditions: Sequence[Expression],
    inputs: Inputs,
    *,
    ignores: bool,
    patience: int | None = None,
) -> bool:
    """Return True if all conditions hold, or an error is to be ignored.

    A condition that does not hold counts more than an error of another one. Raises
    EvaluationError, TooCostlyError.
    """
    budget, wrong = Budget(PER_CONDITIONS, patience), []
    for each in conditions:
        try:
            if budget.compute(each, inputs) is False:
                return False
        except (EvaluationError, OutOfBudgetError) as err:
            wrong.append(str(err))
    if wrong and not ignores:
        raise EvaluationError(wrong[0] if len(wrong) == 1 else f"[{', '.join(wrong)}]")
    return not wrong


def decide(
    policy: Policy, inputs: Inputs, *, ignores: bool, patience: int | None = None
) -> Outcome:
    """Return what a policy says; an error is a denial, or is ignored. Raises TooCostlyError."""
    try:
        if not matches(policy.conditions, inputs, ignores=ignores, patience=patience):
            return Outcome()
    except EvaluationError as err:
        return _wrong(err, ignores=ignores)
    known = dict(inputs)
    named = {each.name: each for each in policy.variables}
    known[VARIABLES] = Variables(named, known)
    budget = Budget(PER_OBJECT, patience)
    try:
        found = _denials(policy.validations, known, budget)
        annotations, failures = _annotations(policy.annotations, known, budget)
    except OutOfBudgetError as err:
        return _wrong(err, ignores=ignores)
    if not ignores:
        return Outcome(tuple(found), tuple(annotations), tuple(failures))
    denials, ignored = ([it for it in found if it.is_error is wrong] for wrong in (False, True))
    return Outcome(tuple(denials), tuple(annotations), ignored=tuple(ignored))


def _wrong(err: Exception, *, ignores: bool) -> Outcome:
    """Return what a policy says that could not be computed at all."""
    found = (Denial(0, str(err), "Invalid"),)
    return Outcome(ignored=found) if ignores else Outcome(found)


def _denials(validations: Sequence[Validation], inputs: Inputs, budget: Budget) -> list[Denial]:
    found = []
    for number, each in enumerate(validations):
        began = perf_counter()
        try:
            value = budget.compute(each.condition, inputs)
        except EvaluationError as err:
            found.append(Denial(number, str(err), "Invalid", perf_counter() - began))
            continue
        seconds = perf_counter() - began
        if value is not True:
            said = _message(each, inputs, budget)
            found.append(Denial(number, said, each.reason, seconds, is_error=False))
    return found


def _message(validation: Validation, inputs: Inputs, budget: Budget) -> str:
    default = validation.message or f"failed expression: {validation.condition.source.strip()}"
    if validation.computed is None:
        return default
    try:
        text = budget.compute(validation.computed, inputs)
    except EvaluationError:
        return default
    text = text.strip() if isinstance(text, str) else ""
    fits = text and "\n" not in text and len(text.encode()) <= _LONGEST
    return text if fits else default


def _annotations(
    expressions: Sequence[Expression], inputs: Inputs, budget: Budget
) -> tuple[list[tuple[str, str]], list[Denial]]:
    found, failures = [], []
    for number, each in enumerate(expressions):
        began = perf_counter()
        try:
            value = budget.compute(each, inputs)
        except EvaluationError as err:
            failures.append(Denial(number, str(err), "Invalid", perf_counter() - began))
            continue
        if isinstance(value, str) and value.strip():
            found.append((each.name, value.strip()))
    return found, failures


def mutation(policy: Mutating, number: int, inputs: Inputs, *, patience: int | None = None) -> Any:
    """Return what one mutation of a policy says, as JSON: operations, or a part of an object.

    Raises EvaluationError, TooCostlyError.
    """
    known = dict(inputs)
    known[VARIABLES] = Variables({each.name: each for each in policy.variables}, known)
    sort, expression = policy.mutations[number]
    try:
        value = Budget(PER_OBJECT, patience).compute(expression, known)
    except OutOfBudgetError as err:
        raise EvaluationError(str(err)) from err
    if sort == APPLY:
        check_names(value, "Object")
    return as_json(value)


def check_names(value: Any, path: str) -> None:
    """Refuse an object whose type does not have the name of its place; raises EvaluationError."""
    if isinstance(value, Made):
        if value.name != path:
            why = (
                f'unexpected type name "{value.name}", expected "{path}", which matches field name'
            )
            raise EvaluationError(f"type mismatch: {why} path from root Object type")
        for name, item in value.items():
            check_names(item, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            check_names(item, path)


def as_json(value: Any) -> Any:
    """Return a value as JSON has it; raises EvaluationError."""
    if isinstance(value, dict):
        return {str(key): as_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, Optional):
        return as_json(value.value) if value.present else None
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if value is None or isinstance(value, bool | str | float):
        return value
    if isinstance(value, int):
        return int(value)
    return b64encode(value).decode() if isinstance(value, bytes) else text_of(value)
