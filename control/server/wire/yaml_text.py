"""Read the YAML of a request as upstream does: as JSON, with the rules of YAML 1.1. Pure."""

from typing import Any

import yaml

_MOST_REPEATED = 100
_SHOWN = 200
_NODE = 32  # bytes of text that any value counts as


class YamlError(ValueError):
    """Text that is no YAML, or more than a request may have."""


class _Loader(yaml.CSafeLoader):
    """A loader whose values are those of JSON; ``repeated`` says which names came twice."""

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        self.repeated: list[tuple[int, str]] = []
        self.aliased = b"*" in raw


_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in found if not tag.endswith(":timestamp")]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> Any:
    made: dict[str, Any] = {}
    yield made
    loader.flatten_mapping(node)
    for key_node, value_node in node.value:
        key = _key(loader.construct_object(key_node))
        if key in made and len(loader.repeated) < _MOST_REPEATED:
            line = key_node.start_mark.line + 1
            text = f'line {line}: key "{key[:_SHOWN]}" already set in map'
            loader.repeated.append((line, text))
        made[key] = loader.construct_object(value_node)


def _key(value: Any) -> str:
    """Return a name as JSON has it."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    raise YamlError(f"error converting YAML to JSON: unsupported map key {str(value)[:_SHOWN]!r}")


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


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
        raise YamlError(f"error converting YAML to JSON: yaml: {text[:_SHOWN]}") from err
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
