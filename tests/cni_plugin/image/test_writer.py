"""Objects come out of an image as they went in."""

import abc
import builtins
import enum
import functools
import json
import operator
import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from ipaddress import ip_address, ip_interface
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple, Self

import pytest

from cni_plugin.image.program import Program
from cni_plugin.image.writer import CannotWriteError, Writer


def again(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that was written into an image, and made anew from it."""
    first = Writer(Program())
    first.walk(function)
    code = Writer(Program(), first.named).written(function)
    made = FunctionType(code, {"__builtins__": builtins})()
    assert made is not function
    return made


# -- what the image is made of; none of it may reach a class of the test's own


COUNTS: dict[str, int] = {}
NESTED = [[1, 2], {"a": (3, b"\0\xff")}, {4}, frozenset({5}), float("inf"), -0.5, None, ...]
NESTED.append(NESTED)
PLAIN = re.compile(r"(?P<first>[a-z]+)-(\d+)", re.IGNORECASE)


def counted(name: str, step: int = 2, *, times: int = 1) -> int:
    COUNTS[name] = COUNTS.get(name, 0) + step * times
    return COUNTS[name]


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 7

    @property
    def sum(self) -> int:
        return self.x + self.y

    @classmethod
    def at(cls, *values: int) -> Self:
        return cls(*values)

    @staticmethod
    def words() -> str:
        return "static"


@dataclass(frozen=True)
class Deeper(Point):
    z: int = 1

    def total(self) -> int:
        return super().x + self.sum + self.z


class Color(enum.Enum):
    RED = enum.auto()
    BLUE = "blue"


class Verb(enum.StrEnum):
    ADD = "add"


class Named(NamedTuple):
    first: str
    second: int = 3

    def both(self) -> str:
        return f"{self.first}{self.second}"


class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> int: ...


class Square(Shape):
    __slots__ = ("__hidden", "side")

    def __init__(self, side: int) -> None:
        self.side = side
        self.__hidden = side * side

    def area(self) -> int:
        return self.__hidden

    def never_asked_for(self) -> int:
        return 0


SQUARE = Square(3)
CORNER = Point(1)


@functools.cache
def remembered(number: int) -> object:
    return object()


def closed(number: int) -> Callable[[], int]:
    def inner() -> int:
        return number + CORNER.y

    return inner


CLOSED = closed(35)
PARTIAL = functools.partial(counted, "partial", times=3)
HEAD = struct.Struct("!HB")
GETTER = operator.attrgetter("x")


# -- the cases


def test_a_functions_globals_defaults_and_closure() -> None:
    made = again(lambda: (counted("a"), counted("a", 5, times=2), CLOSED(), PARTIAL()))
    COUNTS["a"] = 100  # the image has a dict of its own
    assert made() == (2, 12, 42, 6)
    assert COUNTS == {"a": 100}


def test_containers_and_who_is_who_in_them() -> None:
    made = again(lambda: NESTED)()
    assert made[:-1] == NESTED[:-1]
    assert made is not NESTED
    assert made[-1] is made


def test_classes_of_values() -> None:
    def question() -> tuple[Any, ...]:
        one, other = Point(1), Point(1, y=7)
        changed = replace(one, y=9)
        return one == other, hash(one) == hash(other), one != (1, 7), repr(changed), one.sum

    made = again(question)
    assert made() == question() == (True, True, True, "Point(x=1, y=9)", 8)


def test_a_value_cannot_be_changed() -> None:
    def change() -> None:
        CORNER.x = 3  # type: ignore[misc]

    with pytest.raises(AttributeError, match=r"Point\.x cannot be changed"):
        again(change)()


def test_methods_of_all_kinds() -> None:
    made = again(lambda: (Point.at(2, 3), Point.words(), Deeper(1, 2, 3).total()))
    value, text, total = made()
    assert (value.x, value.y, text, total) == (2, 3, "static", 7)


def test_enums() -> None:
    def question() -> tuple[Any, ...]:
        found = Color("blue") is Color.BLUE, Verb("add") is Verb.ADD
        return *found, [*map(str, Color)], f"{Verb.ADD}"

    assert again(question)() == question() == (True, True, ["Color.RED", "Color.BLUE"], "add")


def test_tuples_with_names() -> None:
    assert again(lambda: (Named("a").both(), Named("b", 4)[1]))() == ("a3", 4)


def test_abstract_classes_slots_and_private_names() -> None:
    made = again(lambda: (SQUARE.area(), isinstance(SQUARE, Shape), Square(2).area()))
    assert made() == (9, True, 4)


def test_what_no_code_names_is_left_out() -> None:
    made = again(lambda: SQUARE)()
    assert not hasattr(made, "never_asked_for")
    assert hasattr(again(lambda: (SQUARE, Square.never_asked_for))()[0], "never_asked_for")


def test_what_the_standard_library_made() -> None:
    def question() -> tuple[Any, ...]:
        found = PLAIN.fullmatch("Ab-12")
        assert found is not None
        address = ip_interface("10.1.0.9/24")
        return (
            found["first"], found[2], PLAIN.flags, HEAD.pack(1, 2), GETTER(CORNER),
            str(address.network), str(ip_address("fd00::1")), str(Path("/a", "b").with_name("c")),
            json.loads('{"a": [1, 2.5, null]}'), json.dumps({"b": (True, "ü")}),
        )  # fmt: skip

    assert again(question)() == question()


def test_modules_are_there_as_far_as_code_names_their_attributes() -> None:
    def question() -> tuple[Any, ...]:
        modules = [os]
        return os.path.normpath("/a/../b"), modules[0].sep, os.fsencode("ü")

    assert again(question)() == question()


def test_json_that_is_none_is_an_error() -> None:
    def question() -> str:
        try:
            return str(json.loads("{"))
        except ValueError as err:
            return type(err).__name__

    assert again(question)() == "JSONDecodeError"


def test_a_cache_is_empty_and_works() -> None:
    remembered(1)
    made = again(remembered)
    assert made(1) is made(1) is not remembered(1)


def test_the_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    made = again(lambda: os.environ.get("PATH"))
    assert made() == os.environ["PATH"]


HOLDER = {"key": [iter([1])], "dataclass": Point}


def test_what_cannot_be_written_is_named_and_the_way_to_it() -> None:
    with pytest.raises(CannotWriteError, match="which has a state") as told:
        Writer(Program()).walk(lambda: HOLDER)
    assert re.search(r"function .* > dict .* > list .* > list_iterator ", str(told.value))


def test_what_looks_at_the_fields_of_values_cannot_be_written() -> None:
    with pytest.raises(CannotWriteError, match=r"function fields .*reads fields"):
        Writer(Program()).walk(lambda: [item.name for item in fields(Point)])
