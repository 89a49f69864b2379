"""Writes classes; tells the attributes of an instance whose class is written in Python."""

import abc
import functools
import sys
from collections.abc import Iterator
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType
from typing import TYPE_CHECKING, Any

from cni_plugin.image import natives, standins
from cni_plugin.image.natives import is_plain

if TYPE_CHECKING:
    from cni_plugin.image.writer import Writer

_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE in Include/object.h: made while Python runs
# Making the class makes these, or nobody asks for them.
_LEFT_OUT = frozenset({
    "__dict__", "__weakref__", "__annotations__", "__doc__", "__parameters__", "__orig_bases__",
    "__abstractmethods__", "_abc_impl", "__dataclass_fields__", "__dataclass_params__",
    "__getstate__", "__setstate__", "__ctype_be__", "__ctype_le__",
})  # fmt: skip
_MAKES_CLASSES = frozenset({"__new__", "__init__", "__prepare__"})
# Each dataclass has its own methods of these names, and all do the same.
_OF_VALUES = {
    "__eq__": standins.same, "__hash__": standins.hashed, "__repr__": standins.shown,
    "__setattr__": standins.frozen, "__delattr__": standins.frozen,
}  # fmt: skip
_AT_ONCE = (FunctionType, classmethod, staticmethod, property)


def is_ours(kind: type) -> bool:
    """Return true if a class is written in Python: an instance can be made empty, then filled."""
    new: Any = kind.__new__
    written = new is object.__new__ or isinstance(new, FunctionType)
    return bool(kind.__flags__ & _HEAP_TYPE) and written


def current(kind: type) -> type:
    """Return the class that its module names: ``@dataclass(slots=True)`` makes a second of each."""
    found: Any = getattr(sys.modules.get(kind.__module__), kind.__name__, None)
    two: type = found if _is_of_values(kind) and _is_of_values(found) else kind
    return two


def state(thing: Any) -> Iterator[tuple[str, Any]]:
    """Yield an instance's attributes: name and value."""
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        for name in _slots(kind):
            if hasattr(thing, name):
                yield name, getattr(thing, name)


def _slots(kind: type) -> Iterator[str]:
    slots = vars(kind).get("__slots__", ())
    for name in (slots,) if isinstance(slots, str) else slots:
        private = name.startswith("__") and not name.endswith("__")
        if name not in {"__dict__", "__weakref__"}:
            yield f"_{kind.__name__.lstrip('_')}{name}" if private else name


def write(writer: "Writer", kind: type) -> str:
    """Write statements for a class; return its name. Raises CannotWriteError."""
    if not kind.__flags__ & _HEAP_TYPE:
        raise writer.error(kind, "a type of the interpreter")
    maker, bases = writer.ref(type(kind)), writer.refs(kind.__bases__)
    members = {name: it for name, it in vars(kind).items() if _is_wanted(kind, name, it)}
    at_once = {
        name: _member(writer, kind, name, value)
        for name, value in members.items()
        if _is_at_once(writer, name, value)
    }
    content = ", ".join(f"{name!r}: {text}" for name, text in at_once.items())
    # not by calling a metaclass that is written in Python: what it does is done already
    call = f"{maker}(" if natives.is_metaclass_of_natives(type(kind)) else f"N({maker}, "
    name = writer.make(kind, f"{call}{kind.__name__!r}, {bases}, {{{content}}})")
    for attribute in members.keys() - at_once.keys():
        put = functools.partial(_put, writer, name, attribute, members[attribute])
        writer.when_named(attribute, put) if not _is_special(attribute) else put()
    if type(kind) is abc.ABCMeta:
        _register(writer, name, kind)
    return name


def _put(writer: "Writer", name: str, attribute: str, value: object) -> None:
    writer.fill(lambda: f"T({name}, {attribute!r}, {writer.ref(value)})")


def _is_wanted(kind: type, name: str, value: object) -> bool:
    """Return false for slots and the like: making the class makes them again."""
    if issubclass(kind, type) and name in _MAKES_CLASSES:
        return False
    made_again = isinstance(value, MemberDescriptorType | GetSetDescriptorType)
    return name not in _LEFT_OUT and not made_again


def _is_at_once(writer: "Writer", name: str, value: object) -> bool:
    """Return true if a member can stand in the statement that makes its class."""
    if name == "__init_subclass__":  # it would be called for each class that is made of this one
        return False
    if name == "__slots__" or is_plain(value):
        return True
    return isinstance(value, _AT_ONCE) and (_is_special(name) or name in writer.named)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _member(writer: "Writer", kind: type, name: str, value: Any) -> str:
    if name == "__slots__":
        return repr(value if isinstance(value, str) else tuple(value))
    is_method = name in _OF_VALUES and isinstance(value, FunctionType)
    if is_method and _is_of_values(kind) and _is_generated(kind, value):
        return writer.ref(_OF_VALUES[name])
    return writer.ref(value)


def _is_of_values(kind: Any) -> bool:
    return "__dataclass_params__" in getattr(kind, "__dict__", ())


def _is_generated(kind: type, function: FunctionType) -> bool:
    """Return true if a method does not come from the module that its class is in."""
    return function.__code__.co_filename != sys.modules[kind.__module__].__file__


def _register(writer: "Writer", name: str, kind: abc.ABCMeta) -> None:
    """Register the native classes that an abstract class counts as its own."""
    native = writer.native("_abc")
    writer.fill(lambda: f"{native}._abc_init({name})")
    for weak in abc._get_dump(kind)[0]:  # type: ignore[attr-defined]
        if (other := weak()) is not None and writer.is_native(other):
            writer.finish(f"{native}._abc_register({name}, {writer.ref(other)})")
