"""Write the YAML of an answer as upstream does: names sorted, lists not indented. Pure.

The text comes line by line, so that a large object takes no long step. A value that cannot be plain
text is quoted as Go's encoder does (encode.go and emitterc.go of go.yaml.in/yaml/v2).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from control.server.wire.yaml.scalars import YamlError, plain

_SIMPLE = 128  # characters of a name that stands before its colon in one line
_PIECE = 8 * 1024  # characters that are encoded at once
# Text that is plain beyond doubt: no word that means another value begins so and goes on so.
_PLAIN = re.compile(r"[A-Za-z_/][\w./-]*[./-][\w./-]*|[A-Z][a-z]+[A-Z]\w*", re.ASCII)
_NOT_FIRST = re.compile(r"[,\[\]{}#&*!|>'\"%@`]|[-?:](?:\s|$)|---|\.\.\.|[ ]")
_NOT_INSIDE = re.compile(r": |:$| #| $")
_SPECIAL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_NOT_LITERAL = re.compile(r"[ ](?:\n|$)|\A[ \n]")
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_SIXTY = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?", re.ASCII)

Level = tuple[str, bool, Iterator[Any]]  # the indentation, whether it is a list, what is left


def pieces(value: Any) -> Iterator[bytes]:
    """Yield the YAML of a JSON value in pieces of some KiB."""
    return grouped(lines(value))


def listed(head: Mapping[str, Any], name: str, items: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the YAML of an object whose member ``name`` is a list of objects in JSON."""
    return grouped(_listed(head, name, items))


def _listed(head: Mapping[str, Any], name: str, items: Iterable[bytes]) -> Iterator[str]:
    before = {key: value for key, value in head.items() if key < name}
    after = {key: value for key, value in head.items() if key > name}
    yield from lines(before) if before else ()
    several = False
    for item in items:
        if not several:
            yield f"{name}:"
        several = True
        yield from lines([orjson.loads(item)])
    if not several:
        yield f"{name}: []"
    yield from lines(after) if after else ()


def grouped(found: Iterable[str]) -> Iterator[bytes]:
    """Yield lines together, up to some KiB."""
    group: list[str] = []
    size = 0
    for line in found:
        group.append(line)
        size += len(line)
        if size > _PIECE:
            yield ("\n".join(group) + "\n").encode()
            group, size = [], 0
    if group:
        yield ("\n".join(group) + "\n").encode()


def lines(value: Any) -> Iterator[str]:
    """Yield the lines of a JSON value."""
    if not isinstance(value, dict | list) or not value:
        yield _scalar(value, "")
        return
    # A stack of its own: the lines of a deep object would pass through a generator for each level.
    stack: list[Level] = [_level("", value)]
    lead = ""  # the dash before the first line of what a list holds
    while stack:
        pad, in_list, left = stack[-1]
        if (entry := next(left, None)) is None:
            stack.pop()
            continue
        inner, head = entry[-1], f"{pad}-"
        if not in_list:
            key = _key(entry[0])
            head = f"{pad}{key}:"
            if len(key) > _SIMPLE:
                yield lead + f"{pad}? {key}"[len(lead) :]
                head, lead = f"{pad}:", ""
        head, lead = lead + head[len(lead) :], ""
        if not isinstance(inner, dict | list) or not inner:
            yield f"{head} {_scalar(inner, pad)}"
        elif in_list:
            lead = f"{head} "
            stack.append(_level(f"{pad}  ", inner))
        else:
            yield head
            stack.append(_level(pad if isinstance(inner, list) else f"{pad}  ", inner))


def _level(pad: str, value: Any) -> Level:
    if isinstance(value, list):
        return pad, True, zip(value, strict=True)
    return pad, False, iter(sorted(value.items()))


def _scalar(value: Any, pad: str) -> str:
    """Return a value that holds no others; text of several lines is indented below ``pad``."""
    if not isinstance(value, str):
        return orjson.dumps(value).decode()
    if _PLAIN.fullmatch(value):
        return value
    if "\n" in value and not _SPECIAL.search(value) and not _NOT_LITERAL.search(value):
        return _literal(value, pad)
    if _SPECIAL.search(value) or "\n" in value or _means_else(value):
        return _quoted(value)
    if _NOT_FIRST.match(value) or _NOT_INSIDE.search(value):
        return "'" + value.replace("'", "''") + "'"
    return value


def _key(text: str) -> str:
    return _quoted(text) if "\n" in text else _scalar(text, "")


def _means_else(text: str) -> bool:
    """Return True for text that a reader takes for a number, a boolean, a time or nothing."""
    if text in ("<<", "=") or _SIXTY.fullmatch(text) or _DAY.fullmatch(text):
        return True
    try:
        return not isinstance(plain(text), str)
    except YamlError:
        return True


def _literal(text: str, pad: str) -> str:
    body = text.rstrip("\n")
    ends = len(text) - len(body)
    mark = "|-" if ends == 0 else "|" if ends == 1 else "|+"
    inner = "\n".join(f"{pad}  {line}" if line else "" for line in body.split("\n"))
    return f"{mark}\n{inner}" + "\n" * (ends - 1 if ends > 1 else 0)


def _quoted(text: str) -> str:
    """Return text in double quotes: JSON's escapes are YAML's."""
    return _ESCAPED.sub(lambda sign: f"\\u{ord(sign[0]):04x}", orjson.dumps(text).decode())
