"""Parse label and field selectors as kubectl writes them, and match objects. Pure.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ and
.../field-selectors/; the grammar is that of k8s.io/apimachinery labels.Parse and
fields.ParseSelector.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from control.api import field
from control.api.meta import LabelSelector
from control.api.validation.text import label_value, qualified_name

IN, NOT_IN, EXISTS, DOES_NOT_EXIST, GT, LT = "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"


class SelectorError(ValueError):
    """A malformed selector; the message names the place."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label; ``operator`` is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return True if labels meet this; an absent label meets NotIn and DoesNotExist."""
        value = labels.get(self.key)
        if value is None:
            return self.operator in (NOT_IN, DOES_NOT_EXIST)
        if self.operator in (GT, LT):
            return _compare(self.operator, value, next(iter(self.values), ""))
        if self.operator == IN:
            return value in self.values
        if self.operator == NOT_IN:
            return value not in self.values
        return self.operator == EXISTS


def _compare(operator: str, value: str, bound: str) -> bool:
    try:
        have, limit = int(value), int(bound)
    except ValueError:
        return False
    return have > limit if operator == GT else have < limit


@dataclass(frozen=True, slots=True)
class Labels:
    """A selector that matches if all requirements hold; without any, it matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


def from_model(selector: LabelSelector) -> Labels:
    """Read the selector of a workload; raises SelectorError for an unknown operator."""
    wanted = [Requirement(k, IN, frozenset([v])) for k, v in selector.match_labels.items()]
    for expression in selector.match_expressions:
        if expression.operator not in (IN, NOT_IN, EXISTS, DOES_NOT_EXIST):
            raise SelectorError(f'"{expression.operator}" is not a valid label selector operator')
        wanted.append(
            Requirement(expression.key, expression.operator, frozenset(expression.values))
        )
    return Labels(tuple(wanted))


def selects(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Match a workload's selector: None matches nothing, an empty one everything."""
    return selector is not None and from_model(selector).matches(labels)


def format_labels(selector: LabelSelector) -> str:
    """Write a selector for a ``labelSelector`` query or a scale's ``status.selector``."""
    parts = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    for item in sorted(selector.match_expressions, key=lambda e: (e.key, e.operator)):
        parts.append(_format_expression(item.key, item.operator, sorted(item.values)))
    return ",".join(parts)


def _format_expression(key: str, operator: str, values: list[str]) -> str:
    if operator == EXISTS:
        return key
    if operator == DOES_NOT_EXIST:
        return f"!{key}"
    return f"{key} {operator.lower()} ({','.join(values)})"


# Go's white space, and nothing else, is between two tokens.
_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!<>(),]|[^ \t\r\n=!<>(),]+|$)")
_SIGNS = {"=": IN, "==": IN, "!=": NOT_IN, ">": GT, "<": LT}
_WORDS = {"in": IN, "notin": NOT_IN}
_MARKS = {*_SIGNS, "!", "(", ")", ",", ""}
_EXPECTED = "in, notin, =, ==, !=, gt, lt"
_INTEGER = "for 'Gt', 'Lt' operators, the value must be an integer"


def parse_labels(text: str) -> Labels:
    """Parse a label selector: ``app=web,tier in (a,b),!canary``; raises SelectorError."""
    tokens = _Tokens(text)
    if tokens.next == "":
        return Labels()
    if not tokens.is_word and tokens.next != "!":
        raise SelectorError(f"found '{tokens.next}', expected: !, identifier, or 'end of string'")
    found = [_requirement(tokens)]
    while (sign := tokens.take()) != "":
        if sign != ",":
            raise SelectorError(f"found '{sign}', expected: ',' or 'end of string'")
        if not tokens.is_word and tokens.next != "!":
            raise SelectorError(f"found '{tokens.next}', expected: identifier after ','")
        found.append(_requirement(tokens))
    return Labels(tuple(found))


class _Tokens:
    """The tokens of a selector; an empty one is its end."""

    def __init__(self, text: str) -> None:
        self._found = [match[1] for match in _TOKEN.finditer(text)]
        self._at = 0

    @property
    def next(self) -> str:
        """The token that ``take`` will return."""
        return self._found[self._at] if self._at < len(self._found) else ""

    @property
    def is_word(self) -> bool:
        """True if that is a key or a value."""
        return self.next not in _MARKS

    def take(self) -> str:
        word = self.next
        self._at += 1
        return word


def _unparsed(why: str) -> SelectorError:
    return SelectorError(f"unable to parse requirement: {why}")


