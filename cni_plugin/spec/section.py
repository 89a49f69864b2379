"""Immutable values of JSON objects, parsed according to the annotations of a class; pure.

It does the part of pydantic's work that the plugin needs. Without a server each call is a process,
and importing pydantic takes longer than the whole work of that process.

Upper and lower case in keys do not matter, as in Go's decoder. Null means absent. Types are strict:
no number and no boolean is converted to a string.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Self

Reader = Callable[[Any], Any]
# the path of a value (keys and indexes), and the error
Problem = tuple[tuple[str | int, ...], str]
_NAMES: dict[type, str] = {str: "a string", int: "an integer", bool: "true or false"}


class InvalidFieldsError(ValueError):
    """Invalid values of an object; ``problems`` has all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__(
            "; ".join(f"{'.'.join(map(str, path))}: {problem}" for path, problem in problems)
        )


@dataclass(frozen=True)
class Within:
    """In Annotated: a number from ``least`` to ``most``."""

    least: int
    most: int

    def __call__(self, value: int) -> int:
        """Return the number. Raises ValueError."""
        if not self.least <= value <= self.most:
            raise ValueError(f"{value} is not within {self.least} and {self.most}")
        return value


@dataclass(frozen=True)
class Checked:
    """In Annotated: a text that passes ``test``; ``noun`` names a right one in errors."""

    test: Callable[[str], bool]
    noun: str

    def __call__(self, value: str) -> str:
        """Return the text. Raises ValueError."""
        if not self.test(value):
            raise ValueError(f"{value!r} is no {self.noun}")
        return value


@dataclass(frozen=True)
class Parsed:
    """In Annotated: a text that ``parse`` turns into a value. The annotated type is not checked."""

    parse: Callable[[str], Any]

    def __call__(self, value: object) -> Any:
        """Return the value of the text. Raises ValueError."""
        return self.parse(exactly(str)(value).strip())


class Section:
    """A JSON object. A subclass annotates its fields; a field without a default is required."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    @classmethod
    def read(cls, value: object) -> Self:
        """Parse the object. Raises ValueError, or InvalidFieldsError with all invalid fields."""
        if not isinstance(value, dict):
            raise ValueError(f"{value!r} is not an object")
        made = cls(**_read_fields(_fields(cls), value))
        made.check()
        return made

    def check(self) -> None:
        """Raise ValueError for fields that do not fit together."""

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The names of the fields."""
        return tuple(field.name for field in _fields(cls).values())


class _Field(NamedTuple):
    name: str
    read: Reader
    required: bool


_known: dict[type, dict[str, _Field]] = {}


def _fields(cls: type[Section]) -> dict[str, _Field]:
    """The fields of a class, by their keys in lower case. They are built at first use."""
    if cls not in _known:
        from cni_plugin.spec.readers import readers_of  # an image has the readers, and not this

        _known[cls] = {
            name.replace("_", ""): _Field(name, read, not hasattr(cls, name))
            for name, read in readers_of(cls).items()
        }
    return _known[cls]


def prepare(cls: type[Section] = Section) -> None:
    """Make the readers of all sections now, so that no request has to wait for them."""
    for each in cls.__subclasses__():
        _fields(each)
        prepare(each)


def _read_fields(fields: dict[str, _Field], value: Mapping[str, Any]) -> dict[str, Any]:
    known = (
        (key, fields[folded], item)
        for key, item in value.items()
        if item is not None and (folded := str(key).casefold()) in fields
    )
    given = {field.name: (key, field.read, item) for key, field, item in known}
    missing = (item.name for item in fields.values() if item.required and item.name not in given)
    absent = ((_camel(name), _required, None) for name in missing)
    read = read_all([*given.values(), *absent])
    return dict(zip(given, read, strict=True))


def read_all(items: Iterable[tuple[str | int, Reader, Any]]) -> list[Any]:
    """Call the reader of each item. Raises InvalidFieldsError with the problems of all items."""
    found, problems = [], list[Problem]()
    for key, read, value in items:
        try:
            found.append(read(value))
        except InvalidFieldsError as err:
            problems += [((key, *path), problem) for path, problem in err.problems]
        except ValueError as err:
            problems.append(((key,), str(err)))
    if problems:
        raise InvalidFieldsError(problems)
    return found


def _required(value: object) -> NoReturn:
    del value
    raise ValueError("is missing")


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(map(str.title, others))


def exactly(kind: type) -> Reader:
    """The reader of values of exactly that type. A bool is an int to ``isinstance``."""

    def read(value: object) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r} is not {_NAMES[kind]}")
        return value

    return read
