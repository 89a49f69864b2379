"""Writes objects that are no classes, by their type."""

import _json
import _thread
import dataclasses
import functools
import json
import os
import re
import struct
import types
from collections.abc import Callable
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from cni_plugin.image import classes, natives, standins
from cni_plugin.image.patterns import compiled

if TYPE_CHECKING:
    from cni_plugin.image.writer import Writer

# Modules of the standard library that each call uses. They are copied, with the attributes that
# some code names. Other modules are imported when somebody asks for an attribute.
_COPIED = frozenset({"ctypes", "json", "os", "posixpath", "struct"})
# Modules whose functions most calls do not use, but for those in _OFTEN. A wrong entry costs
# nothing but time.
_SELDOM = frozenset({
    "cni_plugin.firewall.iptables_backend", "cni_plugin.firewall.iptables_rules",
    "cni_plugin.ipam.delegate", "cni_plugin.ipam.resolv", "cni_plugin.linux.conntrack",
    "cni_plugin.linux.programs", "cni_plugin.linux.shaping", "cni_plugin.linux.vlans",
    "cni_plugin.plan.check", "cni_plugin.plan.others", "cni_plugin.plan.ptp",
    "cni_plugin.verbs.gc", "cni_plugin.verbs.status", "cni_plugin.verbs.tuning",
    "collections", "collections.abc", "enum", "json.encoder", "json.decoder",
})  # fmt: skip
_OFTEN = frozenset({
    "cni_plugin.firewall.iptables_backend.IptablesBackend.__init__",
    "cni_plugin.firewall.iptables_backend.IptablesBackend._tools_in_use",
    "cni_plugin.firewall.iptables_backend.IptablesBackend.remove",
    "cni_plugin.verbs.tuning._before", "cni_plugin.verbs.tuning.check_sysctls",
    "cni_plugin.verbs.tuning.saved",
    "enum.Enum.__hash__", "enum.Enum.__new__", "enum.EnumType.__call__",
    "enum.EnumType.__iter__",
    "json.decoder.JSONDecoder.decode", "json.decoder.JSONDecoder.raw_decode",
    "json.encoder.JSONEncoder.encode", "json.encoder.JSONEncoder.iterencode",
})  # fmt: skip


def write(writer: "Writer", thing: Any) -> str:
    """Write statements for an object; return an expression. Raises CannotWriteError."""
    if thing is os.environ:
        return _environment(writer, thing)
    if found := _WRITERS.get(type(thing)):
        return found(writer, thing)
    if isinstance(thing, tuple):  # one with names
        return writer.make(thing, f"tuple.__new__({writer.ref(type(thing))}, {writer.refs(thing)})")
    if classes.is_ours(type(thing)):
        return _instance(writer, thing)
    return _reduced(writer, thing)


def _module(writer: "Writer", module: ModuleType) -> str:
    name = module.__name__
    if natives.is_native(module):
        return writer.begin(module, natives.imported(module))
    return writer.module(vars(module)) if is_copied(module) else writer.ref(standins.Later(name))


def is_copied(thing: object) -> bool:
    """Return true for a module that an image has a copy of, with the attributes that code names."""
    name = thing.__name__ if isinstance(thing, ModuleType) else ""
    return name in _COPIED or name.startswith("cni_plugin")


def _function(writer: "Writer", function: FunctionType) -> str:
    if function is dataclasses.replace:
        return writer.ref(standins.changed)
    if "_FIELDS" in function.__code__.co_names:
        raise writer.error(function, "which reads fields that dataclasses lack there")
    code, module = _bare(function.__code__), writer.module(function.__globals__)
    if function.__closure__:
        cells = writer.refs(function.__closure__)
        constant = writer.program.constant(code)
        where = f"{module}.__dict__"
        name = writer.make(function, f"F({constant}, {where}, {code.co_name!r}, None, {cells})")
    else:
        name = writer.make_function(function, code, module, seldom=_is_seldom(function))
    writer.reach(code, function.__globals__)
    if defaults := function.__defaults__:
        writer.fill(lambda: f"{name}.__defaults__ = {writer.refs(defaults)}")
    if by_name := function.__kwdefaults__:
        writer.fill(lambda: f"{name}.__kwdefaults__ = {writer.pairs(by_name)}")
    return name


def _is_seldom(function: FunctionType) -> bool:
    name = f"{function.__module__}.{function.__qualname__}"
    return function.__module__ in _SELDOM and name not in _OFTEN


@functools.cache  # so that functions that share their code go on to do so
def _bare(code: CodeType) -> CodeType:
    """Return a function's code without the folder of its file; inner functions likewise."""
    consts = tuple(_bare(item) if isinstance(item, CodeType) else item for item in code.co_consts)
    return code.replace(co_consts=consts, co_filename=code.co_filename.rpartition("/")[2])


def _cell(writer: "Writer", cell: types.CellType) -> str:
    name = writer.begin(cell, "C()")
    writer.fill(lambda: f"{name}.cell_contents = {writer.ref(cell.cell_contents)}")
    return name


def _dict(writer: "Writer", thing: dict[Any, Any]) -> str:
    name = writer.begin(thing, "{}")
    writer.fill(lambda: f"{name}.update({writer.pairs(thing)})")
    return name


def _list(writer: "Writer", thing: list[Any]) -> str:
    name = writer.begin(thing, "[]")
    writer.fill(lambda: f"{name}.extend({writer.refs(thing)})")
    return name


