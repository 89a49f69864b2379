"""Objects of the interpreter, which an image refers to by name and never makes."""

import sys
import types
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# Written in Python, but every interpreter has imported them before it runs an image.
_FROZEN = frozenset({"abc", "codecs", "io"})
_PLAIN = frozenset({type(None), type(...), bool, int, str, bytes})
# Types that no native module has a name for.
_UNNAMED: dict[type, str] = {
    types.CellType: "C",
    types.FunctionType: "F",
    types.GenericAlias: "type(list[int])",
    types.MappingProxyType: "type(type.__dict__)",
    types.MethodType: "type((lambda: 0).__get__(0))",
    types.ModuleType: "M",
    types.SimpleNamespace: "type(sys.implementation)",
}


def is_native(module: ModuleType) -> bool:
    """Return true if a module is Python's own, and compiled or imported at every start."""
    name, origin = module.__name__, getattr(module.__spec__, "origin", None) or ""
    compiled = origin.endswith(".so") and name in sys.stdlib_module_names
    return name in sys.builtin_module_names or name in _FROZEN or compiled


def imported(module: ModuleType) -> str:
    """Return an expression that imports a native module; a shared object is not searched for."""
    spec = module.__spec__
    if spec is not None and spec.origin and spec.origin.endswith(".so"):
        return f"E({spec.name!r}, {spec.origin!r})"
    return f"I({module.__name__!r})"


def places() -> dict[int, tuple[str, str, object]]:
    """Return native objects by their ``id``: the module, the name in it, and the object.

    These are objects whose identity matters: types, functions, and containers such as
    ``posix.environ``.
    """
    return {
        id(thing): (module.__name__, name, thing)
        for module in _native_modules()
        for name, thing in vars(module).items()
        if isinstance(thing, type | types.BuiltinFunctionType | dict | list)
    }


def _native_modules() -> Iterator[ModuleType]:
    # a copy: an import while we iterate would change it
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and module.__name__ != "builtins" and is_native(module):
            yield module
    yield sys.modules["builtins"]  # last, so that its names win


def unnamed(kind: type) -> str | None:
    """Return an expression for a type of the interpreter that no module has a name for."""
    return _UNNAMED.get(kind) or next(
        (
            f"type({imported(module)}.{name})"
            for module in _native_modules()
            for name, thing in vars(module).items()
            if isinstance(thing, type) and type(thing) is kind
        ),
        None,
    )


def is_metaclass_of_natives(kind: Any) -> bool:
    """Return true if a metaclass is native: it alone knows how to make a class."""
    return kind is not type and unnamed(kind) is not None


def is_plain(thing: object) -> bool:
    """Return true if a literal makes the object."""
    if type(thing) is tuple:
        return all(map(is_plain, thing))
    return type(thing) in _PLAIN
