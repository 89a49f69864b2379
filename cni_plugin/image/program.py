"""Statements as the code of one function, with other functions' code among its constants."""

from collections.abc import Iterable, Sequence
from types import CodeType

# Functions for the statements: ``I`` imports, ``E`` imports a shared object; ``F`` makes a
# function, ``M`` a module, ``C`` a cell, ``N`` a class, ``O`` an instance; ``S`` sets an attribute
# of an instance, ``T`` one of a class, past their own ``__setattr__``.
_PRELUDE = """
import sys, builtins, _functools
F, M, C = type(lambda: 0), type(sys), type((lambda x: lambda: x)(0).__closure__[0])
N, O, S, T = type.__new__, object.__new__, object.__setattr__, type.__setattr__
def I(name):
    __import__(name)
    return sys.modules[name]
def E(name, path):
    if name not in sys.modules:
        from _frozen_importlib import ModuleSpec, _load
        from _frozen_importlib_external import ExtensionFileLoader
        _load(ModuleSpec(name, ExtensionFileLoader(name, path), origin=path))
    return sys.modules[name]
"""
_NAME = "image"


class Program:
    """Collects code objects. Statements name each by the expression from ``constant``."""

    def __init__(self) -> None:
        self._codes: dict[str, CodeType] = {}

    def constant(self, code: CodeType) -> str:
        """Return an expression whose value is ``code``."""
        placeholder = f"\0code {len(self._codes)}"
        self._codes[placeholder] = code
        return repr(placeholder)

    def functions(self, codes: Sequence[CodeType]) -> str:
        """Return an expression for the code of a function that returns a tuple of functions.

        They have the globals of the function that makes them, no closures, and no defaults.
        """
        real = iter(codes)
        source = f"def make(): return ({''.join(f'(lambda: {i}), ' for i in range(len(codes)))})"
        make = _function(source)
        consts = tuple(next(real) if isinstance(c, CodeType) else c for c in make.co_consts)
        return self.constant(make.replace(co_consts=consts))

    def finished(self, statements: Iterable[str], result: str) -> CodeType:
        """Return the code of a function that executes all statements and returns ``result``."""
        lines = [*_PRELUDE.strip().splitlines(), *statements, f"return {result}"]
        source = "\n    ".join([f"def {_NAME}():", *lines])
        return self._filled(_function(source))

    def _filled(self, code: CodeType) -> CodeType:
        consts = tuple(
            self._codes.get(item, item) if isinstance(item, str) else item
            for item in code.co_consts
        )
        return code.replace(co_consts=consts, co_linetable=b"")


def _function(source: str) -> CodeType:
    """Return the code of the one function that ``source`` defines."""
    module = compile(source, _NAME, "exec", dont_inherit=True, optimize=2)
    return next(item for item in module.co_consts if isinstance(item, CodeType))