def _requirement(tokens: _Tokens) -> Requirement:
    is_negated = tokens.next == "!"
    if is_negated:
        tokens.take()
    if not tokens.is_word:
        raise _unparsed(f"found '{tokens.next}', expected: identifier")
    key = tokens.take()
    if wrong := qualified_name(key):
        why = "; ".join(wrong).replace("a qualified name", "a valid label key")
        raise _unparsed(str(field.invalid("<nil>", key, why)))
    if is_negated:
        return Requirement(key, DOES_NOT_EXIST)
    if tokens.next in ("", ","):
        return Requirement(key, EXISTS)
    sign = tokens.take()
    if sign in _WORDS:
        return _checked(Requirement(key, _WORDS[sign], _value_set(tokens)))
    if sign not in _SIGNS:
        raise _unparsed(f"found '{sign}', expected: {_EXPECTED}")
    return _checked(Requirement(key, _SIGNS[sign], frozenset([_single(tokens)])))


def _single(tokens: _Tokens) -> str:
    if tokens.next in ("", ","):  # "app=" and "app=,b=c" are valid: they mean the empty value
        return ""
    if not tokens.is_word:
        raise _unparsed(f"found '{tokens.next}', expected: identifier")
    return tokens.take()


def _value_set(tokens: _Tokens) -> frozenset[str]:
    if (word := tokens.take()) != "(":
        raise _unparsed(f"found '{word}' expected: '('")
    if tokens.next == ")":
        tokens.take()
        return frozenset([""])
    if not tokens.is_word and tokens.next != ",":
        raise _unparsed(f"found '{tokens.next}', expected: ',', ')' or identifier")
    values: set[str] = set()
    while True:
        values.add(tokens.take() if tokens.is_word else "")
        word = tokens.take()
        if word == ")":
            return frozenset(values)
        if word != ",":
            raise _unparsed(f"found '{word}', expected: ',' or ')'")
        if not tokens.is_word and tokens.next not in (",", ")"):
            raise _unparsed(f"found '{tokens.next}', expected: ',', or identifier")


def _checked(made: Requirement) -> Requirement:
    """Refuse values that no label has; raises SelectorError."""
    found = []
    values = [*enumerate(sorted(made.values))]
    if made.operator in (GT, LT):
        wrong = ((at, value) for at, value in values if not _is_integer(value))
        found += [field.invalid(f"values[{at}]", value, _INTEGER) for at, value in wrong]
    for at, value in values:
        if why := label_value(value):
            found.append(field.invalid(f"values[{at}][{made.key}]", value, "; ".join(why)))
    if found:
        texts = [str(each) for each in found]
        raise _unparsed(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    return made


def _is_integer(text: str) -> bool:
    """Return True for what Go's ParseInt takes: an int64."""
    return bool(re.fullmatch(r"[+-]?[0-9]{1,40}", text)) and -(2**63) <= int(text) < 2**63


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One condition on a field, such as ``spec.nodeName``.

    ``zero`` is the text of an absent field: ``false`` for a boolean. ``instead`` is the path of the
    field that counts where the first one is empty.
    """

    path: str
    value: str
    equal: bool = True
    zero: str = ""
    instead: str = ""

    def matches(self, wire: Mapping[str, Any]) -> bool:
        """Return True if a decoded object meets the condition."""
        text = field_value(wire, self.path)
        if not text and self.instead:
            text = field_value(wire, self.instead)
        return ((text or self.zero) == self.value) == self.equal


@dataclass(frozen=True, slots=True)
class Fields:
    """A selector that matches if all requirements hold; without any, it matches everything."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, wire: Mapping[str, Any]) -> bool:
        """Return True if a decoded object meets all; an absent field is its type's zero."""
        return all(requirement.matches(wire) for requirement in self.requirements)


def field_value(wire: Mapping[str, Any], path: str) -> str:
    """Return a field by its path as text; an absent field is empty."""
    value: Any = wire
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def parse_fields(text: str) -> Fields:
    """Parse a field selector: ``spec.nodeName=a,status.phase!=Failed``; raises SelectorError."""
    parts = sorted(part for part in _UNESCAPED_COMMA.split(text) if part)
    found = [_field_requirement(text, part) for part in parts]
    return Fields(tuple(one for one in found if one.path or one.value))


_UNESCAPED_COMMA = re.compile(r"(?<!\\),")
_TERM = re.compile(r"(.*?)(!=|==|=)(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(.?)|([,=])", re.DOTALL)


def _field_requirement(whole: str, text: str) -> FieldRequirement:
    match = _TERM.fullmatch(text)
    if match is None:
        raise SelectorError(f"invalid selector: '{whole}'; can't understand '{text}'")
    value = _ESCAPE.sub(_unescaped, match[3])
    return FieldRequirement(match[1], value, equal=match[2] != "!=")


def _unescaped(match: re.Match[str]) -> str:
    if match[2]:
        why = f"unescaped character in value: {ord(match[2])}"
    elif match[1] in ("\\", ",", "=") and match[1]:
        return match[1]
    else:
        why = f"invalid escape sequence: {match[0]}"
    raise SelectorError(f"invalid field selector: {why}")
