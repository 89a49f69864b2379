"""Validate ValidatingAdmissionPolicies and their bindings. Pure.

Source: k8s.io/kubernetes/pkg/apis/admissionregistration/validation
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from control.api import field
from control.api.field import FieldError
from control.api.meta import Object
from control.api.validation import text
from control.api.validation.meta import invalid_each
from control.api.validation.stored.match import (
    FAILURE_POLICIES,
    condition_errors,
    match_errors,
    one_of,
    selector_errors,
)

if TYPE_CHECKING:
    from control.api.policies.compiled import Expression

Wire = Mapping[str, Any]
_REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_ACTIONS = ("Audit", "Deny", "Warn")
_MISSING = ("Deny", "Allow")  # in upstream's order
_MOST_ANNOTATIONS = 20
_LONGEST_VALUE = 5 * 1024
_NAME = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_BOTH = (
    "must not contain both Deny and Warn (repeating the same validation failure information in the"
    " API response and headers serves no purpose)"
)


def validate_policy(policy: Object) -> list[FieldError]:
    """Check a policy, new or not, and compile its expressions."""
    spec: Wire = policy.wire().get("spec") or {}
    return _common_errors(spec) + list(_content_errors(spec, policy.metadata.name))


def _common_errors(spec: Wire) -> list[FieldError]:
    """Return what is wrong with what both sorts of policies have."""
    found = one_of("spec.failurePolicy", spec.get("failurePolicy"), FAILURE_POLICIES)
    if (kind := spec.get("paramKind")) is not None:
        found += _kind_errors(kind, "spec.paramKind")
    match = spec.get("matchConstraints")
    if match is None:
        found.append(field.required("spec.matchConstraints"))
    else:
        found += match_errors(match, "spec.matchConstraints")
        if not match.get("resourceRules"):
            found.append(field.required("spec.matchConstraints.resourceRules"))
    conditions = spec.get("matchConditions") or ()
    return found + list(
        condition_errors(conditions, "spec.matchConditions", params=kind is not None)
    )


def validate_mutating_policy(policy: Object) -> list[FieldError]:
    """Check a mutating policy, new or not, and compile its expressions."""
    spec: Wire = policy.wire().get("spec") or {}
    return _common_errors(spec) + list(_operation_errors(spec)) + list(_mutation_errors(spec))


def _operation_errors(spec: Wire) -> Iterator[FieldError]:
    """Nothing is left to change of an object that is deleted."""
    for rule in (spec.get("matchConstraints") or {}).get("resourceRules") or ():
        for each in rule.get("operations") or ():
            path = "spec.matchConstraints.resourceRules.operations"
            yield from one_of(path, each, _MUTATED)


_PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
_REINVOCATIONS = ("IfNeeded", "Never")
_MUTATED = ("*", "CONNECT", "CREATE", "UPDATE")


def _mutation_errors(spec: Wire) -> Iterator[FieldError]:
    from control.api.policies.compiled import mutating_of

    made, mutations = mutating_of(spec), spec.get("mutations") or ()
    yield from _variable_errors(spec.get("variables") or (), made.variables)
    if not mutations:
        yield field.required("spec.mutations", "mutations must contain at least one item")
    for at, each in enumerate(mutations):
        path, sort = f"spec.mutations[{at}]", each.get("patchType") or ""
        if not sort:
            yield field.required(f"{path}.patchType")
            continue
        if sort not in _PATCHES:
            yield field.not_supported(f"{path}.patchType", sort, _PATCHES)
            continue
        for other, name in sorted(_PATCHES.items(), key=lambda it: it[0] != sort):
            if other == sort and each.get(name) is None:
                yield field.required(
                    f"{path}.{name}", f"must be specified when patchType is {sort}"
                )
            elif other == sort:
                where = f"{path}.{name}.expression"
                yield from _expression_errors(made.mutations[at][1], where, said="")
            elif each.get(name) is not None:
                why = f"must not be specified when patchType is {sort}"
                yield field.invalid(f"{path}.{name}", f"{{{name}}}", why)
    again = spec.get("reinvocationPolicy") or ""
    if not again:
        yield field.required("spec.reinvocationPolicy")
    else:
        yield from one_of("spec.reinvocationPolicy", again, _REINVOCATIONS)


def _content_errors(spec: Wire, name: str) -> Iterator[FieldError]:
    from control.api.policies.compiled import policy_of  # nothing of it before there is a policy

    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        why = "validations or auditAnnotations must contain at least one item"
        yield field.required("spec.validations", why)
        yield field.required("spec.auditAnnotations", why)
    made = policy_of(spec)
    yield from _variable_errors(spec.get("variables") or (), made.variables)
    for at, wire in enumerate(validations):
        path, each = f"spec.validations[{at}]", made.validations[at]
        yield from _expression_errors(each.condition, f"{path}.expression")
        yield from _message_errors(wire, each.computed, path)
    if len(annotations) > _MOST_ANNOTATIONS:
        why = f"must not have more than {_MOST_ANNOTATIONS} auditAnnotations"
        yield field.invalid("spec.auditAnnotations", list(annotations), why)
    yield from _annotation_errors(annotations, made.annotations, name)


def _expression_errors(
    made: "Expression", path: str, said: str = "is not specified"
) -> Iterator[FieldError]:
    if not made.source.strip():
        yield field.required(path, f"{path.rpartition('.')[2]} {said}" if said else "")
    else:
        yield from made.errors(path)


def _variable_errors(wires: Sequence[Wire], made: "Sequence[Expression]") -> Iterator[FieldError]:
    from control.api.cel.lex import RESERVED

    for at, wire in enumerate(wires):
        path, name = f"spec.variables[{at}]", wire.get("name") or ""
        if not name.strip():
            yield field.required(f"{path}.name", "name is not specified")
        elif not _NAME.fullmatch(name) or name in {*RESERVED, "true", "false", "null", "in"}:
            yield field.invalid(f"{path}.name", name, "must be a valid CEL identifier")
        yield from _expression_errors(made[at], f"{path}.expression")


def _message_errors(wire: Wire, computed: "Expression | None", path: str) -> Iterator[FieldError]:
    if computed is not None and not computed.source.strip():
        why = "must be non-empty if specified"
        yield field.invalid(f"{path}.messageExpression", computed.source, why)
    elif computed is not None:
        yield from _expression_errors(computed, f"{path}.messageExpression")
    message = wire.get("message") or ""
    if message and not message.strip():
        yield field.invalid(f"{path}.message", message, "must be non-empty if specified")
    elif "\n" in message.strip() or "\r" in message.strip():
        yield field.invalid(f"{path}.message", message, "must not contain line breaks")
    if (reason := wire.get("reason")) is not None:
        yield from one_of(f"{path}.reason", reason, _REASONS)


def _annotation_errors(
    wires: Sequence[Wire], made: "Sequence[Expression]", name: str
) -> Iterator[FieldError]:
    seen = set()
    for at, wire in enumerate(wires):
        path, key = f"spec.auditAnnotations[{at}]", wire.get("key") or ""
        whole = f"{name}/{key}"
        yield from invalid_each(f"{path}.key", whole, text.qualified_name(whole))
        if len(made[at].source.strip().encode()) > _LONGEST_VALUE:
            why = f"must not exceed {_LONGEST_VALUE} bytes in length"
            yield field.required(f"{path}.valueExpression", why)
        else:
            yield from _expression_errors(made[at], f"{path}.valueExpression")
        if key in seen:
            yield field.duplicate(f"{path}.key", key)
        seen.add(key)


def _kind_errors(kind: Wire, path: str) -> Iterator[FieldError]:
    api_version, name = kind.get("apiVersion") or "", kind.get("kind") or ""
    where = f"{path}.apiVersion"
    group, _, version = api_version.rpartition("/")
    if not api_version:
        yield field.required(where)
    elif "/" in group:
        why = f"unexpected GroupVersion string: {api_version}"
        yield field.invalid(where, api_version, why)
    else:
        if group and (wrong := text.dns_subdomain(group)):
            yield field.invalid(where, group, ",".join(wrong))
        if not version:
            yield field.invalid(where, api_version, "version must be specified")
        elif wrong := text.dns_1035_label(version):
            yield field.invalid(where, version, ",".join(wrong))
    if not name:
        yield field.required(f"{path}.kind")
    elif wrong := text.dns_1035_label(name.lower()):
        why = "may have mixed case, but should otherwise match: " + ",".join(wrong)
        yield field.invalid(f"{path}.kind", name, why)


def validate_binding(binding: Object) -> list[FieldError]:
    """Check a binding, new or not."""
    spec: Wire = binding.wire().get("spec") or {}
    actions = _action_errors(spec.get("validationActions") or [], "spec.validationActions")
    return _bound_errors(spec) + list(actions)


def validate_mutating_binding(binding: Object) -> list[FieldError]:
    """Check a binding of a mutating policy, new or not."""
    return _bound_errors(binding.wire().get("spec") or {})


def _bound_errors(spec: Wire) -> list[FieldError]:
    name, found = spec.get("policyName") or "", list[FieldError]()
    if not name:
        found.append(field.required("spec.policyName"))
    else:
        found += invalid_each("spec.policyName", name, text.dns_subdomain(name))
    if (params := spec.get("paramRef")) is not None:
        found += _params_errors(params, "spec.paramRef")
    if (match := spec.get("matchResources")) is not None:
        found += match_errors(match, "spec.matchResources")
    return found


def _action_errors(actions: list[str], path: str) -> Iterator[FieldError]:
    seen = set()
    for at, each in enumerate(actions):
        yield from one_of(f"{path}[{at}]", each, _ACTIONS)
        if each in seen:
            yield field.duplicate(f"{path}[{at}]", each)
        seen.add(each)
    if {"Deny", "Warn"} <= seen:
        yield field.invalid(path, actions, _BOTH)
    if not seen:
        yield field.required(path, "at least one validation action is required")


def _params_errors(params: Wire, path: str) -> Iterator[FieldError]:
    name, selector = params.get("name") or "", params.get("selector")
    exclusive = "name and selector are mutually exclusive"
    if name:
        yield from invalid_each(f"{path}.name", name, text.path_segment(name))
    if name and selector is not None:
        yield field.forbidden(f"{path}.name", exclusive)
    yield from selector_errors(selector, f"{path}.selector")
    if name and selector is not None:
        yield field.forbidden(f"{path}.selector", exclusive)
    if not name and selector is None:
        yield field.required(path, "one of name or selector must be specified")
    missing = params.get("parameterNotFoundAction") or ""
    if not missing:
        yield field.required(f"{path}.parameterNotFoundAction")
    else:
        if missing not in _MISSING:
            where = f"{path}.parameterNotFoundAction"
            yield field.not_supported_in_order(where, missing, _MISSING)
