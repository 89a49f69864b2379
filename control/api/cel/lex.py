"""Cut the text of an expression into tokens. Linear in the text."""

import re
from dataclasses import dataclass
from typing import Any

from control.api.cel.errors import CelSyntaxError
from control.api.cel.values import UInt

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n\f]+|//[^\n]*)
  | (?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<int>0x[0-9a-fA-F]+[uU]?|[0-9]+[uU]?)
  | (?P<text>[bB]?[rR]?(?:\"\"\"|'''|"|'))
  | (?P<quoted>`[a-zA-Z0-9_.\-/ ]+`)
  | (?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
  | (?P<sign>&&|\|\||[=!<>]=|[-+*/%!<>?:.,()\[\]{}])
    """,
    re.VERBOSE,
)
_ESCAPE = re.compile(
    r"\\(?:[abfnrtv\\?\"'`]|x[0-9a-fA-F]{2}|X[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}"
    r"|[0-3][0-7]{2}|(?P<bad>.?))",
    re.DOTALL,
)
_LINE_END = re.compile(r"[\r\n]")
_PLAIN = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_MOST_DIGITS = 20
_RESERVED = (
    *("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let"),
    *("loop", "package", "namespace", "return", "var", "void", "while"),
)
RESERVED = frozenset(_RESERVED)


@dataclass(frozen=True, slots=True)
class Token:
    """``sort`` is int, float, text, name, sign or end; ``value`` is a literal's."""

    sort: str
    text: str
    at: int
    value: Any = None


def tokens(source: str) -> list[Token]:
    """Return the tokens of a text, the last one an end; raises CelSyntaxError."""
    found, at = [], 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise CelSyntaxError(at, f"Syntax error: token recognition error at: '{source[at]}'")
        sort, text = str(match.lastgroup), match[0]
        end = match.end()
        if sort == "text":
            token, end = _literal(source, at, text)
            found.append(token)
        elif sort != "space":
            found.append(_token(sort, text, at))
        at = end
    return [*found, Token("end", "<EOF>", len(source))]


def _token(sort: str, text: str, at: int) -> Token:
    if sort == "quoted":
        return Token("quoted", text[1:-1], at)
    if sort == "float":
        return Token(sort, text, at, float(text))
    return Token(sort, text, at, _number(text, at) if sort == "int" else None)


def _number(text: str, at: int) -> int:
    unsigned = text[-1] in "uU"
    digits = text.rstrip("uU")
    base, most = (16, 18) if digits.startswith("0x") else (10, _MOST_DIGITS)
    number = int(digits, base) if len(digits) <= most else 2**64
    if unsigned:
        if number >= 2**64:
            raise CelSyntaxError(at, "invalid uint literal")
        return UInt(number)
    if number > 2**63:  # with a minus it may be the least number
        raise CelSyntaxError(at, "invalid int literal")
    return number


def _literal(source: str, at: int, opening: str) -> tuple[Token, int]:
    """Return a token of text or bytes, and where it ends."""
    prefix = opening.rstrip("\"'").lower()
    quote = opening[len(prefix) :]
    start = at + len(opening)
    end = _end(source, start, quote, raw="r" in prefix)
    if end < 0 or (len(quote) == 1 and _LINE_END.search(source, start, end)):
        why = f"Syntax error: token recognition error at: '{source[at : at + 20]}'"
        raise CelSyntaxError(at, why)
    inner = source[start:end]
    if "r" not in prefix and "\\" in inner:
        value: Any = _unescaped(inner, at, is_bytes="b" in prefix)
    else:
        value = inner.encode() if "b" in prefix else inner
    return Token("text", source[at : end + len(quote)], at, value), end + len(quote)


def _end(source: str, start: int, quote: str, *, raw: bool) -> int:
    end = source.find(quote, start)
    while end >= 0 and not raw:
        before = end
        while before > start and source[before - 1] == "\\":
            before -= 1
        if (end - before) % 2 == 0:
            break
        end = source.find(quote, end + 1)
    return end


def _unescaped(text: str, at: int, *, is_bytes: bool) -> str | bytes:
    parts: list[bytes] = []
    last = 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[last : match.start()].encode())
        parts.append(_sign(match, at, is_bytes=is_bytes))
        last = match.end()
    parts.append(text[last:].encode())
    made = b"".join(parts)
    return made if is_bytes else made.decode()


def _sign(match: re.Match[str], at: int, *, is_bytes: bool) -> bytes:
    """Return what an escape stands for."""
    if match["bad"] is not None:
        raise CelSyntaxError(at, f"unable to unescape string: {match[0]!r}")
    text = match[0][1:]
    if text[0] in "xX":
        code = int(text[1:], 16)
    elif text[0] in "uU" and len(text) > 1:
        if is_bytes:
            raise CelSyntaxError(at, f"unable to unescape string: {match[0]!r}")
        code = int(text[1:], 16)
    elif text[0].isdigit():
        code = int(text, 8)
    else:
        return bytes((_PLAIN.get(text[0], ord(text[0])),))
    if is_bytes:
        return bytes((code,))
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise CelSyntaxError(at, "invalid unicode code point")
    return chr(code).encode()
