"""Objects that an image has in the place of slow ones that do the same."""

import marshal
import posix
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any


class Later:
    """A module of the standard library that is imported when somebody asks for an attribute."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        there: object = sys.modules.get(self._name)
        if there is self:
            del sys.modules[self._name]
        return missing(self._name, attribute)


def missing(module: str, attribute: str) -> Any:
    """Return an attribute that the image's copy of a module lacks, from the real module."""
    __import__(module)
    return getattr(sys.modules[module], attribute)


def asleep(codes: bytes, count: int, values: dict[str, Any]) -> tuple[Callable[..., Any], ...]:
    """Return ``count`` functions of a module; the first call of one of them reads their code."""
    awake: list[FunctionType] = []

    # quoted, because our own globals are not there yet when this is called
    def sleeper(number: int) -> "Callable[..., Any]":
        def function(*arguments: "Any", **by_name: "Any") -> "Any":
            if not awake:
                found = marshal.loads(codes)  # noqa: S302  # it is a part of the image
                awake.extend(FunctionType(code, values) for code in found)
            made: Any = awake[number]
            made.__defaults__, made.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
            return made(*arguments, **by_name)

        return function

    return tuple(sleeper(number) for number in range(count))


def environment() -> dict[str, str]:
    """Return ``os.environ`` of the process that asks, to be read only."""
    return {
        name.decode(errors="surrogateescape"): value.decode(errors="surrogateescape")
        for name, value in posix.environ.items()
    }


# Methods that ``@dataclass(frozen=True)`` generates for each class, whose fields are in
# ``__match_args__``.


def same(self: Any, other: object) -> bool:
    """``__eq__``."""
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def hashed(self: Any) -> int:
    """``__hash__``."""
    return hash(_values(self))


def shown(self: Any) -> str:
    """``__repr__``."""
    fields = (f"{name}={getattr(self, name)!r}" for name in self.__match_args__)
    return f"{type(self).__qualname__}({', '.join(fields)})"


def frozen(self: Any, name: str, value: object = None) -> None:
    """``__setattr__`` and ``__delattr__``."""
    del value
    raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")


def changed(item: Any, /, **changes: Any) -> Any:
    """``dataclasses.replace``."""
    return type(item)(**dict(zip(item.__match_args__, _values(item), strict=True)) | changes)


def _values(item: Any) -> tuple[Any, ...]:
    return tuple(getattr(item, name) for name in item.__match_args__)
