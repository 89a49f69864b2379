"""Functions of texts: CEL's extension for them, of version 2, and Kubernetes' regular expressions.

Source: ext/strings.go of github.com/google/cel-go, pkg/cel/library/regex.go of k8s.io/apiserver.
"""

from typing import Any

from control.api.cel.errors import EvaluationError
from control.api.cel.functions.clauses import ESCAPES, formatted, text_of
from control.api.cel.functions.standard import deep, passes
from control.api.cel.functions.table import Overload, either
from control.api.cel.meter import Meter, of_text
from control.api.custom.patterns import Pattern, PatternError, compiled

_SPACE = "".join(map(chr, (*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B))))
_SPACE += "".join(map(chr, (0x2028, 0x2029, 0x202F, 0x205F, 0x3000)))
_MOST = 1_000_000  # characters of a text that is made
_PASSED = 16384  # characters that a pattern may pass for a unit
_MATCH, _PASS = 10, 200  # what takes the time of units: a match ten, characters passed one


def _char(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise EvaluationError(f"index out of range: {at}")
    return text[at : at + 1]


def _index(text: str, part: str, start: int = 0) -> int:
    if not part:
        return start
    if start < 0:
        raise EvaluationError(f"index out of range: {start}")
    return text.find(part, start) if start < len(text) else -1


def _last_index(text: str, part: str, end: int | None = None) -> int:
    if not part:
        return len(text) if end is None else end
    if end is None:
        return text.rfind(part)
    if end < 0:
        raise EvaluationError(f"index out of range: {end}")
    return text.rfind(part, 0, end + len(part)) if end < len(text) else -1


def _lower(text: str) -> str:
    return text.translate(_TO_LOWER)


def _upper(text: str) -> str:
    return text.translate(_TO_UPPER)


_TO_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_TO_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    times = min(text.count(old), count) if count >= 0 else text.count(old)
    if len(text) + times * len(new) > _MOST:
        raise EvaluationError("replace: its result is too long")
    return text.replace(old, new, count)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if not separator:
        signs = list(text)
        return signs if count < 0 or len(signs) <= count else _limited(signs, count)
    return text.split(separator, count - 1 if count > 0 else -1)


def _limited(signs: list[str], count: int) -> list[str]:
    return [*signs[: count - 1], "".join(signs[count - 1 :])]


def _substring(text: str, start: int, end: int | None = None) -> str:
    if end is not None and start > end:
        raise EvaluationError(f"invalid substring range. start: {start}, end: {end}")
    for at in (start, len(text) if end is None else end):
        if not 0 <= at <= len(text):
            raise EvaluationError(f"index out of range: {at}")
    return text[start:end]


def _join(items: list[Any], separator: str = "") -> str:
    for each in items:
        if each.__class__ is not str:
            raise EvaluationError(f"join: invalid input: {text_of(each)}")
    return separator.join(items)


def _joined(items: list[Any], separator: str = "") -> int:
    size = sum(len(each) for each in items if each.__class__ is str)
    return len(items) + of_text(2 * (size + len(items) * len(separator)))


def _quote(text: str) -> str:
    return '"' + "".join(ESCAPES.get(sign, sign) for sign in text) + '"'


def _pattern(text: str) -> Pattern:
    try:
        return compiled(text)
    except PatternError as err:
        raise EvaluationError(f"Illegal regex: {err.go}") from err


def _find(text: str, pattern: str) -> str:
    match = _pattern(pattern).search(text)
    return text[slice(*match.span())] if match else ""


def _find_all(meter: Meter, text: str, pattern: str, limit: int = -1) -> list[str]:
    """Return at most ``limit`` matches, all for a negative one.

    Upstream counts one pass through the text. Each match may take another, so what they take beyond
    that is spent as well: an empty pattern, which costs nothing, has as many as there are letters.
    """
    known = _pattern(pattern)
    matches = known.finditer(text.encode()) if text.isascii() else known.finditer(text)
    found: list[str] = []
    paid = passes(text, pattern)
    for match in matches:
        if 0 <= limit <= len(found):
            break
        start, end = match.span()
        rest = len(text) - start
        cost = 1 + rest // _PASSED
        meter.spend(max(0, cost - paid), _MATCH + rest // _PASS)
        paid = max(0, paid - cost)
        found.append(text[start:end])
    return found


def _once(text: str, *_: Any) -> int:
    return of_text(len(text))


def _twice(text: str, *_: Any) -> int:
    return of_text(2 * len(text))


STRINGS = (
    Overload("charAt", "string.(int) string", _char),
    *either("indexOf", "string.(string[, int]) int", _index, _once),
    *either("lastIndexOf", "string.(string[, int]) int", _last_index, _once),
    Overload("lowerAscii", "string.() string", _lower, _once),
    Overload("upperAscii", "string.() string", _upper, _once),
    *either("replace", "string.(string, string[, int]) string", _replace, _twice),
    *either("split", "string.(string[, int]) list<string>", _split, _twice),
    *either("substring", "string.(int[, int]) string", _substring, _once),
    Overload("trim", "string.() string", lambda text: text.strip(_SPACE), _once),
    *either("join", "list<string>.([string]) string", _join, _joined),
    Overload("strings.quote", "(string) string", _quote, _once),
    Overload("format", "string.(list<dyn>) string", formatted, lambda a, b: _once(a) + deep(b)),
    Overload("find", "string.(string) string", _find, passes),
    *either("findAll", "string.(string[, int]) list<string>", _find_all, passes, metered=True),
)
