"""Check the expressions of a policy with the types of what it matches: warnings for its status.

Source: pkg/admission/plugin/policy/validating/typechecking.go of k8s.io/apiserver.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from control.api.cel.check import Checker
from control.api.cel.errors import CelSyntaxError, CompileError
from control.api.cel.parse import parse
from control.api.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    Field,
    Type,
    list_of,
    map_of,
    object_of,
)
from control.api.custom.validations.declared import escaped, type_of, with_head
from control.api.definitions.table import FieldDefinition, definition, type_name
from control.api.policies.environment import OBJECT, OLD, PARAMS, VARIABLES, environment

Wire = Mapping[str, Any]
_MOST_TYPES = 10
# The letters of scalars in the table of definitions, as OpenAPI has them.
_SCALARS = {
    "s": STRING,
    "i": INT,
    "l": INT,
    "b": BOOL,
    "d": DOUBLE,
    "x": BYTES,
    "T": TIMESTAMP,
    "U": TIMESTAMP,
    "Q": STRING,
    "I": DYN,
}


@dataclass(frozen=True, slots=True)
class Known:
    """A kind that a policy may match: its resource, and a custom one's schema."""

    group: str
    version: str
    kind: str
    resource: str
    schema: Wire | None = None

    @property
    def shown(self) -> str:
        """The kind as Go writes it."""
        group = f"{self.group}/{self.version}" if self.group else f"/{self.version}"
        return f"{group}, Kind={self.kind}"

    @property
    def type(self) -> Type:
        """The type of its objects; ``dyn`` for an unknown one."""
        if self.schema is not None:
            return type_of(with_head(self.schema), self.shown) or DYN
        name = type_name(self.group, self.version, self.kind)
        return _type(name) if name else DYN


class _Fields(Mapping[str, Field]):
    """The fields of one of upstream's types, made when they are asked for: types have cycles."""

    def __init__(self, fields: Mapping[str, FieldDefinition]) -> None:
        self._fields = {escaped(name): (name, each) for name, each in fields.items()}

    def __getitem__(self, name: str) -> Field:
        known, each = self._fields[name]
        inner = _SCALARS.get(each.type) or _type(each.type)
        for many in reversed(each.many):
            inner = list_of(inner) if many == "[" else map_of(STRING, inner)
        return Field(inner, known)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def _type(name: str) -> Type:
    try:
        found = definition(name)
    except KeyError:
        return DYN
    return DYN if found.any or not found.fields else object_of(name, _Fields(found.fields))


def matched(rules: Sequence[Wire], known: Iterable[Known]) -> list[Known]:
    """Return the kinds that rules name, at most ten; what a rule names by * is left out."""
    wanted = {
        (group, version, resource)
        for rule in rules
        for group in rule.get("apiGroups") or ()
        for version in rule.get("apiVersions") or ()
        for resource in rule.get("resources") or ()
    }
    found = [each for each in known if (each.group, each.version, each.resource) in wanted]
    return sorted(found, key=lambda it: it.shown)[:_MOST_TYPES]


def warnings(spec: Wire, known: Sequence[Known]) -> list[dict[str, str]]:
    """Return what is wrong with the expressions of a policy, for any kind that it matches."""
    rules = (spec.get("matchConstraints") or {}).get("resourceRules") or ()
    kinds, found = matched(rules, known), []
    of = spec.get("paramKind")
    params = _params(of, known) if of is not None else None
    for at, validation in enumerate(spec.get("validations") or ()):
        for name in ("expression", "messageExpression"):
            source = validation.get(name)
            wrong = [_checked(spec, source, kind, params) for kind in kinds] if source else []
            if said := "\n".join(filter(None, wrong)):
                where = f"spec.validations[{at}].{name}"
                found.append({"fieldRef": where, "warning": said})
    return found


def _params(of: Wire, known: Sequence[Known]) -> Type:
    for each in known:
        version = f"{each.group}/{each.version}" if each.group else each.version
        if (version, each.kind) == (of.get("apiVersion"), of.get("kind")):
            return each.type
    return DYN


def _checked(spec: Wire, source: str, kind: Known, params: Type | None) -> str:
    """Return what is wrong with an expression about a kind; empty if nothing is."""
    given: dict[str, Type] = {}
    for each in spec.get("variables") or ():
        given[each["name"]] = _typed(each["expression"], kind, params, given)[0]
    wrong = _typed(source, kind, params, given)[1]
    return f"{kind.shown}: {wrong}\n" if wrong else ""


def _typed(
    source: str, kind: Known, params: Type | None, variables: Mapping[str, Type]
) -> tuple[Type, str]:
    made = environment(params=params is not None, variables=variables)
    known = dict(made.variables) | {OBJECT: kind.type, OLD: kind.type}
    if params is not None:
        known[PARAMS] = params
    if not variables:
        known.pop(VARIABLES, None)
    checker = Checker(made.table, known)
    try:
        found = checker.check(parse(source))
    except CelSyntaxError as err:
        return DYN, str(CompileError(source, [err.complaint]))
    if checker.complaints:
        return DYN, str(CompileError(source, checker.complaints))
    return found, ""
