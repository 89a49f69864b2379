"""The steps of a walk that its parts go on by; see ``Walk``."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from debug.explain.here import Here, Then
from debug.explain.result import UNKNOWN, Branch, Hop, RuleLine
from debug.explain.space import Space
from debug.ruleset.packet import Device
from debug.ruleset.values import Hook

Ways = Sequence[tuple[Fraction, Callable[[], Branch]]]
"""What may become of a packet, each with its probability, the likeliest first."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What leads a packet on, and tells of it. ``most`` ways of one choice are followed."""

    hook: Callable[[Here, Hook, Then], Branch]
    receive: Callable[[Here, Space, Device], Branch]
    route: Callable[[Here], Branch]
    send: Then
    known: Callable[[Here, Then], Branch]
    hop: Callable[[Here, str, str, tuple[RuleLine, ...]], Hop]
    end: Callable[[Here, str, str], Branch]
    most: int

    def parted(self, here: Here, ways: Ways, what: str = "ways") -> Branch:
        """Follow the ways of a choice as branches; those beyond ``most`` are an unknown one."""
        made = [go() for _, go in ways[: self.most]]
        if rest := ways[self.most :]:
            left = here.at(weight=sum((weight for weight, _ in rest), Fraction(0)))
            why = f"{len(rest)} more {what}, which were not followed: --most"
            made.append(self.end(left, UNKNOWN, why))
        if len(made) == 1:
            return made[0]
        return Branch(sum(one.probability for one in made), branches=tuple(made))
