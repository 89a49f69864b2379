"""Read the YAML of a request as upstream does: as JSON, with the rules of YAML 1.1. Pure.

The value is made from the parser's events, with a stack of its own: PyYAML's own way from nodes to
values calls itself for each level, and a deep text would end the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from control.server.wire.yaml.scalars import SHOWN, YamlError, finite, plain, tagged

__all__ = ["YamlError", "load_yaml"]

_MOST_REPEATED = 100
_NODE = 32  # bytes of text that any value counts as
_MERGE = "tag:yaml.org,2002:merge"
_NO_KEY = object()
_MERGED = object()  # the name is "<<": the value's members belong to the map itself
_CONVERTING = "error converting YAML to JSON"
_CANNOT_MERGE = "yaml: map merge requires map or sequence of maps as the value"


@dataclass(slots=True)
class _Open:
    """A map or a list that has not ended; ``key`` is the name whose value comes next."""

    value: Any
    anchor: str | None = None
    key: Any = _NO_KEY


class _Builder:
    """The value of one document; ``repeated`` says which names came twice."""

    def __init__(self, levels: int) -> None:
        self.value: Any = None
        self.repeated: list[tuple[int, str]] = []
        self.aliased = False
        self._levels = levels
        self._stack: list[_Open] = []
        self._anchors: dict[str, Any] = {}

    def take(self, event: yaml.Event) -> None:
        """Take the next event; raises YamlError."""
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.MappingStartEvent):
            self._begin({}, event.anchor)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._begin([], event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._stack.pop()
            self._end(done.value, done.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, event.anchor or "")

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        top = self._stack[-1] if self._stack else None
        if top and top.key is _NO_KEY and type(top.value) is dict and _is_merge(event):
            top.key = _MERGED
            return
        value = _scalar(event)
        if event.anchor:
            self._anchors[event.anchor] = value
        self._put(value, event)

    def _begin(self, value: Any, anchor: str | None) -> None:
        if len(self._stack) == self._levels:
            raise YamlError(f"the body is nested more than {self._levels} levels deep")
        top = self._stack[-1] if self._stack else None
        if top and type(top.value) is dict and top.key is _NO_KEY:
            raise _no_key("of several values")
        self._stack.append(_Open(value, anchor))

    def _end(self, value: Any, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = value
        self._put(value, None)

    def _alias(self, event: yaml.Event, anchor: str) -> None:
        if any(each.anchor == anchor for each in self._stack):
            raise YamlError(f"yaml: anchor '{anchor[:SHOWN]}' value contains itself")
        if anchor not in self._anchors:
            raise YamlError(f"yaml: unknown anchor '{anchor[:SHOWN]}' referenced")
        self.aliased = True
        self._put(self._anchors[anchor], event)

    def _put(self, value: Any, event: yaml.Event | None) -> None:
        """Put a value where it belongs: it is the document, an item, a name, or a name's value."""
        if not self._stack:
            self.value = finite(value)
            return
        top = self._stack[-1]
        if type(top.value) is list:
            top.value.append(finite(value))
        elif top.key is _NO_KEY:
            top.key = _key(value)
            if top.key in top.value and event is not None and event.start_mark is not None:
                self._complain(top.key, event.start_mark.line + 1)
        else:
            key, top.key = top.key, _NO_KEY
            if key is _MERGED:
                _merge(top.value, value)
            else:
                top.value[key] = finite(value)

    def _complain(self, key: str, line: int) -> None:
        if len(self.repeated) < _MOST_REPEATED:
            text = f'line {line}: key "{key[:SHOWN]}" already set in map'
            self.repeated.append((line, text))


def _is_merge(event: yaml.ScalarEvent) -> bool:
    return event.value == "<<" and (event.implicit[0] or event.tag == _MERGE)


def _scalar(event: yaml.ScalarEvent) -> Any:
    """Return the value of a scalar; quotation marks make it text."""
    if event.tag is not None and event.tag != "!":
        return tagged(event.tag, event.value)
    return plain(event.value) if event.implicit[0] else event.value


def _merge(into: dict[str, Any], given: Any) -> None:
    """Add the members of a map, or of several, of which the first has precedence."""
    maps = given if isinstance(given, list) else [given]
    if not all(isinstance(each, Mapping) for each in maps):
        raise YamlError(_CANNOT_MERGE)
    for each in reversed(maps):
        into.update(each)


def _key(value: Any) -> str:
    """Return a name as JSON has it; raises YamlError."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    raise _no_key("of several values" if isinstance(value, dict | list) else "null")


def _no_key(what: str) -> YamlError:
    return YamlError(f"{_CONVERTING}: unsupported map key {what}")


def load_yaml(raw: bytes, limit: int, levels: int) -> tuple[Any, tuple[str, ...]]:
    """Return the value of the first document, and a complaint for each repeated name.

    Raises YamlError; ``limit`` bounds the bytes of text that the value has, with all its aliases,
    and ``levels`` how deep it is. Upstream ignores further documents, too.
    """
    builder = _Builder(levels)
    try:
        for event in yaml.parse(raw, Loader=yaml.CSafeLoader):
            if type(event) is yaml.DocumentEndEvent:
                break
            builder.take(event)
    except (yaml.YAMLError, UnicodeError) as err:
        text = " ".join(str(err).split())
        raise YamlError(f"{_CONVERTING}: yaml: {text[:SHOWN]}") from err
    except YamlError as err:
        if str(err).startswith("yaml: "):  # what upstream's parser says, not the writer of JSON
            raise YamlError(f"{_CONVERTING}: {err}") from err
        raise
    if builder.aliased and _is_longer(builder.value, limit):
        raise YamlError("document contains excessive aliasing")
    return builder.value, tuple(text for _, text in sorted(builder.repeated))


def _is_longer(value: Any, limit: int) -> bool:
    """Return True if a value has more text than the limit; looks at no more than that."""
    left, stack = limit, [value]
    while stack:
        one = stack.pop()
        left -= _NODE + (len(one) if isinstance(one, str) else 0)
        if left < 0:
            return True
        if isinstance(one, dict):
            stack.extend(one)
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)
    return False