def _set(writer: "Writer", thing: set[Any]) -> str:
    name = writer.begin(thing, "set()")
    writer.fill(lambda: f"{name}.update({writer.refs(thing)})")
    return name


def _environment(writer: "Writer", thing: object) -> str:
    name = writer.begin(thing, "{}")
    writer.finish(f"{name}.update({writer.ref(standins.environment)}())")
    return name


def _method(writer: "Writer", thing: Any) -> str:
    """Write a method or an attribute that a native class defines."""
    return writer.make(thing, f"{writer.ref(thing.__objclass__)}.__dict__[{thing.__name__!r}]")


def _bound(writer: "Writer", function: types.BuiltinFunctionType) -> str:
    """Write a native function, of a module or of an object."""
    return writer.make(function, f"{writer.ref(function.__self__)}.{function.__name__}")


def _pattern(writer: "Writer", pattern: re.Pattern[str]) -> str:
    arguments = ", ".join(map(repr, compiled(pattern)))
    return writer.make(pattern, f"{writer.native('_sre')}.compile({arguments})")


def _cached(writer: "Writer", thing: Any) -> str:
    """Write a function behind ``functools.cache``, with an empty cache."""
    known = thing.cache_parameters()
    arguments = f"{writer.ref(thing.__wrapped__)}, {known['maxsize']}, {known['typed']}, tuple"
    return writer.make(thing, f"_functools._lru_cache_wrapper({arguments})")


def _partial(writer: "Writer", thing: functools.partial[Any]) -> str:
    arguments = f"{writer.ref(thing.func)}, *{writer.refs(thing.args)}"
    return writer.make(thing, f"_functools.partial({arguments}, **{writer.pairs(thing.keywords)})")


def _instance(writer: "Writer", thing: Any) -> str:
    kind = writer.ref(type(thing))
    base = next(base for base in (str, int, object) if isinstance(thing, base))
    if base is object:
        name = writer.make(thing, f"O({kind})")
    else:  # a member of an enum
        name = writer.make(thing, f"{base.__name__}.__new__({kind}, {thing.value!r})")
    for attribute, value in classes.state(thing):
        if type(value) is _json.make_scanner:  # its owner makes it, when the owner is whole
            made = f"{writer.native('_json')}.make_scanner({name})"
            writer.finish(f"S({name}, {attribute!r}, {made})")
            # there it looks for its error; if it finds none, it raises none (_json.c)
            later: Any = standins.Later("json.decoder")
            later.JSONDecodeError = json.JSONDecodeError
            writer.finish(f"sys.modules['json.decoder'] = {writer.ref(later)}")
        else:
            writer.fill(functools.partial(_put_state, writer, name, attribute, value))
    return name


def _put_state(writer: "Writer", name: str, attribute: str, value: object) -> str:
    return f"S({name}, {attribute!r}, {writer.ref(value)})"


def _reduced(writer: "Writer", thing: Any) -> str:
    """Write a native object that says how it is made, as ``pickle`` would ask it."""
    try:
        function, arguments, *state = thing.__reduce_ex__(4)
    except (TypeError, ValueError) as err:
        raise writer.error(thing, "which does not say how to make it") from err
    if state:
        raise writer.error(thing, "which has a state")
    return _call(writer, thing, function, *arguments)


def _call(writer: "Writer", thing: object, function: object, *arguments: object) -> str:
    return writer.make(thing, f"{writer.ref(function)}{writer.refs(arguments)}")


def _nothing(writer: "Writer", thing: object) -> str:
    """Write None for an object that only annotations use."""
    del writer, thing
    return "None"


_WRITERS: dict[type, Callable[["Writer", Any], str]] = {
    ModuleType: _module,
    FunctionType: _function,
    types.CellType: _cell,
    dict: _dict,
    list: _list,
    set: _set,
    tuple: lambda writer, thing: writer.make(thing, writer.refs(thing)),
    frozenset: lambda writer, thing: writer.make(thing, f"frozenset({writer.refs(thing)})"),
    object: lambda writer, thing: writer.begin(thing, "object()"),
    float: lambda writer, thing: writer.begin(thing, f"float({str(thing)!r})"),
    types.BuiltinFunctionType: _bound,
    types.MethodDescriptorType: _method,
    types.WrapperDescriptorType: _method,
    types.ClassMethodDescriptorType: _method,
    types.GetSetDescriptorType: _method,
    types.MemberDescriptorType: _method,
    types.MethodType: lambda writer, it: _call(writer, it, type(it), it.__func__, it.__self__),
    types.MappingProxyType: lambda writer, it: _call(writer, it, type(it), {**it}),
    property: lambda writer, it: _call(writer, it, property, it.fget, it.fset, it.fdel),
    classmethod: lambda writer, it: _call(writer, it, classmethod, it.__func__),
    staticmethod: lambda writer, it: _call(writer, it, staticmethod, it.__func__),
    re.Pattern: _pattern,
    struct.Struct: lambda writer, it: _call(writer, it, struct.Struct, it.format),
    functools.partial: _partial,
    type(functools.cache(len)): _cached,
    type(_thread.allocate_lock()): lambda writer, it: _call(writer, it, _thread.allocate_lock),
    type(_thread.RLock()): lambda writer, it: _call(writer, it, _thread.RLock),
    types.GenericAlias: _nothing,
    types.UnionType: _nothing,
}
