"""Paths into objects, as kubectl's JSONPath: columns, selectable fields, scales. Pure.

Source: k8s.io/client-go/util/jsonpath, of which this is what a column may need: names with dots,
``['name']``, ``[0]``, ``[*]``, and filters such as ``[?(@.type=="Ready")]``. Each step is taken
once for each value that the steps before it have found.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

Step = Callable[[Any], Iterator[Any]]
# Values that one path finds; a column shows the first.
_MOST = 1000
_LONGEST = 1024
_NAME = re.compile(r"\.((?:[^.\[\]\\]|\\.)+)")
_QUOTED = re.compile(r"""\[\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\s*\]""")
_INDEX = re.compile(r"\[\s*(-?[0-9]{1,9})\s*\]")
_ALL = re.compile(r"\.?\[\s*\*\s*\]|\.\*")
_FILTER = re.compile(
    r"""\[\?\(\s*@((?:\.[A-Za-z0-9_/\\.-]+)?)\s*(?:(==|!=|<=|>=|<|>)\s*("""
    r"""'[^']*'|"[^"]*"|-?[0-9]+(?:\.[0-9]+)?|true|false)\s*)?\)\]"""
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": lambda one, two: bool(one == two),
    "!=": lambda one, two: bool(one != two),
    "<": lambda one, two: bool(one < two),
    "<=": lambda one, two: bool(one <= two),
    ">": lambda one, two: bool(one > two),
    ">=": lambda one, two: bool(one >= two),
}


class PathError(ValueError):
    """A path that is malformed, or that podwire does not know."""


class Path:
    """A parsed path; raises PathError."""

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise PathError(f"a path may have {_LONGEST} characters")
        self.text = text
        self._steps = tuple(_steps(text))

    def find(self, value: Any) -> list[Any]:
        """Return the values at the path, in their order; none if a member is absent."""
        found = [value]
        for step in self._steps:
            found = [each for one in found for each in step(one)][:_MOST]
        return found

    def first(self, value: Any) -> Any:
        """Return the first value at the path; None if there is none."""
        return next(iter(self.find(value)), None)


def _steps(text: str) -> Iterator[Step]:
    at = 1 if text == "." else 0
    while at < len(text):
        for pattern, make in _FORMS:
            if match := pattern.match(text, at):
                yield make(match)
                at = match.end()
                break
        else:
            raise PathError(f"unexpected text at {text[at:][:20]!r}")


def _member(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _named(match: re.Match[str]) -> Step:
    return _member(re.sub(r"\\(.)", r"\1", match[1]))


def _quoted(match: re.Match[str]) -> Step:
    return _member(re.sub(r"\\(.)", r"\1", match[1] if match[1] is not None else match[2]))


def _item(match: re.Match[str]) -> Step:
    index = int(match[1])

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _every(_: re.Match[str]) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list | dict):
            yield from value.values() if isinstance(value, dict) else value

    return step


def _filter(match: re.Match[str]) -> Step:
    inner, sign, literal = Path(match[1] or "."), match[2], match[3]
    wanted = _literal(literal) if literal else None

    def fits(item: Any) -> bool:
        found = inner.find(item)
        if not sign:
            return bool(found)
        try:
            return bool(found) and _COMPARE[sign](found[0], wanted)
        except TypeError:
            return False

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from filter(fits, value)

    return step


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    return float(text) if "." in text else int(text)


_FORMS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Step]], ...] = (
    (_FILTER, _filter),
    (_ALL, _every),
    (_INDEX, _item),
    (_QUOTED, _quoted),
    (_NAME, _named),
)
