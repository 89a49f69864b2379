"""Makes the readers of a section's fields from their annotations; pure.

An annotation may be ``str``, ``int``, ``bool``, ``Any``, a Section, ``tuple[X, ...]`` (a list),
``dict[str, X]`` (an object), ``X | None``, ``Literal`` or ``Annotated``.
"""

from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from cni_plugin.spec.section import Parsed, Reader, Section, exactly, read_all


def readers_of(cls: type[Section]) -> dict[str, Reader]:
    """The reader of each field of a class, by the field's name."""
    hints = get_type_hints(cls, include_extras=True)
    return {name: _reader(hint) for name, hint in hints.items()}


def _reader(hint: Any) -> Reader:
    origin = get_origin(hint)
    if origin is not None:
        return _READERS[origin](*get_args(hint))
    if hint is Any:
        return _as_it_is
    return hint.read if issubclass(hint, Section) else exactly(hint)


def _annotated(hint: Any, *steps: Reader) -> Reader:
    if isinstance(steps[0], Parsed):
        return steps[0]
    base = _reader(hint)

    def read(value: object) -> Any:
        made = base(value)
        for step in steps:
            made = step(made)
        return made

    return read


def _optional(*hints: Any) -> Reader:
    """The reader of ``X | None``. Null is handled before, as absent."""
    return _reader(next(hint for hint in hints if hint is not type(None)))


def _one_of(*words: str) -> Reader:
    def read(value: object) -> Any:
        if value not in words:
            raise ValueError(f"{value!r} is none of {', '.join(words)}")
        return value

    return read


def _list_of(hint: Any, *_: Any) -> Reader:
    item = _reader(hint)

    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError(f"{value!r} is not a list")
        return tuple(read_all((index, item, each) for index, each in enumerate(value)))

    return read


def _object_of(_: Any, hint: Any) -> Reader:
    item = _reader(hint)

    def read(value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"{value!r} is not an object")
        return dict(zip(value, read_all((k, item, v) for k, v in value.items()), strict=True))

    return read


def _as_it_is(value: Any) -> Any:
    return value


_READERS: dict[Any, Callable[..., Reader]] = {
    Annotated: _annotated,
    Union: _optional,
    UnionType: _optional,
    Literal: _one_of,
    tuple: _list_of,
    dict: _object_of,
}
