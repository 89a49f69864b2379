"""Parse label and field selectors as kubectl writes them, and match objects. Pure.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ and
.../field-selectors/; the grammar is that of k8s.io/apimachinery labels.Parse and
fields.ParseSelector.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from control.api.meta import LabelSelector

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


_TOKEN = re.compile(r"\s*(?:(?P<op>==|!=|[=!<>(),])|(?P<word>[^\s=!<>(),]+))")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SIGNS = {"=": IN, "==": IN, "!=": NOT_IN, ">": GT, "<": LT}
_WORDS = {"in": IN, "notin": NOT_IN}


def parse_labels(text: str) -> Labels:
    """Parse a label selector: ``app=web,tier in (a,b),!canary``; raises SelectorError."""
    tokens = _Tokens(text)
    if tokens.peek() is None:
        return Labels()
    found = [_requirement(tokens)]
    while tokens.peek() is not None:
        tokens.expect(",")
        found.append(_requirement(tokens))
    return Labels(tuple(found))


class _Tokens:
    """The tokens of a selector, with one token of lookahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._found = list(self._split(text.rstrip()))
        self._at = 0

    @staticmethod
    def _split(text: str) -> Iterator[str]:
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:  # pragma: no cover - the two groups cover every character
                raise SelectorError(f"unable to parse requirement: {text!r}")
            position = match.end()
            yield match["op"] or match["word"]

    def peek(self) -> str | None:
        return self._found[self._at] if self._at < len(self._found) else None

    def take(self) -> str:
        word = self.peek()
        if word is None:
            raise SelectorError(f"unable to parse requirement: {self._text!r} ends too early")
        self._at += 1
        return word

    def expect(self, sign: str) -> None:
        word = self.take()
        if word != sign:
            raise SelectorError(f"unable to parse requirement: found '{word}', expected: '{sign}'")


def _requirement(tokens: _Tokens) -> Requirement:
    if tokens.peek() == "!":
        tokens.take()
        return Requirement(_key(tokens.take()), DOES_NOT_EXIST)
    key = _key(tokens.take())
    sign = tokens.peek()
    if sign in (None, ","):
        return Requirement(key, EXISTS)
    tokens.take()
    if sign in _WORDS:
        return Requirement(key, _WORDS[sign], _value_set(tokens))
    if sign not in _SIGNS:
        raise SelectorError(
            f"unable to parse requirement: found '{sign}', expected: in, notin, =, ==, !=, gt, lt"
        )
    return _single(key, _SIGNS[sign], tokens)


def _single(key: str, operator: str, tokens: _Tokens) -> Requirement:
    # "app=" and "app=,b=c" are valid: they mean the empty value
    value = "" if tokens.peek() in (None, ",") else _value(tokens.take())
    if operator in (GT, LT) and not re.fullmatch(r"[+-]?\d+", value):
        raise SelectorError(f"values[0][{key}]: Invalid value: {value!r}: not an integer")
    return Requirement(key, operator, frozenset([value]))


def _value_set(tokens: _Tokens) -> frozenset[str]:
    tokens.expect("(")
    values: set[str] = set()
    while True:
        word = tokens.take()
        if word in (",", ")"):
            values.add("")
        else:
            values.add(_value(word))
            word = tokens.take()
        if word == ")":
            return frozenset(values)
        if word != ",":
            raise SelectorError(
                f"unable to parse requirement: found '{word}', expected: ',' or ')'"
            )


def _key(word: str) -> str:
    prefix, slash, name = word.rpartition("/")
    if not _NAME.fullmatch(name) or (slash and not _PREFIX.fullmatch(prefix)):
        raise SelectorError(f"key: Invalid value: {word!r}: not a valid label key")
    return word


def _value(word: str) -> str:
    if not _NAME.fullmatch(word):
        raise SelectorError(f"values[0]: Invalid value: {word!r}: not a valid label value")
    return word


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
    parts = [part.strip() for part in _split_unescaped(text) if part.strip()]
    return Fields(tuple(_field_requirement(part) for part in parts))


def _split_unescaped(text: str) -> list[str]:
    return re.split(r"(?<!\\),", text)


def _field_requirement(text: str) -> FieldRequirement:
    match = re.fullmatch(r"([^=!]+)(==|!=|=)(.*)", text, re.DOTALL)
    if match is None:
        raise SelectorError(f"invalid selector: {text!r}; can't understand {text!r}")
    value = re.sub(r"\\([\\,=])", r"\1", match[3])
    return FieldRequirement(match[1].strip(), value, equal=match[2] != "!=")
