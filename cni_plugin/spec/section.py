"""A JSON object as an immutable value, read by the annotations of its class; pure.

It is what pydantic does, as far as the plugin needs it. Where no server runs each call is a
process of its own, and importing pydantic takes longer than all that such a process has to do.

Keys match without regard to case, as in Go's decoder, and null means absent. Types are strict: a
number is no string, and neither is a truth value.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn, Self

Reader = Callable[[Any], Any]
# where a value is, by keys and indexes, and what is wrong with it
Problem = tuple[tuple[str | int, ...], str]
_NAMES: dict[type, str] = {str: "a string", int: "an integer", bool: "true or false"}


class InvalidFieldsError(ValueError):
    """Values that do not fit, all of them."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__(
            "; ".join(f"{'.'.join(map(str, where))}: {what}" for where, what in problems)
        )


# -- what may stand in Annotated[...]


@dataclass(frozen=True)
class Within:
    """A number from ``least`` to ``most``."""

    least: int
    most: int

    def __call__(self, value: int) -> int:
        """The number; raises ValueError."""
        if not self.least <= value <= self.most:
            raise ValueError(f"{value} is not within {self.least} and {self.most}")
        return value


@dataclass(frozen=True)
class Checked:
    """A text that is ``right``; ``what`` it should be."""

    right: Callable[[str], bool]
    what: str

    def __call__(self, value: str) -> str:
        """The text; raises ValueError."""
        if not self.right(value):
            raise ValueError(f"{value!r} is no {self.what}")
        return value


@dataclass(frozen=True)
class Parsed:
    """A text that means something else; the type says what, and is not looked at."""

    parse: Callable[[str], Any]

    def __call__(self, value: object) -> Any:
        """What the text means; raises ValueError."""
        return self.parse(exactly(str)(value).strip())


class Section:
    """A JSON object: a subclass annotates its fields, a field without a default is required."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable")

    @classmethod
    def read(cls, value: object) -> Self:
        """The object as a value; raises InvalidFieldsError with all that is wrong in it."""
        if not isinstance(value, dict):
            raise ValueError(f"{value!r} is not an object")
        made = cls(**_read_fields(_fields(cls), value))
        made.check()
        return made

    def check(self) -> None:
        """Raise ValueError where the fields do not go together."""

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
    """The fields of a class by their keys in lower case; made when they are first asked for."""
    if cls not in _known:
        from cni_plugin.spec.readers import readers_of  # an image has the readers, and not this

        _known[cls] = {
            name.replace("_", ""): _Field(name, read, not hasattr(cls, name))
            for name, read in readers_of(cls).items()
        }
    return _known[cls]


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
    """Each item read by its own reader; raises InvalidFieldsError with the problems of all."""
    found, problems = [], list[Problem]()
    for key, read, value in items:
        try:
            found.append(read(value))
        except InvalidFieldsError as err:
            problems += [((key, *where), what) for where, what in err.problems]
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
    """A reader of values of just that type: a bool is an int to ``isinstance``."""

    def read(value: object) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{value!r} is not {_NAMES[kind]}")
        return value

    return read
