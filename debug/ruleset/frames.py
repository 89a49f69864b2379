"""One rule on its way: registers, the packet, and how likely this way is."""

from dataclasses import dataclass, field, replace
from fractions import Fraction

from debug.ruleset.packet import Fib, State
from debug.ruleset.registers import Registers
from debug.ruleset.steps import Verdict
from debug.ruleset.values import Element, Hook, Rules, Store, Table

BREAK = Verdict("break")  # the rule does not match
CONTINUE = Verdict("continue")
ACCEPT, DROP, RETURN = Verdict("accept"), Verdict("drop"), Verdict("return")
UNKNOWN = "unknown"  # a verdict's code; its chain says what is not known
MOST_WAYS = 4096  # that one step may part into


@dataclass(frozen=True, slots=True)
class World:
    """What a rule is evaluated in."""

    rules: Rules
    fib: Fib
    hook: Hook
    table: Table


@dataclass(frozen=True, slots=True)
class Found:
    """A search that succeeded, or failed where the rule wants that (``element`` is None)."""

    store: Store
    key: bytes
    element: Element | None


@dataclass(slots=True)
class Frame:
    """One way through a rule; a step changes it, or parts it in several."""

    state: State
    registers: Registers = field(default_factory=Registers)
    at: int = 0
    weight: Fraction = Fraction(1)
    conditions: tuple[str, ...] = ()
    found: tuple[Found, ...] = ()
    notes: tuple[str, ...] = ()
    end: Verdict | None = None
    matched: bool = False  # iptables: what follows did something

    def parted(self, **changes: object) -> "Frame":
        """Return another frame, with registers of its own."""
        return replace(self, registers=self.registers.copy(), **changes)  # type: ignore[arg-type]

    def note(self, text: str) -> None:
        """Keep what the rule did beside its verdict."""
        self.notes = (*self.notes, text)


Next = Verdict | tuple[Frame, ...] | None
"""What follows a step: None is the next step; a verdict ends the rule; frames go on each."""
