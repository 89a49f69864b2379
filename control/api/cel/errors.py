"""What can be wrong with an expression, or with a computation of it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Complaint:
    """An error of an expression, at an offset in its text."""

    at: int
    why: str

    def shown(self, source: str) -> str:
        """Return the error with its line, as upstream shows it."""
        start = source.rfind("\n", 0, self.at) + 1
        end = source.find("\n", self.at)
        line = source[start : end if end >= 0 else len(source)].replace("\t", " ")
        number, column = source.count("\n", 0, self.at) + 1, self.at - start
        where = f"ERROR: <input>:{number}:{column + 1}: {self.why}"
        return f"{where}\n | {line}\n | {'.' * column}^"


class CompileError(ValueError):
    """An expression that cannot be computed; the message names each place."""

    def __init__(self, source: str, complaints: Sequence[Complaint]) -> None:
        super().__init__("\n".join(each.shown(source) for each in complaints))


class ProgramError(CompileError):
    """An expression of which a constant part has no value."""

    def __init__(self, why: str) -> None:
        ValueError.__init__(self, why)


class CelSyntaxError(Exception):
    """The first error of syntax."""

    def __init__(self, at: int, why: str) -> None:
        super().__init__(why)
        self.complaint = Complaint(at, why)


class EvaluationError(Exception):
    """A computation that has no result."""


class CostExceededError(EvaluationError):
    """A computation that costs more than is allowed."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


NO_OVERLOAD = "no such overload"
