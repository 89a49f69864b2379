"""Read the YAML of a request as upstream does: as JSON, with the rules of YAML 1.1. Pure."""

from collections.abc import Iterator
from typing import Any

import yaml

from control.server.wire.yaml_scalars import SHOWN, YamlError, finite, plain, tagged

__all__ = ["YamlError", "load_yaml"]

_MOST_REPEATED = 100
_NODE = 32  # bytes of text that any value counts as
_PLAIN = "plain"  # the tag of a scalar without quotation marks
_MERGE = "tag:yaml.org,2002:merge"
_TEXT = "tag:yaml.org,2002:str"


class _Loader(yaml.CSafeLoader):
    """A loader whose values are those of JSON; ``repeated`` says which names came twice."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.repeated: list[tuple[int, str]] = []
        self.aliased = b"*" in raw

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        """Return the tag of a value that names none."""
        if kind is not yaml.ScalarNode:
            return ""
        if not implicit[0]:
            return _TEXT
        return _MERGE if value == "<<" else _PLAIN


def _value(loader: _Loader, node: yaml.Node) -> Any:
    """Return a value of any tag; those of maps and lists mean nothing, as in upstream."""
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node)
    if isinstance(node, yaml.SequenceNode):
        return _list(loader, node)
    return finite(_scalar(node))


def _scalar(node: yaml.Node) -> Any:
    return plain(node.value) if node.tag == _PLAIN else tagged(node.tag, node.value)


def _list(loader: _Loader, node: yaml.SequenceNode) -> Iterator[list[Any]]:
    made: list[Any] = []
    yield made
    made.extend(loader.construct_object(each) for each in node.value)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Iterator[dict[str, Any]]:
    made: dict[str, Any] = {}
    yield made
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        key = _key(key_node)
        if key in made and len(loader.repeated) < _MOST_REPEATED:
            line = key_node.start_mark.line + 1
            text = f'line {line}: key "{key[:SHOWN]}" already set in map'
            loader.repeated.append((line, text))
        made[key] = loader.construct_object(value_node)


def _key(node: yaml.Node) -> str:
    """Return a name as JSON has it; raises YamlError."""
    value = _scalar(node) if isinstance(node, yaml.ScalarNode) else None
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    shown = repr(node.value[:SHOWN]) if isinstance(node, yaml.ScalarNode) else "of several values"
    raise YamlError(f"error converting YAML to JSON: unsupported map key {shown}")


_Loader.yaml_constructors = {None: _value}


def load_yaml(raw: bytes, limit: int) -> tuple[Any, tuple[str, ...]]:
    """Return the value of one document, and a complaint for each repeated name.

    Raises YamlError; ``limit`` bounds the bytes of text that the value has, with all its aliases.
    """
    try:
        loader = _Loader(raw)
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, RecursionError, UnicodeError) as err:
        text = " ".join(str(err).split())
        raise YamlError(f"error converting YAML to JSON: yaml: {text[:SHOWN]}") from err
    if loader.aliased and _is_longer(value, limit):
        raise YamlError("document contains excessive aliasing")
    return value, tuple(text for _, text in sorted(loader.repeated))


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
