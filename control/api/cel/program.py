"""Compile an expression, and compute it.

``BASE`` has the functions that Kubernetes 1.36 gives every expression.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from control.api.cel.build import Builder, Step
from control.api.cel.check import Checker, fits
from control.api.cel.constants import complaints, folded
from control.api.cel.errors import CelSyntaxError, CompileError, EvaluationError, ProgramError
from control.api.cel.estimate import Estimator
from control.api.cel.functions.amounts import AMOUNTS, VERSIONS
from control.api.cel.functions.formats import NAMED_FORMATS
from control.api.cel.functions.lists import LISTS
from control.api.cel.functions.network import NETWORK, URLS
from control.api.cel.functions.optionals import OPTIONALS
from control.api.cel.functions.standard import STANDARD
from control.api.cel.functions.strings import STRINGS
from control.api.cel.functions.table import Table
from control.api.cel.functions.times import TIMES
from control.api.cel.meter import Meter
from control.api.cel.nodes import Ident, Node, below
from control.api.cel.parse import parse
from control.api.cel.types import Type

ROWS = (
    STANDARD,
    TIMES,
    OPTIONALS,
    STRINGS,
    LISTS,
    AMOUNTS,
    VERSIONS,
    NETWORK,
    URLS,
    NAMED_FORMATS,
)
BASE = Table.of(*ROWS)


@dataclass(frozen=True, slots=True)
class Environment:
    """What an expression may name: variables with their types, and functions."""

    variables: Mapping[str, Type] = field(default_factory=dict)
    table: Table = BASE


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression; ``names`` are the variables that it uses."""

    source: str
    type: Type
    step: Step
    names: frozenset[str]
    most: int = 0  # units that it can cost, by the sizes of its variables' types

    def compute(self, values: dict[str, Any], meter: Meter) -> Any:
        """Return the value of the expression; raises EvaluationError, TooCostlyError."""
        return self.step(values, meter)


def compile_source(
    source: str, environment: Environment, *wanted: Type, estimates: bool = False
) -> Program:
    """Compile an expression; raises CompileError, also if its type is none of the wanted.

    It is a ProgramError for a constant part that has no value. ``estimates``: say what it can cost.
    """
    try:
        root = parse(source)
    except CelSyntaxError as err:
        raise CompileError(source, [err.complaint]) from err
    checker = Checker(environment.table, environment.variables)
    found = checker.check(root)
    wrong = checker.complaints or complaints(root, checker.types, environment.table)
    if wrong:
        raise CompileError(source, wrong)
    if wanted and not any(fits(found, each) for each in wanted):
        raise WrongResultError(found)
    step = _built(environment, checker, root)
    most = _estimated(environment, checker, root) if estimates else 0
    return Program(source, found, step, frozenset(_names(root)), most)


def _built(environment: Environment, checker: Checker, root: Node) -> Step:
    table = environment.table
    try:
        constants = folded(root, table)
    except EvaluationError as err:
        raise ProgramError(str(err)) from err
    return Builder(table, checker.names, environment.variables, constants).build(root)


def _estimated(environment: Environment, checker: Checker, root: Node) -> int:
    whole = environment.variables.get("self")
    most = None if whole is None else whole.most
    return Estimator(environment.table, checker.types, most).cost(root)


class WrongResultError(CompileError):
    """An expression of another type than is wanted."""

    def __init__(self, found: Type) -> None:
        ValueError.__init__(self, f"has the type {found}")
        self.found = found


def _names(root: Node) -> set[str]:
    found, level = set(), [root]
    while level:
        found |= {each.name for each in level if isinstance(each, Ident)}
        level = [each for node in level for each in below(node)]
    return found
