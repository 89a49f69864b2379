"""Say what is wrong with a text that is no JSON, in the words of Go's decoder. Pure.

Clients and people look for these words. Source: encoding/json/scanner.go of Go 1.26, and
transformDecodeError in k8s.io/apiserver/pkg/endpoints/handlers/rest.go.
"""

import re
from collections.abc import Mapping

from control.server.wire.errors import StatusError, bad_request

_END = "unexpected end of JSON input"
_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
# As far as a number goes, and where it stops.
_NUMBER_STOPS = (
    (re.compile(rb"-"), "in numeric literal"),
    (re.compile(rb"-?(?:0|[1-9][0-9]*)\."), "after decimal point in numeric literal"),
    (
        re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?[eE][+-]?"),
        "in exponent of numeric literal",
    ),
)
_LITERALS = {b"t": b"true", b"f": b"false", b"n": b"null"}
_MOST_LEVELS = 10_000
# Longer texts are not looked at: of 3 MB, reading takes seconds, and a pattern 120 bytes for each.
_MOST_BYTES = 16 * 1024
_SHOWN = 30
_HEAD = (
    'struct { APIVersion string "json:\\"apiVersion,omitempty\\"";'
    ' Kind string "json:\\"kind,omitempty\\"" }'
)
_GIVEN = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}


class _MalformedError(Exception):
    """The first thing that is wrong with a text."""


def complaint(text: bytes) -> str | None:
    """Return what Go says of a text that is no JSON.

    None if it is JSON, in any encoding, or too long to look for what is wrong.
    """
    if len(text) > _MOST_BYTES:
        return None
    try:
        _read(text)
    except _MalformedError as err:
        return str(err)
    return None


def _read(text: bytes) -> None:
    """Read a text; raises _MalformedError. ``closers`` has the end of each open value."""
    at, closers, wanted = 0, bytearray(), "value"
    while True:
        at = _skip(text, at)
        if wanted == "end":
            if at < len(text) or closers:
                at, wanted = _after_value(text, at, closers)
                continue
            return
        sign = text[at : at + 1]
        if wanted == "key" or (wanted == "first key" and sign != b"}"):
            at = _key(text, at)
            wanted = "value"
        elif (wanted == "first key" and sign == b"}") or (wanted == "item" and sign == b"]"):
            closers.pop()
            at, wanted = at + 1, "end"
        elif sign in (b"{", b"["):
            closers += b"}" if sign == b"{" else b"]"
            if len(closers) > _MOST_LEVELS:
                raise _MalformedError("exceeded max depth")
            at, wanted = at + 1, "first key" if sign == b"{" else "item"
        else:
            at, wanted = _scalar(text, at), "end"


def _after_value(text: bytes, at: int, closers: bytearray) -> tuple[int, str]:
    """Return where the text goes on after a value, and with what."""
    sign = text[at : at + 1]
    if not closers:
        raise _wrong(text, at, "after top-level value")
    if sign == closers[-1:]:
        closers.pop()
        return at + 1, "end"
    in_object = closers[-1:] == b"}"
    if sign == b",":
        return at + 1, "key" if in_object else "value"
    raise _wrong(text, at, f"after {'object key:value pair' if in_object else 'array element'}")


def _key(text: bytes, at: int) -> int:
    if text[at : at + 1] != b'"':
        raise _wrong(text, at, "looking for beginning of object key string")
    at = _skip(text, _string(text, at))
    if text[at : at + 1] != b":":
        raise _wrong(text, at, "after object key")
    return at + 1


def _scalar(text: bytes, at: int) -> int:
    """Return the end of a text, a number or a word."""
    sign = text[at : at + 1]
    if sign == b'"':
        return _string(text, at)
    if sign in _LITERALS:
        return _literal(text, at, _LITERALS[sign])
    if sign == b"-" or sign.isdigit():
        return _number(text, at)
    raise _wrong(text, at, "looking for beginning of value")


def _string(text: bytes, at: int) -> int:
    found = _STRING.match(text, at)
    end = found.end() if found else at
    sign = text[end : end + 1]
    if sign == b'"':
        return end + 1
    if sign != b"\\":
        raise _wrong(text, end, "in string literal")
    if text[end + 1 : end + 2] != b"u":
        raise _wrong(text, end + 1, "in string escape code")
    end += 2
    while text[end : end + 1] in b"0123456789abcdefABCDEF" and end < len(text):
        end += 1
    raise _wrong(text, end, "in \\u hexadecimal character escape")


def _number(text: bytes, at: int) -> int:
    for pattern, where in _NUMBER_STOPS:
        found = pattern.match(text, at)
        if found and not text[found.end() : found.end() + 1].isdigit():
            raise _wrong(text, found.end(), where)
    found = _NUMBER.match(text, at)
    return found.end() if found else at


def _literal(text: bytes, at: int, word: bytes) -> int:
    for index in range(1, len(word)):
        if text[at + index : at + index + 1] != word[index : index + 1]:
            expected = chr(word[index])
            where = f"in literal {word.decode()} (expecting '{expected}')"
            raise _wrong(text, at + index, where)
    return at + len(word)


def _skip(text: bytes, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _wrong(text: bytes, at: int, where: str) -> _MalformedError:
    if at >= len(text):
        return _MalformedError(_END)
    return _MalformedError(f"invalid character {_quoted(text[at])} {where}")


def _quoted(sign: int) -> str:
    """Show a byte as Go does, which takes it for a character."""
    if sign in b"'\"":
        return "'\\''" if sign == ord("'") else "'\"'"
    shown = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 92: "\\\\"}
    if sign in shown:
        return f"'{shown[sign]}'"
    if chr(sign).isprintable():
        return f"'{chr(sign)}'"
    return f"'\\x{sign:02x}'" if sign < 0x80 else f"'\\u{sign:04x}'"


def no_object(value: object, wanted: str = _HEAD) -> str:
    """Return what Go says of a value that should be of its type ``wanted``, an object's head."""
    return f"json: cannot unmarshal {_GIVEN[type(value)]} into Go value of type {wanted}"


def no_names(wire: Mapping[str, object]) -> str | None:
    """Return what Go says of an object whose kind or version is no text; None if they are."""
    for name in wire:
        given = wire[name]
        if name in ("apiVersion", "kind") and given is not None and not isinstance(given, str):
            where = f"Go struct field .{name} of type string"
            return f"json: cannot unmarshal {_GIVEN[type(given)]} into {where}"
    return None


def unrecognized(text: bytes, why: str, wanted: str) -> StatusError:
    """Return the refusal of a body that should be a ``wanted``; empty for DeleteOptions."""
    why = f"couldn't get version/kind; json parse error: {why}"
    if not wanted:
        return bad_request(why)
    what = f"the object provided is unrecognized (must be of type {wanted})"
    return bad_request(f"{what}: {why} ({_summary(text)})")


def _summary(text: bytes) -> str:
    if not text:
        return "<empty>"
    head = text[:_SHOWN]
    shown = head.decode("utf-8", "replace") if text[:1] == b"{" else head.hex()
    return f"{shown} ..." if len(text) > _SHOWN else shown
