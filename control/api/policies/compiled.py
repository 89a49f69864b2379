"""Compile the conditions of webhooks, and policies with all their expressions.

Source: pkg/admission/plugin/policy/validating/plugin.go of k8s.io/apiserver.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from control.api import field
from control.api.cel.errors import CompileError, ProgramError
from control.api.cel.program import Environment, Program, WrongResultError, compile_source
from control.api.cel.types import BOOL, DYN, NULL, STRING, Type
from control.api.custom.cost import Spending
from control.api.field import FieldError
from control.api.policies.environment import APPLIED, OPERATIONS, environment

Wire = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expression:
    """A named expression: its program, or why it has none; ``useless`` if it reads well."""

    name: str
    source: str
    program: Program | None
    why: str = ""
    useless: bool = False

    def errors(self, path: str) -> Iterator[FieldError]:
        """Yield what is wrong with the expression."""
        if self.useless:
            yield field.internal(path, self.why)
        elif self.why:
            yield field.invalid(path, self.source, self.why)


@dataclass(frozen=True, slots=True)
class Validation:
    """A condition that an object has to meet, and what is said of one that does not."""

    condition: Expression
    message: str
    computed: Expression | None
    reason: str


@dataclass(frozen=True, slots=True)
class Policy:
    """A compiled ValidatingAdmissionPolicy."""

    conditions: tuple[Expression, ...]
    variables: tuple[Expression, ...]
    validations: tuple[Validation, ...]
    annotations: tuple[Expression, ...]


_CHARACTERS = 4  # of an expression that cost as much as a check of a value


def compiled(name: str, source: str, known: Environment, *wanted: Type) -> Expression:
    """Compile an expression; what is wrong with it is kept."""
    try:
        made = compile_source(source, known, *wanted)
    except WrongResultError as err:
        return Expression(name, source, None, _must_be(err.found, *wanted))
    except ProgramError as err:
        return Expression(name, source, None, f"program instantiation failed: {err}", useless=True)
    except CompileError as err:
        return Expression(name, source, None, f"compilation failed: {err}")
    # Upstream wants the very type, so dyn is refused; policies that are stored still have theirs.
    why = _must_be(made.type, *wanted) if wanted and made.type not in wanted else ""
    return Expression(name, source, made, why)


def _must_be(found: Type, *wanted: Type) -> str:
    names = ["null_type" if each == NULL else str(each) for each in wanted]
    listed = names[0] if len(names) == 1 else f"one of [{' '.join(names)}]"
    return f"must evaluate to {listed} but got {found}"


def conditions_of(wires: Sequence[Wire], *, params: bool = False) -> tuple[Expression, ...]:
    """Compile match conditions; raises TooCostlyError if that may not take long."""
    Spending().spend(sum(len(it["expression"]) for it in wires) // _CHARACTERS)
    known = environment(params=params)
    return tuple(compiled(it["name"], it["expression"], known, BOOL) for it in wires)


@dataclass(frozen=True, slots=True)
class Mutating:
    """A compiled MutatingAdmissionPolicy; ``mutations`` have the types of their patches."""

    conditions: tuple[Expression, ...]
    variables: tuple[Expression, ...]
    mutations: tuple[tuple[str, Expression], ...]


JSON_PATCH, APPLY = "JSONPatch", "ApplyConfiguration"
_MUTATIONS = {JSON_PATCH: ("jsonPatch", OPERATIONS), APPLY: ("applyConfiguration", APPLIED)}


@lru_cache(maxsize=256)
def mutating_from(source: bytes) -> Mutating:
    """Compile a mutating policy's spec in JSON; those of the last ones are kept."""
    return mutating_of(orjson.loads(source))


def mutating_of(spec: Wire) -> Mutating:
    """Compile a mutating policy by its spec; raises TooCostlyError if that may not take long."""
    Spending().spend(len(orjson.dumps(spec)) // _CHARACTERS)
    params = spec.get("paramKind") is not None
    variables, types = _variables(spec.get("variables"), params=params)
    known = environment(params=params, variables=types, mutates=True)
    mutations = []
    for each in spec.get("mutations") or ():
        sort = each.get("patchType") or ""
        name, wanted = _MUTATIONS.get(sort, ("", OPERATIONS))
        source = ((each.get(name) or {}).get("expression") or "").strip()
        mutations.append((sort, compiled("", source, known, wanted)))
    conditions = conditions_of(spec.get("matchConditions") or (), params=params)
    return Mutating(conditions, variables, tuple(mutations))


@lru_cache(maxsize=512)
def conditions_from(source: bytes) -> tuple[Expression, ...]:
    """Compile the match conditions of a webhook in JSON; those of the last ones are kept."""
    return conditions_of(orjson.loads(source))


@lru_cache(maxsize=256)
def policy_from(source: bytes) -> Policy:
    """Compile a policy's spec in JSON; those of the last ones are kept."""
    return policy_of(orjson.loads(source))


def policy_of(spec: Wire) -> Policy:
    """Compile a policy by its spec; raises TooCostlyError if that may not take long."""
    Spending().spend(len(orjson.dumps(spec)) // _CHARACTERS)
    params = spec.get("paramKind") is not None
    variables, types = _variables(spec.get("variables"), params=params)
    full = environment(params=params, variables=types)
    plain = environment(params=params, authorizer=False, variables=types)
    return Policy(
        conditions_of(spec.get("matchConditions") or (), params=params),
        variables,
        tuple(_validation(each, full, plain) for each in spec.get("validations") or ()),
        tuple(
            compiled(each["key"], each["valueExpression"], plain, STRING, NULL)
            for each in spec.get("auditAnnotations") or ()
        ),
    )


def _variables(
    wires: Sequence[Wire] | None, *, params: bool
) -> tuple[tuple[Expression, ...], dict[str, Type] | None]:
    """Compile variables, of which each may name those before it; without any, none is declared."""
    if not wires:
        return (), None
    found: list[Expression] = []
    types: dict[str, Type] = {}
    for each in wires:
        known = environment(params=params, variables=types)
        made = compiled(each["name"], each["expression"], known)
        found.append(made)
        types[each["name"]] = DYN if made.program is None else made.program.type
    return tuple(found), types


def _validation(wire: Wire, full: Environment, plain: Environment) -> Validation:
    said = wire.get("messageExpression")
    return Validation(
        compiled("", wire["expression"], full, BOOL),
        (wire.get("message") or "").strip(),
        compiled("", said, plain, STRING) if said else None,
        wire.get("reason") or "Invalid",
    )
