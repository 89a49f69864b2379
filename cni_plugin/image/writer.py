"""Walks from one object to all that it can reach, and writes statements that make them again.

A function reaches the globals that its code names. An attribute of a class, or of a copied module,
is reached when some code names it: nobody can ask for another one, unless by a name that is put
together at run time.

The statements stand in an order in which they can be executed: first cells, modules and containers
that are still empty; then functions; then classes and instances, each behind its parts; at last the
statements that fill all of these, when every name is known.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from marshal import dumps
from types import CodeType
from typing import Any

from cni_plugin.image import classes, natives, objects, standins
from cni_plugin.image.program import Program


class CannotWriteError(Exception):
    """An image cannot hold an object; the text names it and the way to it."""


class Writer:
    """Writes the statements; ``program`` gets the codes of functions.

    ``named`` are names that some code contains, as an earlier walk has found.
    """

    def __init__(self, program: Program, named: Iterable[str] = ()) -> None:
        self.program = program
        self.named = set(named)
        self._unnamed: dict[str, list[Callable[[], object]]] = defaultdict(list)
        self._pending: list[Callable[[], object]] = []
        self._places = natives.places()
        self._names: dict[int, str] = {}
        self._kept: list[object] = []  # so that no ``id`` is used twice
        self._way: list[object] = []
        self._globals: dict[int, tuple[str, dict[str, str]]] = {}
        self._functions: dict[str, list[tuple[str, CodeType]]] = defaultdict(list)
        self._asleep: dict[str, list[tuple[str, CodeType]]] = defaultdict(list)
        self._empty: list[str] = []
        self._made: list[str] = []
        self._filled: list[str] = []
        self._last: list[str] = []

    def walk(self, root: object) -> str:
        """Write the statements for ``root``; return an expression. Raises CannotWriteError."""
        result = self.ref(root)
        while self._pending:
            self._pending.pop()()
        return result

    def written(self, root: object) -> CodeType:
        """Return the code of a function that makes ``root``. Raises CannotWriteError."""
        asleep, result = self.walk(standins.asleep), self.walk(root)
        functions = [
            f"({_names(made)}) = F({self.program.functions(_codes(made))}, {globals_of(module)})()"
            for module, made in self._functions.items()
        ]
        functions += [
            f"({_names(made)}) = {asleep}({codes!r}, {len(made)}, {globals_of(module)})"
            for module, made in self._asleep.items()
            for codes in [dumps(_codes(made))]
        ]
        known = [f"{globals_of(name)}.update({display(it)})" for name, it in self._globals.values()]
        order = [*self._empty, *functions, *self._made, *self._filled, *known, *self._last]
        return self.program.finished(order, result)

    # -- expressions

    def ref(self, thing: Any) -> str:
        """Return an expression for an object: a literal, or a name that a statement defines."""
        if natives.is_plain(thing):
            return repr(thing)
        if isinstance(thing, type):
            thing = classes.current(thing)
        if id(thing) not in self._names:
            self._kept.append(thing)
            self._way.append(thing)
            name = self._expression(thing)
            self._names.setdefault(id(thing), name)
            self._way.pop()
        return self._names[id(thing)]

    def refs(self, them: Iterable[Any]) -> str:
        """Return an expression for a tuple."""
        return f"({''.join(f'{self.ref(thing)}, ' for thing in them)})"

    def pairs(self, them: Mapping[Any, Any]) -> str:
        """Return an expression for a dict."""
        return f"{{{', '.join(f'{self.ref(key)}: {self.ref(it)}' for key, it in them.items())}}}"

    def _expression(self, thing: Any) -> str:
        if place := self._places.get(id(thing)):
            module, name, _ = place
            return self.begin(thing, f"{self.native(module)}.{name}")
        if not isinstance(thing, type):
            return objects.write(self, thing)
        return natives.unnamed(thing) or classes.write(self, thing)

    def native(self, module: str) -> str:
        """Return an expression for a module of the interpreter."""
        return self.ref(__import__(module))

    def is_native(self, thing: object) -> bool:
        """Return true if the interpreter has a name for an object."""
        return id(thing) in self._places

    # -- statements, by when they can be executed

    def begin(self, thing: object, expression: str) -> str:
        """Define a name by an expression that needs no other name; return the name."""
        return self._define(thing, expression, self._empty)

    def make(self, thing: object, expression: str) -> str:
        """Define a name by an expression of names that are defined already; return the name.

        If writing the expression led to the object itself, it has its name from there.
        """
        return self._names.get(id(thing)) or self._define(thing, expression, self._made)

    def make_function(self, thing: object, code: CodeType, module: str, *, seldom: bool) -> str:
        """Define the name of a function without a closure; return the name.

        The first call of a ``seldom`` called function reads its code.
        """
        name = self._names[id(thing)] = f"v{len(self._names)}"
        (self._asleep if seldom else self._functions)[module].append((name, code))
        return name

    def _define(self, thing: object, expression: str, statements: list[str]) -> str:
        name = self._names[id(thing)] = f"v{len(self._names)}"
        statements.append(f"{name} = {expression}")
        return name

    def fill(self, statement: Callable[[], str]) -> None:
        """Add a statement for the time when all objects are made. It is written later too."""
        self._pending.append(self._later(lambda: self._filled.append(statement())))

    def finish(self, statement: str) -> None:
        """Add a statement for the time when all objects are filled."""
        self._last.append(statement)

    # -- names in code

    def when_named(self, name: str, write: Callable[[], object]) -> None:
        """Call ``write`` when some code contains ``name``."""
        if name in self.named:
            self._pending.append(self._later(write))
        else:
            self._unnamed[name].append(self._later(write))

    def reach(self, code: CodeType, values: dict[str, Any]) -> None:
        """Write the globals that the code of a function names, which has a name already."""
        names = set(_names_in(code))
        for name in names - self.named:
            self._pending += self._unnamed.pop(name, [])
        self.named |= names
        found, reached = [values], set[int]()
        while found:
            each = found.pop()
            reached.add(id(each))
            self._reach(names, each)
            # of modules among the globals, the globals too, as in os.path.normpath
            modules = filter(objects.is_copied, (each[name] for name in names & each.keys()))
            found += [vars(module) for module in modules if id(vars(module)) not in reached]

    def _reach(self, names: set[str], values: dict[str, Any]) -> None:
        self.module(values)
        _, have = self._globals[id(values)]
        for name in names & values.keys() - have.keys():
            have[name] = ""  # the place is taken: it may be reached again before it is written
            put = partial(self._put_global, have, name, values[name])
            self._pending.append(self._later(put))

    def _put_global(self, have: dict[str, str], name: str, thing: object) -> None:
        have[name] = self.ref(thing)

    def module(self, values: dict[str, Any]) -> str:
        """Return the name of a copied module, which gets the globals that are reached."""
        if id(values) not in self._globals:
            name = f"m{len(self._globals)}"
            known = {"__builtins__": "builtins", "__file__": repr(values.get("__file__"))}
            self._empty.append(f"{name} = M({values['__name__']!r})")
            self._empty.append(f"{globals_of(name)} = {name}.__dict__")
            self._globals[id(values)] = name, known
            self._kept.append(values)
            if not values["__name__"].startswith("cni_plugin"):
                missing = self.ref(standins.missing)
                known["__getattr__"] = f"_functools.partial({missing}, {values['__name__']!r})"
        return self._globals[id(values)][0]

    def _later(self, write: Callable[[], object]) -> Callable[[], object]:
        """Return ``write`` with the present way, for the text of an error."""
        way = [*self._way]

        def written() -> None:
            self._way = way
            write()

        return written

    def error(self, thing: object, why: str) -> CannotWriteError:
        """Return the error that names an object, and the way to it."""
        way = " > ".join(f"{type(item).__name__} {item!r:.60}" for item in self._way[-8:])
        return CannotWriteError(f"an image cannot hold {thing!r:.80}, {why}; the way to it: {way}")


def globals_of(module: str) -> str:
    """Return the name of a module's globals."""
    return f"{module}g"


def display(expressions: Mapping[str, str]) -> str:
    """Return an expression for a dict of names and expressions."""
    return f"{{{', '.join(f'{name!r}: {value}' for name, value in expressions.items())}}}"


def _names(functions: Iterable[tuple[str, CodeType]]) -> str:
    return "".join(f"{name}, " for name, _ in functions)


def _codes(functions: Iterable[tuple[str, CodeType]]) -> tuple[CodeType, ...]:
    return tuple(code for _, code in functions)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for item in code.co_consts:
        if isinstance(item, str):  # as of getattr
            yield item
        elif isinstance(item, CodeType):
            yield from _names_in(item)
