"""Read JSON objects by upstream's types, in one pass over the object. Pure.

The result is what upstream would store and send for the same object: quantities and times in their
canonical form, zeros of optional fields left out, the other zeros written. Its cost is linear in
the object; most values are looked at once and kept. Unknown fields are kept as they are, and named.

Source: sigs.k8s.io/json (decoding), encoding/json (what ``omitempty`` leaves out).
"""

from collections.abc import Callable
from functools import cache
from operator import is_
from typing import Any, cast

from control.api.base import drop_nulls
from control.api.kind import Kind
from control.api.types.scalars import READERS, ZEROS, WrongTypeError, mismatch
from control.api.types.table import INLINE, Field, fields_of, message_name, messages
from control.api.types.unions import SCHEMA, UNIONS, Union

Wire = dict[str, Any]
# Reads a value; adds the names of unknown fields to the list.
Reader = Callable[[Any, list[str]], Any]
_TYPE_META = (Field("apiVersion", "s"), Field("kind", "s"))
# Lists of which an empty one is not the same as none: it gets no default, and is refused.
_EMPTY_COUNTS = {"autoscalingv2.HPAScalingRules": ("policies",)}
# Types whose values need no other look than at their Python type.
_PLAIN = {"s": str, "b": bool}


class _Slot:
    """How to read one field."""

    __slots__ = ("keeps_zero", "plain", "read", "zero")

    def __init__(self, field: Field) -> None:
        self.plain = _PLAIN.get(field.type) if not field.many else None
        self.read = _reader(field)
        self.zero = _zero(field) if field.always else None
        self.keeps_zero = field.pointer or self.zero is not None or field.type in "IR"


def conform(kind: Kind, wire: Wire) -> tuple[Wire, list[str]]:
    """Return an object as upstream would write it, and the names of its unknown fields.

    Raises WrongTypeError for a value that its field's type does not hold. ``wire`` may have nulls,
    and is not changed.
    """
    if kind.custom is not None:
        return kind.custom.read(wire)
    return conform_message(message_name(kind.group, kind.name, kind.version), wire)


def conform_message(message: str, wire: Any) -> tuple[Wire, list[str]]:
    """Do as ``conform``, for any message of the table, such as ``meta.DeleteOptions``."""
    unknown: list[str] = []
    return _struct(message)(wire, unknown), unknown


def zero_of(message: str) -> Wire:
    """Return a message without any value, as JSON shows it; do not change it."""
    return _zeros(message)


@cache
def _zeros(message: str) -> Wire:
    zeros = {name: _zero(field) for name, field in fields_of(message).items() if field.always}
    return {name: zero for name, zero in zeros.items() if zero is not None}


def _zero(field: Field) -> Any:
    """Return what JSON shows of a field's zero; None if it shows null or nothing.

    Upstream shows a list that was never set as null, which typed clients stumble over: it is [].
    """
    if field.many:
        return [] if field.many == "[" else {}
    return _zeros(field.type) if field.type in messages() else ZEROS.get(field.type)


@cache
def _struct(message: str) -> Reader:
    """Return the reader of a message."""
    if union := UNIONS.get(message):
        return _union(union)
    for field in messages()[message].values():
        if field.name == INLINE and field.many:
            return _reader(field)
    return _Struct(message).read


class _Struct:
    """Reads the objects of one message."""

    def __init__(self, message: str) -> None:
        self._message, self._name = message, message.partition(".")[2]
        self._required = _zeros(message)
        self._slots: dict[str, _Slot] = {}

    def read(self, value: Any, unknown: list[str]) -> Wire:
        if type(value) is not dict:
            raise mismatch(value, f"v1.{self._name}")
        slots = self._slots or self._fill()
        changed: Wire = {}
        name = ""
        try:
            for name, item in value.items():
                slot = slots.get(name)
                if slot is None:
                    unknown.append(name)
                    changed[name] = drop_nulls(item)
                elif not item or item.__class__ is not slot.plain:
                    made = slot.zero if item is None else slot.read(item, unknown)
                    if made is None or (not made and not slot.keeps_zero):
                        changed[name] = None
                    elif made is not item:
                        changed[name] = made
        except WrongTypeError as err:
            err.struct = err.struct or self._name
            err.names.append(name)
            raise
        if changed:
            value = {key: item for key, item in (value | changed).items() if item is not None}
        if not self._required.keys() <= value.keys():
            missing = {key: zero for key, zero in self._required.items() if key not in value}
            value = value | missing
        return cast(Wire, value)

    def _fill(self) -> dict[str, _Slot]:
        """Make the readers of the fields at the first use, as messages may hold themselves."""
        fields = fields_of(self._message)
        if "metadata" in fields or self._message == "meta.DeleteOptions":
            fields = fields | {field.name: field for field in _TYPE_META}
        self._slots.update({name: _Slot(field) for name, field in fields.items()})
        for name in _EMPTY_COUNTS.get(self._message, ()):
            self._slots[name].keeps_zero = True
        return self._slots


def _union(known: Union) -> Reader:
    """Return the reader of a part of a JSON schema; Go does not look for unknown fields in it."""
    items = _list(known.item, _one(known.item)) if known.item else None

    def read(value: Any, _: list[str]) -> Any:
        if type(value) is dict:
            return _struct(SCHEMA)(value, [])
        if type(value) is known.form:
            return items(value, []) if items else value
        if known.wrong:
            raise WrongTypeError(message=known.wrong)
        return None

    return read


def _reader(field: Field) -> Reader:
    one = _one(field.type)
    if field.many == "[":
        return _list(field.type, one)
    return _map(field.type, one) if field.many else one


def _one(kind: str) -> Reader:
    if kind in messages():
        return lambda value, unknown: _struct(kind)(value, unknown)
    scalar = READERS[kind]
    return lambda value, _: scalar(value)


def _list(kind: str, one: Reader) -> Reader:
    plain, zero = _PLAIN.get(kind), _zero(Field("", kind))
    wanted = f"[]{_GO_NAMES.get(kind) or 'v1.' + kind.partition('.')[2]}"

    def read(value: Any, unknown: list[str]) -> Any:
        if type(value) is not list:
            raise mismatch(value, wanted)
        if plain and all(item.__class__ is plain for item in value):
            return value
        made = [zero if item is None else one(item, unknown) for item in value]
        return value if _same(made, value) else made

    return read


def _map(kind: str, one: Reader) -> Reader:
    plain, zero = _PLAIN.get(kind), _zero(Field("", kind))
    wanted = f"map[string]{_GO_NAMES.get(kind) or 'v1.' + kind.partition('.')[2]}"

    def read(value: Any, unknown: list[str]) -> Any:
        if type(value) is not dict:
            raise mismatch(value, wanted)
        if plain and all(item.__class__ is plain for item in value.values()):
            return value
        made = {key: zero if item is None else one(item, unknown) for key, item in value.items()}
        return value if _same(made.values(), value.values()) else made

    return read


_GO_NAMES = {
    "s": "string",
    "b": "bool",
    "i": "int32",
    "l": "int64",
    "x": "[]uint8",
    "Q": "resource.Quantity",
    "R": "runtime.RawExtension",
}


def _same(made: Any, value: Any) -> bool:
    """Return True if two collections of one length hold the very same objects."""
    return all(map(is_, made, value))
